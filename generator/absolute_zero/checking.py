"""Outputs of proposals, by the verifier: a proposal is kept if its program is deterministic and returns plain data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from selftaught.generator.absolute_zero.triplet import MOST_TEXT, NotAProposal, Proposal, Triplet, arguments, literal
from selftaught.sandbox import Client, FunctionTask, Program, Verifier
from selftaught.sandbox.errors import NotJudged
from selftaught.sandbox.program import Ending

_MARK = "--- outputs "
_REPEAT = 2
"""How often each call is judged again, in a process of its own: a program that differs between two is no task."""


def check(verifier: Verifier | Client, proposals: Sequence[Proposal | None]) -> list[Triplet | NotJudged | None]:
    """Return proposals with their outputs; None for those that raise, end otherwise, are not deterministic, or return
    what is no literal; and for None. One that the verifier failed to judge is a `NotJudged`, which says why.

    An output is what the program printed of it, if the verifier then accepts it for the same call: what a program
    prints is no evidence.
    """
    with ThreadPoolExecutor(verifier.workers + 1) as pool:
        found = list(pool.map(lambda one: one and _printed(verifier, one), proposals))
    tasks = (case_task(str(place), one.source, one) for place, one in enumerate(found) if isinstance(one, Triplet))
    for verdict in verifier.verify_many(tasks, repeat=_REPEAT):
        if not verdict.accepted:
            found[int(verdict.id)] = None if verdict.judged else NotJudged(verdict.message)
    return found


def case_task(ident: str, sol: str, triplet: Triplet, first: int = 0) -> FunctionTask:
    """Return the task of a program: its inputs from number `first` on must give their outputs."""
    pairs = zip(triplet.inputs[first:], triplet.outputs[first:], strict=True)
    return FunctionTask(ident, sol, "f", cases=[(arguments(given), {}, literal(output)) for given, output in pairs])


def _printed(verifier: Verifier | Client, proposal: Proposal) -> Triplet | NotJudged | None:
    """Return the proposal with the outputs that its program prints."""
    results = ", ".join(f"f({given})" for given in proposal.inputs)
    done = verifier.run(Program("", f"{proposal.source}\n\nprint()\nprint({_MARK!r}, list(map(repr, [{results}])))"))
    if done.ending in (Ending.CANCELLED, Ending.INTERNAL_ERROR):
        return NotJudged(done.message)
    if done.ending is not Ending.EXITED or done.return_code or done.cut:
        return None
    try:
        outputs = literal(done.stdout.rpartition(_MARK)[2], len(proposal.inputs) * 2 * MOST_TEXT)
        if len(outputs) == len(proposal.inputs) and all(repr(literal(one)) == one for one in outputs):
            return Triplet(proposal.source, proposal.inputs, tuple(outputs), proposal.message)
    except (NotAProposal, TypeError, AttributeError):  # the program has printed something else there
        pass
    return None


def distinct(triplets: Iterable[Triplet], known: set[str]) -> Iterator[Triplet]:
    """Yield triplets that are not known by their ids, and add them."""
    for one in triplets:
        if one.id not in known:
            known.add(one.id)
            yield one
