"""Random puzzles and solutions: honest, wrong, failing, and some that only the fork engine can run to the end."""

from __future__ import annotations

import random
from collections.abc import Iterator

_PUZZLES = (
    "def sat(x: int, a={a}, b={b}): return x + a == b",
    "def sat(x: List[int], n={a}):\n    assert len(x) == n\n    return all(i < j for i, j in zip(x, x[1:]))",
    "def sat(s: str, t='{t}'): return s[::-1] == t * 3",
    "import math\ndef sat(x: float, a={a}): return math.isclose(x * x, a)",
    "def sat(d: Dict[str, int], a={a}): return sum(d.values()) == a",
    "def f(t: Tuple[int, int], a={a}): return t[0] * t[1] == a and t[0] <= t[1]",
    "def sat(x: Set[int], a={a}): return len(x) == a % 50 and max(x) < 100",
    "def sat(x, a={a}):\n    if a % 7 == 0: raise ValueError(a)\n    return x == a",
    "def sat(x: int, a={a}): return x ==",
)
_RIGHT = (
    "def sol(a={a}, b={b}): return b - a",
    "def sol(n={a}): return list(range(n))",
    "def sol(t='{t}'): return (t * 3)[::-1]",
    "import math\ndef sol(a={a}): return math.sqrt(a)",
    "def sol(a={a}): return {{'x': a - 1, 'y': 1}}",
    "def g(a={a}): return next((i, a // i) for i in range(1, a + 1) if a % i == 0)",
    "set(range({a} % 50))",
    "{a}",
    "{a}",
)
_WRONG = (
    "def sol(): return {b}",
    "def sol(): return [{a}, {b}, '{t}']",
    "def sol(): return None",
    "def sol(): return object()",
    "def sol(): return (i for i in range({a}))",
    "def sol(): return 1 / ({a} - {a})",
    "def sol(): return undefined_{t}",
    "def sol(:",
    "def other(): return 1",
    "def sol():\n    def f(n): return f(n + 1)\n    return f(0)",
    "def sol():\n    return int('{t}')",
    "raise SystemExit({a})",
    "import sys\ndef sol():\n    sys.exit({a})",
    "def sol(): return {{}}[{a}]",
    "'{t}' * {a}",
)
_ODD = (
    "import os\ndef sol():\n    os.getpid()\n    return {a}",
    "import ftplib\ndef sol(): return {a}",
    "def sol(): return open('/etc/passwd').read()",
    "import os\ndef sol(): os._exit({a} % 100)",
    "import time\ndef sol():\n    time.process_time()\n    time.sleep(0.0001)\n    return {a}",
    "import threading\ndef sol():\n    threading.Lock().acquire()\n    return {a}",
    "def sol():\n    raise MemoryError",
    "def sol(): return bytearray(1 << 41)",
    "def sol(): return input()",
    "import ctypes\ndef sol(): return ctypes.string_at(1)",
)
_BEFORE = (
    "",
    "",
    "print('{t}' * {a})\n",
    "import random\nrandom.seed({a})\n",
    "import builtins\nbuiltins.sum = lambda *a: {a}\n",
    "waste = [0] * {a} * 100\n",
    "waste = [str(i) for i in range({a})]\n",
    "import collections, itertools, re\nre.compile('{t}+')\n",
    "class A:\n    def __eq__(self, other): return True\n",
    "import sys\nsys.stdout.write('{t}')\nsys.stdout.flush()\n",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    kept = error\n",
)


def programs(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield pairs of a puzzle and a solution, the same for the same seed."""
    dice = random.Random(seed)
    for _ in range(count):
        kind = dice.randrange(len(_PUZZLES))
        right, wrong, odd = _RIGHT[kind], dice.choice(_WRONG), dice.choice(_ODD)
        solution = dice.choices((right, wrong, odd), (6, 5, 1))[0]
        if "def " in solution:
            solution = dice.choice(_BEFORE) + solution
        values = {"a": dice.randint(1, 400), "b": dice.randint(-99, 99), "t": "".join(dice.choices("abcx", k=3))}
        yield _PUZZLES[kind].format(**values), solution.format(**values)
