"""Bring your own puzzles: check them before a model sees them. python examples/own_puzzles.py [FILE]

A record of FILE (JSON Lines, an array or Parquet, compressed or not) has `sat` and a reference solution `sol`. A good
puzzle accepts its reference solution, each time, and refuses easy answers. What passes is printed, one JSON object a
line: seeds for `selftaught generate --seeds`.
"""

import json
import sys

from selftaught import Task, Verifier
from selftaught.sandbox import records

OWN = [
    {"sat": "def sat(x: str): return sorted(x) == sorted('listen') and x != 'listen'", "sol": "'silent'"},
    {"sat": "def sat(x: int, n=1001): return n % x == 0", "sol": "7"},
    {"sat": "def sat(x: list): return sum(x) == 10 and len(x) == 3", "sol": "[1, 2, 3]"},
]
EASY = ["0", "1", "-1", "''", "'a'", "[]", "[0]", "True", "None"]

puzzles = [row.fields for row in records.rows(sys.argv[1])] if sys.argv[1:] else OWN
with Verifier(require="restricted") as verifier:
    references = [Task(str(number), one["sat"], one["sol"]) for number, one in enumerate(puzzles)]
    for task, verdict in zip(references, verifier.verify_many(references, repeat=3), strict=True):
        easy = verifier.verify_many(Task(answer, task.sat, answer) for answer in EASY)
        solved_by = [one.id for one in easy if one.accepted]
        if verdict.accepted and not solved_by:
            print(json.dumps(puzzles[int(task.id)]))
        else:
            print(f"{task.id}: {verdict.status} {verdict.message} easy answers: {solved_by}", file=sys.stderr)
