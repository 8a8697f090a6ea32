"""What goes on when a client's patience is over: the program, until the client asks again or has left for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from selftaught.sandbox import Limits, Program
from selftaught.sandbox.program import Ending, Run
from selftaught.sandbox.server import unclaimed
from selftaught.sandbox.server.admission import Admission
from selftaught.sandbox.server.exchange import Gone, Refused
from selftaught.sandbox.server.memory import Memory

PATIENCE = 0.02
DONE = Run("", Ending.EXITED, return_code=0, stdout="1\n")


class Verifier:
    """Judges nothing by itself: a test has a program end."""

    workers, limits, level = 1, Limits(), "restricted"

    def __init__(self) -> None:
        self.submitted: list[Callable[[Any], None]] = []
        self.cancelled: list[int] = []

    def submit(self, item: Any, done: Callable[[Any], None], repeat: int = 1) -> Callable[[], None]:
        number = len(self.submitted)
        self.submitted.append(done)
        return lambda: self.cancelled.append(number)

    def count_duplicate(self, verdict: Any) -> None:
        raise AssertionError


class Service:
    """An admission with that verifier."""

    def __init__(self) -> None:
        self.verifier = Verifier()
        self.admission = Admission(self.verifier, 4, Memory(1 << 20))
        self.lost = asyncio.Event()

    async def ask(self, code: str = "print(1)") -> Any:
        try:
            return await self.admission.serve(Program("", code), self.lost, within_seconds=PATIENCE)
        except Refused as refusal:
            return refusal.status


def test_a_client_that_asks_again_gets_what_it_asked_for_before() -> None:
    async def main() -> None:
        service = Service()
        assert [await service.ask(), await service.ask()] == [504, 504]
        asyncio.get_running_loop().call_later(PATIENCE / 4, service.verifier.submitted[0], DONE)
        assert await service.ask() is DONE
        assert (len(service.verifier.submitted), service.verifier.cancelled) == (1, [])
        assert service.admission.waiting == 0

    asyncio.run(main())


def test_a_result_that_came_between_two_requests_is_there_at_once() -> None:
    async def main() -> None:
        service = Service()
        assert await service.ask() == 504
        service.verifier.submitted[0](DONE)
        await asyncio.sleep(0)
        assert await service.ask() is DONE

    asyncio.run(main())


def test_two_clients_that_ask_for_the_same_get_each_its_own() -> None:
    async def main() -> None:
        service = Service()
        assert await asyncio.gather(service.ask(), service.ask()) == [504, 504]
        assert await asyncio.gather(service.ask(), service.ask(), service.ask()) == [504, 504, 504]
        assert len(service.verifier.submitted) == 3
        assert await service.ask("print(2)") == 504
        assert len(service.verifier.submitted) == 4

    asyncio.run(main())


def test_what_nobody_asks_for_again_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unclaimed, "KEPT_SECONDS", PATIENCE)
    monkeypatch.setattr(unclaimed, "MOST_KEPT", 2)

    async def main() -> None:
        service = Service()
        assert await asyncio.gather(*(service.ask(f"print({number})") for number in range(3))) == [504] * 3
        assert service.verifier.cancelled == [0], "there are more than are kept"
        await asyncio.sleep(5 * PATIENCE)
        assert sorted(service.verifier.cancelled) == [0, 1, 2]
        assert service.admission.waiting == 0

    asyncio.run(main())


def test_a_client_that_has_left_leaves_nothing() -> None:
    async def main() -> None:
        service = Service()
        asyncio.get_running_loop().call_later(PATIENCE / 4, service.lost.set)
        with pytest.raises(Gone):
            await service.ask()
        assert service.verifier.cancelled == [0]

    asyncio.run(main())
