"""Programs that language models wrote for contests do what CPython does with them, on both engines."""

from __future__ import annotations

import gzip
import json
from typing import Any

from selftaught.sandbox import Limits, Status, StdioTask, Verifier
from tests.sandbox.published import file

LIMITS = Limits(cpu_seconds=10.0, output_bytes=4 << 20)
DIFFERS = ("fstat", "threading", "numpy")
"""Programs with these end otherwise: CPython's standard input was a pipe, whose size is 0, and here it is a file; there
are no threads; and no packages unless they are asked for.
"""


def test_programs_of_contests_print_and_end_as_in_cpython(verifier: Verifier) -> None:
    with gzip.open(file("taco_programs.jsonl.gz"), "rt") as lines:
        records: list[dict[str, Any]] = [json.loads(line) for line in lines]
    alike = [record for record in records if not any(word in record["code"] for word in DIFFERS)]
    assert len(alike) > 0.8 * len(records)
    tasks = [
        StdioTask(
            str(record["id"]),
            record["code"],
            [(record["stdin"], record["cpython"]["stdout"])],
            compare="exact",
            limits=LIMITS,
        )
        for record in alike
    ]
    for record, verdict in zip(alike, verifier.verify_many(tasks), strict=True):
        expected = record["cpython"]
        if expected["exit"]:
            assert verdict.status is Status.SOLUTION_ERROR, verdict
            error = str(expected["last_error_line"]).partition(" (/")[0]  # where the library is
            assert error[:60] in verdict.message
        else:
            assert verdict.accepted, verdict
