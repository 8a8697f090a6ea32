"""Which of the pieces of an answer is meant as its source."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from selftaught.sandbox.completion.source import Source


def choose(candidates: Sequence[Source], names: Collection[str]) -> Source | None:
    """Return the source that is meant, with the definitions that it lacks; None if there is none.

    Args:
        candidates: The pieces, in order.
        names: See `selftaught.sandbox.completion.code`.
    """
    found = _defining(candidates, names) if names else _program(candidates)
    if found is None or not found.missing:
        return found
    return _completed(found, [one for one in candidates if one is not found])


def _defining(candidates: Sequence[Source], names: Collection[str]) -> Source | None:
    """Return the last complete definition, or the last; what continues a function; or the last block of Python."""
    if candidates and candidates[0].body and not candidates[0].fenced and not _fenced(candidates, names):
        return candidates[0]
    defining = [one for one in candidates if one.defines(names)]
    whole = [one for one in defining if one.complete and not one.stub(names)]
    if defining:
        return (whole or defining)[-1]
    return _last(candidates)


def _fenced(candidates: Sequence[Source], names: Collection[str]) -> bool:
    return any(one.fenced and one.defines(names) for one in candidates)


def _program(candidates: Sequence[Source]) -> Source | None:
    """Return the last program that reads its input; or the last that does not use what others define."""
    reading = [one for one in candidates if one.complete and one.reads_input]
    if reading:
        return reading[-1]
    defined: set[str] = set()
    alone = []
    for one in candidates:
        if one.missing.isdisjoint(defined):
            alone.append(one)
        defined |= one.defined
    return _last(alone) or _last(candidates)


def _last(candidates: Sequence[Source]) -> Source | None:
    """Return the last candidate, complete rather than not, marked as Python rather than not, in a block rather than
    not."""
    ranked = sorted(candidates, key=lambda one: (one.marked, one.fenced, one.complete))
    return ranked[-1] if ranked else None


def _completed(found: Source, others: Sequence[Source]) -> Source:
    """Return a source after the definitions of others that it, or they, lack."""
    known: dict[str, tuple[int, str, Source]] = {}
    statements = [(names, text) for one in others for names, text in one.statements()]
    for number, (names, text) in enumerate(statements):
        for name in names:
            known[name] = number, text, Source(text)
    wanted, taken = list(found.missing), {}
    while wanted:
        name = wanted.pop()
        if name in known and known[name][0] not in taken:
            number, text, one = known[name]
            taken[number] = text
            wanted += one.missing - found.defined
    if not taken:
        return found
    before = "\n".join(taken[number] for number in sorted(taken))
    return replace(found, text=f"{before}\n\n{found.text}")
