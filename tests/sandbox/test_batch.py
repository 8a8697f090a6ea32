"""Records in, lines out: order, what passes through, and which outputs may be resumed."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from selftaught.sandbox import batch, records
from selftaught.sandbox.records import Record
from selftaught.sandbox.task import AnyTask, FunctionTask, StdioTask, Task
from selftaught.sandbox.verdict import CaseResult, LimitHit, Status, Verdict
from selftaught.sandbox.verifier import Verifier


class FakeVerifier:
    """Accepts everything, a few tasks after it has read them, and cancels from a given task on."""

    def __init__(self, cancel_from: int | None = None) -> None:
        self.cancel_from = cancel_from

    def verify_many(self, tasks: Iterable[Task], repeat: int = 1) -> Iterator[Verdict]:
        pending: list[Verdict] = []
        for number, task in enumerate(tasks):
            accepted = self.cancel_from is None or number < self.cancel_from
            status = (Status.ACCEPTED if accepted else Status.CANCELLED) if isinstance(task, Task) else Status.INVALID
            pending.append(Verdict(getattr(task, "id", ""), status, verifier="fake"))
            if len(pending) > 3:
                yield pending.pop(0)
        yield from pending


def tasks(count: int, **fields: object) -> list[Record]:
    def one(number: int) -> Record:
        task = Task(str(number), "s", "t")
        return Record(f"in:{number + 1}", {"id": task.id, "sat": "s", "sol": "t", **fields}, task)

    return [one(number) for number in range(count)]


def run(source: list[Record], **options: Any) -> tuple[list[dict[str, Any]], Counter[str]]:
    out = io.BytesIO()
    counts = batch.run(source, cast(Verifier, FakeVerifier(**options)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()], counts


def test_invalid_records_keep_their_place() -> None:
    source = tasks(10)
    source[0] = Record("in:1", problem="in:1: bad")
    source[7] = Record("in:8", {"id": 7, "note": "kept"}, problem="in:8: bad too")
    found, counts = run(source)
    assert [verdict["id"] for verdict in found] == ["in:1", *map(str, range(1, 10))]
    assert [n for n, verdict in enumerate(found) if verdict["status"] == "invalid"] == [0, 7]
    assert found[7]["message"] == "in:8: bad too"
    assert found[7]["note"] == "kept"
    assert found[7]["verifier"] == "fake"
    assert counts == {"accepted": 8, "invalid": 2}


def test_a_cancelled_judgement_is_never_written() -> None:
    found, counts = run(tasks(10), cancel_from=4)
    assert [verdict["id"] for verdict in found] == ["0", "1", "2", "3"]
    assert "cancelled" not in counts


def test_a_line_is_the_fields_and_then_the_verdict() -> None:
    (record,) = tasks(1, z=1, status="mine", a=[None])
    hit = LimitHit("cpu_seconds", 1.0, 1.1)
    found = json.loads(batch.line(record, Verdict("0", Status.TIME_LIMIT, "sol", limit=hit, level="full")))
    assert list(found) == (
        "id sat sol z status a phase message limit usage answer_sha256 level retryable verifier".split()
    )
    assert (found["status"], found["z"], found["a"]) == ("time_limit", 1, [None])
    assert found["limit"] == {"name": "cpu_seconds", "configured": 1.0, "observed": 1.1}
    assert set(found["usage"]) == {"cpu_seconds", "wall_seconds", "peak_memory_bytes"}


def test_a_line_says_what_came_of_the_cases_in_place_of_the_cases() -> None:
    fields = {"id": "0", "sol": "t", "cases": [["in", "out"]]}
    record = Record("in:1", fields, StdioTask("0", "t", [("in", "out")]))
    results = (CaseResult(Status.ACCEPTED, score=1.0), CaseResult(Status.REJECTED, "no"))
    verdict = Verdict("0", Status.REJECTED, "sol", cases=results, passed=1, total=2, decided_by=1)
    found = json.loads(batch.line(record, verdict))
    assert Verdict.from_dict({name: found[name] for name in verdict.to_dict()}) == verdict
    assert [case["status"] for case in found["cases"]] == ["accepted", "rejected"]


@pytest.mark.parametrize("task", [FunctionTask("0", "t", "f", "assert f()"), StdioTask("0", "t", [("", "")])])
def test_what_is_said_of_cases_is_there_for_every_task_that_can_have_them(task: AnyTask) -> None:
    found = json.loads(batch.line(Record("in:1", {}, task), Verdict("0", Status.INVALID)))
    assert (found["isolation"], found["cases"], found["passed"], found["total"]) == ("process", [], 0, 0)


def test_an_output_of_tasks_with_cases_can_be_resumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = [Record(f"in:{n}", {"id": str(n)}, StdioTask(str(n), "t", [("", "")])) for n in range(3)]
    out.write_bytes(b"".join(batch.line(record, Verdict(record.id, Status.ACCEPTED)) for record in source[:2]))
    rest = iter(source)
    assert batch.resume(out, rest) == {"accepted": 2}
    assert [record.id for record in rest] == ["2"]


@pytest.mark.parametrize(
    "text", ["1" * 30, "-9223372036854775809", '"\\ud800"', "[Infinity, 1e400]", '"\\u2028\\n"', "0.1"]
)
def test_unusual_values_pass_through(text: str) -> None:
    (record,) = tasks(1, x=records.parse(text.encode()))
    written = batch.line(record, Verdict("0", Status.ACCEPTED))
    assert written.count(b"\n") == 1
    assert records.parse(written)["x"] == json.loads(text)


def test_nan_passes_through() -> None:
    (record,) = tasks(1, x=records.parse(b"NaN"))
    assert math.isnan(json.loads(batch.line(record, Verdict("0", Status.ACCEPTED)))["x"])


def test_the_deepest_record_that_is_read_can_be_written() -> None:
    (record,) = tasks(1, x=records.parse(b"[" * 500 + b"]" * 500))
    assert b"[" * 500 in batch.line(record, Verdict("0", Status.ACCEPTED))


def written(count: int) -> bytes:
    return b"".join(batch.line(record, Verdict(record.id, Status.ACCEPTED)) for record in tasks(count))


@pytest.mark.parametrize("torn", [b"", b"{", b'{"id": "3"\n', b"\0\0\0", written(4).splitlines()[3]], ids=str)
def test_resuming_cuts_off_an_incomplete_last_line_and_skips_the_rest(tmp_path: Path, torn: bytes) -> None:
    out, source = tmp_path / "out", iter(tasks(6))
    out.write_bytes(written(3) + torn)
    assert batch.resume(out, source) == {"accepted": 3}
    assert out.read_bytes() == written(3)
    assert [record.id for record in source] == ["3", "4", "5"]


def test_resuming_tells_each_status_that_is_there(tmp_path: Path) -> None:
    out, found = tmp_path / "out", []
    out.write_bytes(written(2))
    batch.resume(out, iter(tasks(3)), lambda ident, status: found.append((ident, status)))
    assert found == [("0", Status.ACCEPTED), ("1", Status.ACCEPTED)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (written(2) + b"{\n" + written(3).splitlines()[2] + b"\n", "3 is not a verdict"),
        (b"precious", "1 is not a verdict"),
        (b'{"id": "0", "sat": "s", "sol": "t"}\n' * 2, "1 is not a verdict"),
        (written(1) * 2, "2 is about '0', but the input has '1'"),
        (written(7), "more records than the input"),
    ],
)
def test_an_output_of_something_else_is_not_changed(tmp_path: Path, content: bytes, reason: str) -> None:
    out = tmp_path / "out"
    out.write_bytes(content)
    with pytest.raises(batch.Mismatch, match=reason):
        batch.resume(out, iter(tasks(6)))
    assert out.read_bytes() == content


def test_a_record_that_was_cut_when_it_was_judged_is_named_with_the_remedy(tmp_path: Path) -> None:
    out, source = tmp_path / "out", tasks(4)
    cut = Record("in:3", problem="in:3: not JSON")
    content = written(2) + batch.line(cut, Verdict(cut.id, Status.INVALID))
    out.write_bytes(content)
    with pytest.raises(batch.Mismatch, match=r"out:3 .* has the id '2' now.*Remove this line"):
        batch.resume(out, iter(source))
    assert out.read_bytes() == content


def test_what_was_read_before_an_input_ends_in_damage_has_its_verdicts() -> None:
    def source() -> Iterator[Record]:
        yield from tasks(10)
        raise records.Unreadable("cut")

    out = io.BytesIO()
    with pytest.raises(records.Unreadable, match="cut"):
        batch.run(source(), cast(Verifier, FakeVerifier()), out)
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [*map(str, range(10))]


def test_several_inputs_follow_each_other_and_a_missing_one_is_found_first(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for path in (first, second):
        path.write_text('{"sat": "", "sol": ""}\n')
    assert [record.id for record in batch.chain([str(first), str(second)], "auto")] == [f"{first}:1", f"{second}:1"]
    with pytest.raises(records.Unreadable):
        batch.chain([str(first), str(tmp_path / "none")], "auto")
