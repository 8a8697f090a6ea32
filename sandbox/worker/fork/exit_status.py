"""Why a child ended without a report, from the status that wait4 returns."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection

from selftaught.sandbox.outcome import End, Outcome

CRASHES = signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT
"""Signals by which the interpreter dies if it can't allocate a MemoryError, or can't grow its stack."""


def outcome_of(status: int, own_signals: Collection[int], is_program: bool) -> Outcome | None:
    """Return the outcome; None for a signal that it may also have got from outside.

    Args:
        status: the wait status.
        own_signals: the signals that the child has sent itself.
        is_program: whether it may exit as it likes, since a program makes no report.
    """
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        if is_program:
            return Outcome(End.EXITED, observed=code)
        return Outcome(End.DIED, f"the process exited with {code} before it reported")
    number = os.WTERMSIG(status)
    if number in own_signals:
        return Outcome(End.DIED, f"the process sent itself {_name(number)}", observed=-number)
    if number == signal.SIGSYS:
        return Outcome(
            End.FORBIDDEN, "an unnamed system call (of a foreign architecture, or refused by an outer filter too)"
        )
    if number == signal.SIGXCPU:
        return Outcome(End.CPU)
    return None


def by_signal(status: int) -> Outcome:
    """Return that the child died of the signal in its wait status."""
    number = os.WTERMSIG(status)
    return Outcome(End.DIED, f"the process died of {_name(number)}", observed=-number)


def _name(number: int) -> str:
    """Return the name of a signal; those for applications (SIGRTMIN + 1, ...) have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
