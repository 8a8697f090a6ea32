"""Code of sources that come again: the last are kept, and no source displaces all others."""

from __future__ import annotations

from selftaught.sandbox import Limits
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.worker.codes import _MOST, _MOST_BYTES, _MOST_OF_ONE, Codes
from selftaught.sandbox.worker.session import Request
from tests.sandbox.worker.sessions import unreachable


def test_tests_that_are_not_known_are_to_send_their_code() -> None:
    codes = Codes(unreachable)
    assert codes.of_tests(b"a") is None
    codes.keep_tests(b"a", b"code")
    assert codes.of_tests(b"a") == b"code" and codes.of_tests(b"b") is None


def test_tests_without_code_are_run_from_their_source_and_not_asked_again() -> None:
    codes = Codes(unreachable)
    codes.keep_tests(b"a", b"")
    assert codes.of_tests(b"a") == b""


def test_a_program_is_compiled_once_and_is_no_tests() -> None:
    asked = []

    def run(request: Request) -> Outcome:
        asked.append(request.phase)
        return Outcome(End.ANSWER, payload=bytes([4, 0, 0, 0, 9, 0, 0, 0]) + b"code")

    codes = Codes(run)
    assert [codes.of_program(b"a", Limits()) for _ in range(2)] == [b"code"] * 2
    assert asked == [Phase.COMPILE] and codes.of_tests(b"a") is None


def test_a_program_whose_code_is_cut_short_is_run_from_its_source() -> None:
    codes = Codes(lambda _: Outcome(End.ANSWER, payload=bytes([5, 0, 0, 0, 9, 0, 0, 0]) + b"code"))
    assert codes.of_program(b"a", Limits()) == b""


def test_those_that_came_last_are_kept_up_to_a_number() -> None:
    codes = Codes(unreachable)
    for number in range(_MOST):
        codes.keep_tests(b"%d" % number, b"code")
    assert codes.of_tests(b"0") == b"code"
    codes.keep_tests(b"new", b"code")
    assert codes.of_tests(b"1") is None and codes.of_tests(b"0") == codes.of_tests(b"new") == b"code"


def test_they_are_kept_up_to_so_many_bytes() -> None:
    codes, size = Codes(unreachable), _MOST_OF_ONE // 2
    for number in range(2 * _MOST_BYTES // size):
        codes.keep_tests(b"%d" % number, bytes(size))
    assert sum(codes.of_tests(b"%d" % number) is not None for number in range(2 * _MOST_BYTES // size)) in range(7, 9)


def test_a_large_source_displaces_nothing_and_is_run_as_it_is() -> None:
    codes = Codes(unreachable)
    codes.keep_tests(b"small", b"code")
    codes.keep_tests(bytes(_MOST_OF_ONE + 1), b"code")
    codes.keep_tests(b"long code", bytes(_MOST_OF_ONE))
    assert codes.of_tests(bytes(_MOST_OF_ONE + 1)) == codes.of_tests(b"long code") == b""
    assert codes.of_tests(b"small") == b"code"
