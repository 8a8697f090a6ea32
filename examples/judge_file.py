"""Judge a file of attempts and print what became of each: python examples/judge_file.py [FILE]

A line of FILE is a JSON object with `id`, `sat` (the puzzle) and `sol` (the solution). Without FILE three are judged.
`selftaught verify FILE` does the same and more.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from selftaught import Limits, Task, Verifier

PUZZLE = "def sat(x: int, n=3127): return 1 < x < n and n % x == 0"
THREE = [
    {"id": "right", "sat": PUZZLE, "sol": "def sol(n=3127): return next(x for x in range(2, n) if n % x == 0)"},
    {"id": "wrong", "sat": PUZZLE, "sol": "def sol(n=3127): return 2"},
    {"id": "endless", "sat": PUZZLE, "sol": "def sol(n=3127):\n    while True: pass"},
]


def tasks(lines: list[str]) -> Iterator[Task]:
    for line in lines:
        record = json.loads(line)
        yield Task(str(record["id"]), record["sat"], record["sol"])


lines = Path(sys.argv[1]).read_text().splitlines() if sys.argv[1:] else [json.dumps(one) for one in THREE]
counts = Counter[str]()
with Verifier(limits=Limits(cpu_seconds=0.5), require="restricted") as verifier:
    for verdict in verifier.verify_many(tasks(lines)):
        counts[verdict.status.value] += 1
        print(f"{verdict.id:10} {verdict.status:15} {verdict.usage.cpu_seconds:.3f} s  {verdict.message}")
print(dict(counts))
