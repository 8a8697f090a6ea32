"""What the verifier raises about itself; what it says of a task is always a verdict."""

from __future__ import annotations


class CannotConfine(RuntimeError):
    """A required protection can't be put in force on this host; the message names it and the remedy."""


class ServerRefused(RuntimeError):
    """A server does not take requests from this client: a wrong token, a wrong address. Trying again would change nothing."""


class WorkerFailed(RuntimeError):
    """A worker died, hung, or spoke out of turn: an infrastructure failure, never a judgement."""
