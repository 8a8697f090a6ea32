"""Judge a file of attempts and print what became of each: python examples/judge_file.py [FILE]

A record of FILE (JSON Lines, an array or Parquet, compressed or not) has `id`, `sat` (the puzzle) and `sol` (the
solution). Without FILE three are judged. `selftaught verify FILE` does the same and more.
"""

import sys
from collections import Counter

from selftaught import Limits, Task, Verifier
from selftaught.sandbox import records

PUZZLE = "def sat(x: int, n=3127): return 1 < x < n and n % x == 0"
THREE = [
    {"id": "right", "sat": PUZZLE, "sol": "def sol(n=3127): return next(x for x in range(2, n) if n % x == 0)"},
    {"id": "wrong", "sat": PUZZLE, "sol": "def sol(n=3127): return 2"},
    {"id": "endless", "sat": PUZZLE, "sol": "def sol(n=3127):\n    while True: pass"},
]

attempts = (row.fields for row in records.rows(sys.argv[1])) if sys.argv[1:] else iter(THREE)
tasks = (Task(str(one["id"]), one["sat"], one["sol"]) for one in attempts)
counts = Counter[str]()
with Verifier(limits=Limits(cpu_seconds=0.5), require="restricted") as verifier:
    for verdict in verifier.verify_many(tasks):
        counts[verdict.status.value] += 1
        print(f"{verdict.id:10} {verdict.status:15} {verdict.usage.cpu_seconds:.3f} s  {verdict.message}")
print(dict(counts))
