"""Exceptions about the verifier itself. A finding about a task is never an exception but a verdict."""

from __future__ import annotations


class CannotConfine(RuntimeError):
    """A required protection is not available on this host; the message names it and a remedy."""


class ServerRefused(RuntimeError):
    """A server refuses this client's requests: wrong token, wrong address. Retrying would not help."""


class WorkerFailed(RuntimeError):
    """A worker died, hung, or broke the protocol: an infrastructure failure, never a judgement."""


class NotJudged(RuntimeError):
    """The verifier could not judge a solution; the message says why. It is neither right nor wrong."""
