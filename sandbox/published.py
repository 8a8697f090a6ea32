"""Compare one output with what is expected as published judges do, so that scores can be compared with theirs.

Each function is written anew after the judge that its docstring names, and gives its verdicts on data that such a judge
meets: results of functions against values read from JSON, and standard output against text. Where a judge raises, or
has no answer, its function says what it does. Every comparison accepts what is `equal`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from selftaught.sandbox.equality import equal, is_array, is_number


def livecodebench(output: Any, expected: Any, printed: bool) -> bool:
    """Compare as LiveCodeBench does.

    Source: LiveCodeBench/LiveCodeBench, ``lcb_runner/evaluation/testing_util.py`` at commit 15808c76, functions
    `grade_call_based` and `grade_stdio`. Text: as many lines, after blanks around the whole are gone; each the same
    but for blanks around it, or the same numbers, compared as decimals. Results: equal, a tuple as a list.
    """
    if printed:
        return _same_lines(output, expected, _equal_decimals)
    return equal(output, expected) or equal(_listed(output), expected)


def apps(output: Any, expected: Any, printed: bool) -> bool:
    """Compare as APPS does.

    Source: hendrycks/apps, ``eval/testing_util.py`` at commit 5dcfdf2c, function `run_test`. Text: the same but for
    blanks around lines and empty lines; or one number a line, each near (`numpy.allclose`); or the same *sets* of words
    a line, as a set of lines; or those with numbers rounded to three decimals. Results: as `_same_result`.
    """
    if not printed:
        return _same_result(output, expected)
    lines = output.splitlines()
    if output == expected or _same_text(lines, expected):
        return True
    filled, wanted = _filled(lines), _wanted(expected)
    if _near_columns(filled, wanted):
        return True
    words = [line.split() for line in filled if line.strip()]
    wanted_words = [line.split() for line in wanted]
    return _as_sets(words) == _as_sets(wanted_words) or _same_rounded(words, wanted_words)


def verl(output: Any, expected: Any, printed: bool) -> bool:
    """Compare as verl's `prime_code` does.

    Source: the distribution verl 0.9.1, ``verl/utils/reward_score/prime_code/testing_util.py``, function `run_test`.
    Text: as APPS, without sets of words; whole numbers are never only near. Results: as APPS, but a result that JSON
    has no form for is refused, unless what is expected has none either.
    """
    if not printed:
        return _same_result(output, expected) and (_has_json(output) or not _has_json(expected))
    lines = output.splitlines()
    if output == expected or _same_text(lines, expected):
        return True
    filled, wanted = _filled(lines), _wanted(expected)
    all_digits = all(one.isdigit() and other.isdigit() for one, other in zip(filled, wanted, strict=False))
    return not all_digits and _near_columns(filled, wanted)


def sandboxfusion(output: Any, expected: Any, printed: bool) -> bool:
    """Compare as SandboxFusion does.

    Source: bytedance/SandboxFusion, ``sandbox/utils/testing.py``, function `check_stdio_test_case`, read in copies of
    the repository, such as vatsal-kr/SandboxFusion at commit 58102e40. Text: as many lines, each the same but for case
    and blanks around it, or one number, less than 1e-5 of the expected one from it. It compares no results of
    functions: those must be equal.
    """
    return _same_lines(output.lower(), expected.lower(), _near_numbers) if printed else equal(output, expected)


def humaneval_plus(output: Any, expected: Any, atol: float) -> bool:
    """Compare results of functions as EvalPlus does, for HumanEval+ and MBPP+.

    Source: the distribution evalplus 0.3.1, ``evalplus/eval/__init__.py``, functions `unsafe_execute` and `is_floats`.
    Results are equal; or, if the problem has a tolerance or a float or a flat sequence of floats is expected, of the
    same type and near (`numpy.allclose`, relative 1e-7). Its oracles for single problems are not part of it. It
    accepts shapes that differ but can be broadcast, this does not; it has no answer about arrays of several elements,
    which are compared element by element.

    Args:
        output: plain data.
        expected: plain data.
        atol: the problem's absolute tolerance; 0 means 1e-6 for floats, and none for all else.
    """
    if equal(output, expected):
        return True
    if not atol and not _are_floats(expected):
        return False
    return type(output) is type(expected) and _all_close(output, expected, 1e-7, atol or 1e-6)


def _same_lines(output: str, expected: str, alike: Callable[[str, str], bool]) -> bool:
    """Return True if there are as many lines, each the same but for blanks around it, or alike."""
    lines, wanted = output.strip().split("\n"), expected.strip().split("\n")
    return len(lines) == len(wanted) and all(
        one == other or alike(one, other)
        for one, other in zip(map(str.strip, lines), map(str.strip, wanted), strict=True)
    )


def _equal_decimals(line: str, wanted: str) -> bool:
    try:
        return [Decimal(word) for word in line.split()] == [Decimal(word) for word in wanted.split()]
    except ArithmeticError:  # not a number; a signalling NaN
        return False


def _near_numbers(line: str, wanted: str) -> bool:
    try:
        number, goal = float(line), float(wanted)
    except ValueError:
        return False
    return abs(number - goal) / max(abs(goal), 1e-10) < 1e-5


def _same_text(lines: list[str], expected: str) -> bool:
    """Return True if the lines are the expected ones but for blanks around them, or empty ones among them."""
    whole, stripped = expected.strip(), "\n".join(map(str.strip, lines)).strip()
    return whole in ("\n".join(lines).strip(), stripped) or _wanted(expected) in (lines, _filled(lines))


def _filled(lines: list[str]) -> list[str]:
    return [line for line in lines if line]


def _wanted(expected: str) -> list[str]:
    return [line.strip() for line in expected.split("\n") if line]


def _near_columns(lines: list[str], wanted: list[str]) -> bool:
    """Return True if each line is one number near the expected one."""
    if len(lines) != len(wanted):
        return False
    try:
        numbers, goals = list(map(float, lines)), list(map(float, wanted))
    except ValueError:
        return False
    return _all_close(numbers, goals, 1e-5, 1e-8)


def _as_sets(lines: list[list[Any]]) -> set[frozenset[Any]]:
    return {frozenset(words) for words in lines}


def _same_rounded(lines: list[list[str]], wanted: list[list[str]]) -> bool:
    try:
        first, second = ([[round(float(word), 3) for word in line] for line in one] for one in (lines, wanted))
    except (ValueError, OverflowError):
        return False
    return _as_sets(first) == _as_sets(second)


def _same_result(output: Any, expected: Any) -> bool:
    """Compare a function's result as APPS does.

    Of what is expected, dictionaries get whole numbers as keys where they can. The result is equal to it, or to its
    first item, since APPS writes results as lists of one. A tuple is as a list, and so are those in a list if the first
    item is a tuple.
    """
    if equal(output, expected):
        return True
    output, expected = _listed(output), _with_number_keys(expected)
    if equal(output, expected):
        return True
    if not isinstance(expected, list) or not expected:
        return False
    if equal(output, expected[0]):
        return True
    if not isinstance(output, list) or not output or not isinstance(output[0], tuple):
        return False
    try:
        return equal([list(one) for one in output], expected[0])
    except TypeError:
        return False


def _with_number_keys(expected: Any) -> Any:
    first = expected[0] if isinstance(expected, (list, tuple)) and expected else expected
    if not isinstance(first, dict):
        return expected
    try:
        return [{int(key): value for key, value in first.items()}]
    except (TypeError, ValueError, OverflowError):
        return expected


def _listed(output: Any) -> Any:
    return list(output) if isinstance(output, tuple) else output


def _has_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _are_floats(value: Any) -> bool:
    if is_array(value):
        return str(value.dtype) in ("float32", "float64")
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(one, float) for one in value)
    return isinstance(value, float)


def _all_close(output: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Return True if both have the same shape and all numbers are near, as `numpy.allclose` has it."""
    if is_array(output) and is_array(expected):
        return bool(output.shape == expected.shape) and _all_close(output.tolist(), expected.tolist(), rtol, atol)
    if isinstance(output, (list, tuple)) and isinstance(expected, (list, tuple)):
        return len(output) == len(expected) and all(
            _all_close(one, other, rtol, atol) for one, other in zip(output, expected, strict=True)
        )
    if not (_counts(output) and _counts(expected)):
        return False
    try:
        number, goal = complex(output), complex(expected)
        return number == goal or (math.isfinite(abs(goal)) and abs(number - goal) <= atol + rtol * abs(goal))
    except OverflowError:
        return False


def _counts(value: Any) -> bool:
    return isinstance(value, (bool, int, float, complex, Fraction)) or (is_number(value) and hasattr(value, "dtype"))
