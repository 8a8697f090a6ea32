"""Random puzzles that report what they consist of: constants, their order and identity, names, lines.

They report it in the message of a rejection.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

_ATOMS = (
    "0", "8", "-7", "300", "10**30", "1267650600228229401496703205376", "2.5", "-0.0", "1e400", "3j", "True", "None",
    "...",
    "'a'", "'name'", "'two words'", "'ä'", "'\\udc80'", "''", "b'raw'", "'x' * 30", "b'y' * 9",
)  # fmt: skip
_LOOKS = (
    "[x for x in {set}]",
    "[hash(x) for x in {set}]",
    "list({set})",
    "{atom} in {set}",
    "[x for x in ({set}, {set}) for x in x]",
    "f.__code__.co_consts",
    "[one.co_consts for one in f.__code__.co_consts if hasattr(one, 'co_consts')]",
    "[a is b for a in f.__code__.co_consts for b in g.__code__.co_consts]",
    "[a is b for a in f.__code__.co_consts for b in f.__code__.co_consts]",
    "f() is g()",
    "(lambda: {tuple})() is (lambda: {tuple})()",
    "[one is sys.intern(str(one)) for one in g.__code__.co_consts]",
    "[one is two for one in f.__code__.co_names for two in g.__code__.co_names]",
    "(f.__doc__, g.__doc__, sat.__doc__, __doc__)",
    "(f.__annotations__, sat.__annotations__, globals().get('__annotations__'))",
    "(f.__defaults__, f.__kwdefaults__, f.__qualname__, g.__name__)",
    "[*f.__code__.co_lines(), *g.__code__.co_positions()]",
    "(f.__code__.co_filename, sat.__code__.co_filename, f.__code__.co_filename is sat.__code__.co_filename)",
    "(f.__code__.co_firstlineno, f.__code__.co_flags, f.__code__.co_stacksize, f.__code__.co_exceptiontable)",
    "f.__code__.co_code",
)
"""What a puzzle may report of itself."""


_HASHED = tuple(atom for atom in _ATOMS if atom not in ("None", "..."))
"""Atoms with the same hash in every process."""


def _tuple(dice: random.Random, depth: int = 2, atoms: tuple[str, ...] = _ATOMS) -> str:
    parts = [
        _tuple(dice, depth - 1, atoms) if depth and dice.random() < 0.3 else dice.choice(atoms)
        for _ in range(dice.randrange(4))
    ]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _set(dice: random.Random) -> str:
    parts = [
        _tuple(dice, 1, _HASHED) if dice.random() < 0.2 else dice.choice(_HASHED) for _ in range(dice.randrange(1, 9))
    ]
    return f"{{{', '.join(parts)}}}"


def _body(dice: random.Random, indent: str) -> str:
    doc = dice.choice(("", f"{indent}'a docstring'\n", f"{indent}'''of\n  two lines'''\n"))
    use = dice.choice(
        (
            f"for x in {_set(dice)}: pass",
            f"y = {_tuple(dice)}",
            f"y = 5 in {_set(dice)}",
            "try: y = 1\n    finally: y = 2",
            "pass",
        )
    )
    return f"{doc}{indent}{use}\n{indent}return {dice.choice((_tuple(dice), dice.choice(_ATOMS)))}\n"


def puzzles(seed: int, count: int) -> Iterator[str]:
    """Yield `count` sources, long ones and short ones."""
    dice = random.Random(seed)

    def fill(text: str) -> str:
        sets, tuples, atom = _set(dice), _tuple(dice), dice.choice(_ATOMS)
        return text.replace("{set}", sets).replace("{tuple}", tuples).replace("{atom}", atom)

    for number in range(count):
        annotation = dice.choice(("", ": int", ": 'int'", ": List[int]"))
        text = dice.choice(("'of the module'\n", "", "x: int = 5\n")) + "import sys, zlib\n"
        text += f"def f(a{annotation} = {dice.choice(_ATOMS)}, *, b={_tuple(dice)}):\n{_body(dice, '    ')}"
        text += f"def g():\n{_body(dice, '    ')}"
        if dice.random() < 0.3:
            text += f"class C:\n    {dice.choice(_ATOMS)}\n    def m(self): return {_set(dice)}\n"
        looks = ", ".join(fill(dice.choice(_LOOKS)) for _ in range(3))
        text += (
            f"def sat(x):\n    seen = ascii([{looks}])\n    return '{number} ' + str(zlib.crc32(seen.encode())) + "
            f"seen[:40]\n"
        )
        yield text + "# " + "long " * dice.choice((0, 0, 90))
