"""How a signal ends what runs in a loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator

import pytest

from selftaught.sandbox.interruption import Terminated, exit_code, heed_sigterm, run


@pytest.fixture(autouse=True)
def _handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Signalled:
    """Whose finalizer a signal hits: what a handler raises there is lost."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


async def forever(ended: list[str]) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        ended.append("in order")


def test_a_signal_in_a_finalizer_ends_a_loop_in_order_and_is_raised_then() -> None:
    heed_sigterm()
    ended: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(Signalled)
        await forever(ended)

    with pytest.raises(Terminated) as stop:
        run(main())
    assert ended == ["in order"]
    assert exit_code(stop.value) == 143
    with pytest.raises(Terminated):  # the handler is in force again
        signal.raise_signal(signal.SIGTERM)


def test_a_handler_that_does_not_raise_is_called_once_and_the_loop_is_cancelled() -> None:
    called: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: called.append(number))

    async def main() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        await forever([])

    with pytest.raises(asyncio.CancelledError):
        run(main())
    assert called == [signal.SIGTERM]


def test_a_result_is_returned_and_the_handler_is_as_before() -> None:
    heed_sigterm()
    before = signal.getsignal(signal.SIGTERM)

    async def main() -> int:
        assert signal.getsignal(signal.SIGTERM) is not before
        return 7

    assert run(main()) == 7
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_and_without_a_handler_signals_are_left_alone() -> None:
    async def main() -> object:
        return signal.getsignal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert run(main()) is signal.SIG_DFL
    heed_sigterm()
    before, found = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=lambda: found.append(run(main())))
    thread.start()
    thread.join()
    assert found == [before]


def test_ctrl_c_has_the_exit_code_of_shells() -> None:
    assert exit_code(KeyboardInterrupt()) == 130
