"""`Judge`: judge the rows of a Ray dataset where they are, without a driver between."""

from __future__ import annotations

from typing import Any

from selftaught.sandbox import records
from selftaught.sandbox.task import AnyTask
from selftaught.sandbox.verdict import Status, Verdict
from selftaught.sandbox.verifier import Verifier


class Judge:
    """A callable class for `ray.data.Dataset.map_batches`: each actor of it has a verifier.

    Example:
        rows = ray.data.read_json("tasks.jsonl")
        rows.map_batches(Judge, fn_constructor_kwargs={"workers": 8}, num_cpus=8, concurrency=(1, 100))

    Rows have the fields of tasks, of any kind, as in JSON Lines. They gain ``status``, ``message`` and ``score``.

    Args:
        settings: The arguments of `Verifier`.

    Raises:
        CannotConfine: See `Verifier`.
    """

    def __init__(self, **settings: Any) -> None:
        self._verifier = Verifier(**settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge a batch: columns by name, as arrays."""
        rows = [dict(zip(batch, map(_plain, values), strict=True)) for values in zip(*batch.values(), strict=True)]
        found = [_task(row) for row in rows]
        verdicts = self._verifier.verify_many(one for one in found if not isinstance(one, Verdict))
        results = [one if isinstance(one, Verdict) else next(verdicts) for one in found]
        return {
            **batch,
            "status": [verdict.status.value for verdict in results],
            "message": [verdict.message for verdict in results],
            "score": [verdict.score if verdict.judged else None for verdict in results],
        }


def _plain(value: Any) -> Any:
    """Return a value of a batch as one of JSON."""
    return value.tolist() if hasattr(value, "tolist") else value


def _task(row: dict[str, Any]) -> AnyTask | Verdict:
    """Return the task of a row, or the verdict on what is none."""
    ident = str(row.get("id", ""))
    try:
        return records.to_task(row, ident)
    except ValueError as error:
        return Verdict(ident, Status.INVALID, message=str(error))
