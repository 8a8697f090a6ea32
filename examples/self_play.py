"""Self-play in 30 lines: a "model" that is a table of weights learns from what the verifier accepts.

It writes puzzles (apply an operation to a secret number), guesses which operation solves each, and raises the weight
of guesses that were verified. `selftaught loop` does the same with a transformer.
"""

import random

from selftaught import Task, Verifier

OPERATIONS = ["{x} + {k}", "{x} - {k}", "{x} * {k}", "{x} // {k}"]
weights = {(asked, tried): 1.0 for asked in OPERATIONS for tried in OPERATIONS}
chance = random.Random(0)


def write_pair(number: int) -> tuple[tuple[str, str], Task]:
    asked, k = chance.choice(OPERATIONS), chance.randint(2, 99)
    target = eval(asked.format(x=chance.randint(100, 999) * k, k=k))  # our own text, not a model's
    (tried,) = chance.choices(OPERATIONS, [weights[asked, one] for one in OPERATIONS])
    puzzle = f"def sat(x: int, k={k}, t={target}): return {asked.format(x='x', k='k')} == t"
    return (asked, tried), Task(str(number), puzzle, f"def sol(k={k}, t={target}): return {tried.format(x='t', k='k')}")


with Verifier(require="restricted") as verifier:
    for iteration in range(5):
        pairs = [write_pair(number) for number in range(200)]
        verdicts = list(verifier.verify_many(task for _, task in pairs))
        for (learnt, _), verdict in zip(pairs, verdicts, strict=True):
            weights[learnt] += verdict.accepted  # only what was verified is learnt
        print(f"iteration {iteration}: {sum(one.accepted for one in verdicts) / len(verdicts):.0%} solved")
