"""Where a pair or puzzle comes from: found in the files of runs, and described in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

from selftaught.generator import example
from selftaught.generator.puzzle import NotAPuzzle
from selftaught.sandbox import records


class NotFound(LookupError):
    """No record has that id, or several have."""


def explain(ident: str, folder: Path) -> dict[str, Any]:
    """Return everything that is recorded about a pair or puzzle, with its parents.

    Args:
        ident: Its id or the beginning of it.
        folder: All runs below this folder are searched.

    Returns:
        ``kind`` (``pair``, ``puzzle`` or ``seed``), ``record``, ``run`` (the run's folder), ``parents`` (dicts like
        this one) and ``unknown_parents`` (ids that were not found).

    Raises:
        NotFound: No record has that id, or several have.
    """
    index = _index(folder)
    found = {key for key in index if key.startswith(ident)} if ident else set()
    if ident in index:
        found = {ident}
    if len(found) != 1:
        some = ", ".join(sorted(found)[:5])
        raise NotFound(
            f"{len(found)} records begin with {ident!r}: {some}" if found else f"nothing in {folder} is {ident!r}"
        )
    return _chain(found.pop(), index, frozenset())


def _index(folder: Path) -> dict[str, dict[str, Any]]:
    """Return all records by id: pairs, puzzles (the last kept one, or else the first refused one) and seeds."""
    index: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob("seeds.jsonl")):
        for record in _lines(path, "puzzle"):
            try:
                key = example.puzzle_id(record["puzzle"])
            except NotAPuzzle:
                continue
            index.setdefault(key, {"kind": "seed", "run": str(path.parent), "record": record})
    for path in sorted(folder.rglob("puzzles.jsonl")):
        for record in _lines(path, "id", "refused", "sampling"):
            known = index.get(record["id"])
            unknown = known is None or known["kind"] == "seed"
            if record["id"] and (unknown or not record["refused"]):
                index[record["id"]] = {"kind": "puzzle", "run": str(path.parent), "record": record}
    for path in sorted(folder.rglob("pairs.jsonl")):
        for record in _lines(path, "id", "puzzle_id", "borrowed_from"):
            index[record["id"]] = {"kind": "pair", "run": str(path.parent), "record": record}
    return index


def _lines(path: Path, *fields: str) -> Iterator[dict[str, Any]]:
    """Yield the records with these fields. A run may be appending, so that the last line is incomplete; and a user's
    own file may have the same name."""
    for row in records.rows(str(path), may_be_empty=True):
        if all(name in row.fields for name in fields):
            yield row.fields


def _chain(ident: str, index: dict[str, dict[str, Any]], above: frozenset[str]) -> dict[str, Any]:
    entry = index[ident]
    record, kind = entry["record"], entry["kind"]
    parents = []
    if kind == "pair":
        parents = [record["puzzle_id"], *filter(None, [record["borrowed_from"]])]
    elif kind == "puzzle":
        parents = record["sampling"]["parents"]
    known = [one for one in parents if one in index and one not in above]
    missing = [one for one in parents if one not in index]
    links = [_chain(one, index, above | {ident}) for one in known]
    return {"id": ident, **entry, "parents": links, "unknown_parents": missing}


def describe(chain: dict[str, Any]) -> str:
    """Return the result of `explain` as text."""
    kind, record = chain["kind"], chain["record"]
    lines = [f"{kind} {chain['id']}  ({chain['run']})"]
    if kind == "seed":
        lines.append(indent(record["puzzle"], "    "))
        return "\n".join(lines)
    text = record["text"] if kind == "pair" else record["puzzle"]
    lines += ["", indent(text, "    "), ""]
    if kind == "pair":
        lines += _describe_pair(record)
    else:
        lines += _describe_puzzle(record)
    for parent in chain["parents"]:
        if parent["kind"] == "seed":
            continue
        role = "solution borrowed from" if parent["id"] == record.get("borrowed_from") else "its puzzle:"
        lines += ["", f"{role} {describe(parent)}"]
    seeds = [parent for parent in chain["parents"] if parent["kind"] == "seed"]
    if seeds:
        names = ", ".join(f"{parent['record']['id']} ({parent['id']})" for parent in seeds)
        lines.append(f"  parents: {len(seeds)} puzzles in its prompt: {names}")
    if chain["unknown_parents"]:
        lines.append(f"  parents not found here: {', '.join(chain['unknown_parents'])}")
    return "\n".join(lines)


def _describe_pair(record: dict[str, Any]) -> list[str]:
    judged = record["judgement"]
    memory = judged["peak_memory_bytes"] / (1 << 20)
    return [
        f"  solution {_drawn(record['solution_sampling'])}",
        f"  {judged['status']} in {judged['repeats']} of {judged['repeats']} verifications at level {judged['level']} "
        f"by {judged['verifier']}: {judged['cpu_seconds']:.3f} s CPU, {memory:.0f} MiB, "
        f"answer {judged['answer_sha256'][:16]}",
        f"  its puzzle: {record['passes']} of {record['attempts']} attempts correct, weight {record['weight']:.2f}, "
        f"recipe {record['recipe']}, iteration {record['iteration']}",
        *_filters(record["filters"]),
    ]


def _describe_puzzle(record: dict[str, Any]) -> list[str]:
    statuses = Counter(attempt["status"] for attempt in record["attempts"])
    outcome = f"refused by {record['refused']}" if record["refused"] else "kept"
    attempts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    return [
        f"  {outcome}; written {_drawn(record['sampling'])}",
        *_filters(record["filters"]),
        f"  attempts: {attempts or 'none'}",
    ]


def _drawn(sampling: dict[str, Any]) -> str:
    if not sampling["model"]:
        return (
            f"by no model: {'two solved puzzles chained' if len(sampling['parents']) == 2 else 'with another target'}"
        )
    top_k = f", top-k {sampling['top_k']}" if sampling.get("top_k") else ""
    return (
        f"by {sampling['model']} (weights {sampling['model_digest'][:12]}), sample {sampling['attempt']} of the prompt "
        f"{sampling['prompt_sha256'][:12]}, temperature {sampling['temperature']}, top-p {sampling['top_p']}{top_k}, "
        f"at most {sampling['max_new_tokens']} tokens, seed {sampling['seed']}"
    )


def _filters(outcomes: list[dict[str, Any]]) -> list[str]:
    lines = []
    for outcome in outcomes:
        score = f" {outcome['score']:.2f}" if outcome["score"] else ""
        lines.append(f"  {outcome['filter']:>12}: {outcome['outcome']}{score}  {outcome['detail']}".rstrip())
    return lines
