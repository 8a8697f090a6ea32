"""Compare the two codecs, C and Python: to encode, to check and to decode answers of several kinds.

Method: in each round either does each step once on each answer, Python first. Shown is the median of the rounds
(least..most) in milliseconds of CPU time with the garbage collector on, and how many times faster C is by the medians.
The time to free a value is not counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

if not __package__:  # python tests/benchmarks/codec.py
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from selftaught.sandbox import _codec, codec
from tests.benchmarks.machine import busy, machine

ROOM = 1 << 26


def answers() -> dict[str, object]:
    chance = random.Random(0)
    nested: object = [1]
    for _ in range(12):
        nested = [nested, [2], nested]
    return {
        "300,000 lists of one": [[i] for i in range(300_000)],
        "nested lists": nested,
        "matrix": [[*range(1000)] for _ in range(200)],
        "tuples": [(i, -i) for i in range(100_000)],
        "ints of 8 bytes": [chance.getrandbits(62) for _ in range(100_000)],
        "ints of 25 bytes": [chance.getrandbits(199) for _ in range(100_000)],
        "ints of 1,000 bytes": [chance.getrandbits(7999) for _ in range(10_000)],
        "int of 1,250,000 bytes": chance.getrandbits(10**7) | 1 << 10**7,
        "words": ["".join(chance.choices("abcdefgh", k=chance.randrange(1, 12))) for _ in range(100_000)],
        "words, not ASCII": ["".join(chance.choices("äßçю漢🐍", k=chance.randint(1, 11))) for _ in range(100_000)],
        "words of surrogates": ["\ud800" * chance.randrange(1, 12) for _ in range(100_000)],
        "texts of 1,000": [chr(97 + i % 26) * 1000 for i in range(10_000)],
        "text of 1,000,000": "x" * 1_000_000,
        "text of 1,000,000, not ASCII": "ю" * 1_000_000,
        "text of 300,000 surrogates": "\ud800" * 300_000,
        "floats": [chance.random() for _ in range(100_000)],
        "sets": [{*chance.sample(range(1000), 10)} for _ in range(10_000)],
        "set of 100,000": {*range(100_000)},
        "dicts": [{f"k{j}": j for j in range(5)} for _ in range(20_000)],
        "one int": 5,
        "one text": "hello",
    }


def extended_answers() -> dict[str, object]:
    return {
        "bytes": [b"%010d" % i for i in range(100_000)],
        "Counters": [Counter({f"k{j}": j for j in range(5)}) for _ in range(20_000)],
        "OrderedDicts": [OrderedDict({f"k{j}": j for j in range(5)}) for _ in range(20_000)],
        "deques": [deque(range(10)) for _ in range(20_000)],
        "frozensets": [frozenset(range(i, i + 10)) for i in range(10_000)],
        "Decimals": [Decimal(i) / 100 for i in range(100_000)],
        "Fractions": [Fraction(i, 7) for i in range(100_000)],
        "dates": [date(2000, 1, 1) + timedelta(i) for i in range(100_000)],
        "rows with bytes and a Decimal": [
            {"id": i, "name": f"row {i}", "key": b"%d" % i, "pair": (i, 2.5), "price": Decimal(i) / 100}
            for i in range(20_000)
        ],
    }


def seconds(step: Callable[..., object], *arguments: object) -> float:
    start = time.process_time()
    result = step(*arguments)
    taken = time.process_time() - start
    del result  # whoever needs it has it for longer
    return taken


def show(name: str, value: object, rounds: int, extended: bool) -> None:
    data = codec.python_encode(value, ROOM, extended)
    assert _codec.encode(value, ROOM, extended) == data
    steps = {
        "encode": (codec.python_encode, _codec.encode, (value, ROOM, extended)),
        "check": (codec.python_check, _codec.check, (data, ROOM, extended)),
        "decode": (codec.python_decode, _codec.decode, (data,)),
    }
    totals: list[list[float]] = [[], []]
    print(f"{name} ({len(data):,} bytes)")
    times: dict[str, tuple[list[float], list[float]]] = {step: ([], []) for step in steps}
    for _ in range(rounds):
        for which in (0, 1):
            for step, (*both, arguments) in steps.items():
                times[step][which].append(seconds(both[which], *arguments))
            totals[which].append(sum(times[step][which][-1] for step in steps))
    for step, (python, native) in {**times, "all": (totals[0], totals[1])}.items():
        ratio = statistics.median(python) / statistics.median(native)
        print(f"  {step:6}  Python {spread(python)}   C {spread(native)}   {ratio:6.1f} x")


def spread(times: list[float]) -> str:
    least, middle, most = (1000 * time for time in (min(times), statistics.median(times), max(times)))
    return f"{middle:10.4f} ({least:.4f}..{most:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", metavar="TEXT", help="answers that have this in their names")
    options = parser.parse_args()
    print(__doc__)
    print("\n".join(f"{name}: {value}" for name, value in machine().items()))
    print(busy())
    for extended, kinds in ((False, answers()), (True, extended_answers())):
        for name, value in kinds.items():
            if options.only in name:
                show(name, value, options.rounds, extended)
    print(busy())


if __name__ == "__main__":
    main()
