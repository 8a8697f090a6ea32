"""The parts of machine-written puzzles: invertible operations, and templates of several conditions.

Everything here is this project's own code and safe to run. `{x}` is the operand and `{y}` the value to invert. `{v}`,
`{s}` and `{l}` are an int, str or list of ints (parameters of the puzzle), `{c}` is a small int constant.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation from one type to another, and an expression that inverts it."""

    takes: str
    gives: str
    forward: str
    inverse: str

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the parameters that it needs besides the operand."""
        return tuple(slot for slot in "vslc" if f"{{{slot}}}" in self.forward)


@dataclass(frozen=True, slots=True)
class Conditions:
    """A puzzle of several conditions with a known answer. `parameters` are names and kinds in the order of use."""

    answer_type: str
    conditions: str
    answer: str
    parameters: tuple[tuple[str, str], ...]


_TABLE = """
int int     {x} + {v}                   {y} - {v}
int int     {x} - {v}                   {y} + {v}
int int     {v} - {x}                   {v} - {y}
int int     {x} * {v}                   {y} // {v}
int int     {x} // {v}                  {y} * {v}
int int     {x} ^ {v}                   {y} ^ {v}
int int     -{x}                        -{y}
int int     ~{x}                        ~{y}
int int     {x} << {c}                  {y} >> {c}
int int     {x} >> {c}                  {y} << {c}
int int     {x} * {c}                   {y} // {c}
int int     {x} + {c}                   {y} - {c}
int int     {x} ** 2                    int({y} ** 0.5)
int int     int(str({x})[::-1])         int(str({y})[::-1])
int str     str({x})                    int({y})
int str     hex({x})                    int({y}, 16)
int str     bin({x})                    int({y}, 2)
int str     {s} * {x}                   len({y}) // len({s})
int list    [{x}]                       {y}[0]
int list    [{x}, {v}]                  {y}[0]
int list    [{v}, {x}]                  {y}[1]
int list    [{v}] * {x}                 len({y})
int list    list(range({x}))            len({y})
str int     len({x})                    'a' * {y}
str int     int({x})                    str({y})
str int     {x}.count({s})              {s} * {y}
str str     {x} + {s}                   {y}[:-len({s})]
str str     {s} + {x}                   {y}[len({s}):]
str str     {x}[::-1]                   {y}[::-1]
str str     {x}.swapcase()              {y}.swapcase()
str str     {x} * {c}                   {y}[:len({y}) // {c}]
str str     {x}[1:]                     'a' + {y}
str str     {x}[:-1]                    {y} + 'a'
str list    [ord(i) for i in {x}]       ''.join(chr(i) for i in {y})
str words   list({x})                   ''.join({y})
str words   {x}.split({s})              {s}.join({y})
list list   {x} + {l}                   {y}[:-len({l})]
list list   {l} + {x}                   {y}[len({l}):]
list list   {x}[::-1]                   {y}[::-1]
list list   [i + {v} for i in {x}]      [i - {v} for i in {y}]
list list   [i - {v} for i in {x}]      [i + {v} for i in {y}]
list list   [i * {c} for i in {x}]      [i // {c} for i in {y}]
list list   [-i for i in {x}]           [-i for i in {y}]
list list   {x} * {c}                   {y}[:len({y}) // {c}]
list list   {x}[1:]                     [0] + {y}
list list   {x}[:-1]                    {y} + [0]
list int    sum({x})                    [{y}]
list int    len({x})                    [0] * {y}
list int    max({x}) * {c}              [{y} // {c}]
list int    {x}[0] + {x}[1]             [{y}, 0]
list int    {x}.count({v})              [{v}] * {y}
words str   ''.join({x})                list({y})
words str   {s}.join({x})               {y}.split({s})
words str   {x}[0]                      [{y}]
words int   len({x})                    ['a'] * {y}
words words {x}[::-1]                   {y}[::-1]
words words {x} + [{s}]                 {y}[:-1]
words words [i.swapcase() for i in {x}]  [i.swapcase() for i in {y}]
words words [i + {s} for i in {x}]      [i[:-len({s})] for i in {y}]
"""

_CONDITIONS = """
int   | {x} > {a} and {x} % {b} == {c}                     | {a} * {b} + {c}                | a=int b=small c=unit
int   | {x} > {a} and {x} < {b}                            | {a} + 1                        | a=int b=greater
int   | {x} % {a} == {b} and {x} > {c}                     | {c} * {a} + {b}                | a=int b=small c=int
int   | {x} % {a} == 0 and {x} % {b} == 0 and {x} > {c}    | {a} * {b} * {c}                | a=small b=small c=int
int   | {x} - {a} > {b}                                    | {a} + {b} + 1                  | a=int b=int
int   | {x} + {a} < {b}                                    | {b} - {a} - 1                  | a=int b=int
int   | {x} > {a} + {b} and {x} % {c} == 0                 | ({a} + {b}) * {c}              | a=int b=int c=small
int   | len(str({x})) == {a}                               | 10 ** ({a} - 1)                | a=size
int   | str({x}).count({s}) == {a}                         | int({s} * {a})                 | s=digit a=size
int   | str({x}).startswith(str({a})) and {x} > {b}        | {a} * 10 ** len(str({b}))      | a=int b=int
list  | len({x}) == {a} and {x}[0] == {b}                  | [{b}] * {a}                    | a=size b=int
list  | len({x}) == {a} and max({x}) == {b}                | [{b}] * {a}                    | a=size b=int
list  | len({x}) == {a} and sum({x}) == {b}                | [{b}] + [0] * ({a} - 1)        | a=size b=int
list  | {x}[0] == {a} and {x}[-1] == {b}                   | [{a}, {b}]                     | a=int b=int
list  | {x}[0] == {a} and sum({x}) == {b}                  | [{a}, {b} - {a}]               | a=int b=greater
list  | max({x}) == {b} and min({x}) == {a}                | [{a}, {b}]                     | a=int b=greater
list  | max({x}) - min({x}) == {a}                         | [0, {a}]                       | a=int
list  | len(set({x})) == {a}                               | list(range({a}))               | a=size
list  | {x}.count({a}) == {b} and {x}.count({c}) == 1      | [{a}] * {b} + [{c}]            | a=int b=size c=int
list  | {a} in {x} and {b} in {x} and len({x}) == {c}      | [{a}, {b}] + [0] * ({c} - 2)   | a=int b=int c=size
str   | len({x}) == {a} and {x}.startswith({s})            | {s} + 'a' * ({a} - len({s}))   | a=length s=str
str   | len({x}) == {a} and {x}.endswith({s})              | 'a' * ({a} - len({s})) + {s}   | a=length s=str
str   | {x}.startswith({s}) and {x}.endswith({t})          | {s} + {t}                      | s=str t=str
str   | {x}.count({s}) == {a} and {t} in {x}               | {s} * {a} + {t}                | a=size s=str t=str
str | {s} in {x} and {t} in {x} and len({x}) == {a} | {s} + {t} + 'a' * ({a} - len({s} + {t})) | s=str t=str a=length
str   | {x}.upper() == {x} and len({x}) == {a}             | 'A' * {a}                      | a=size
str   | {x}.count({s}) == {a} and len({x}) == {a} * len({s}) | {s} * {a}                      | a=size s=str
words | len({x}) == {a} and {s} in {x}                     | [{s}] * {a}                    | a=size s=str
words | {x}[0] == {s} and {x}[-1] == {t}                   | [{s}, {t}]                     | s=str t=str
words | len({x}) == {a} and ''.join({x}) == {s}            | [{s}] + [''] * ({a} - 1)       | a=size s=str
"""


def _operations() -> tuple[Operation, ...]:
    rows = []
    for line in _TABLE.strip().splitlines():
        takes, gives, rest = line.split(None, 2)
        forward, inverse = (part.strip() for part in rest.split("  ", 1))
        rows.append(Operation(takes, gives, forward, inverse))
    return tuple(rows)


def _condition_puzzles() -> tuple[Conditions, ...]:
    rows = []
    for line in _CONDITIONS.strip().splitlines():
        kind, conditions, answer, parameters = (part.strip() for part in line.split("|"))
        pairs = tuple((name, of) for name, of in (pair.split("=") for pair in parameters.split()))
        rows.append(Conditions(kind, conditions, answer, pairs))
    return tuple(rows)


OPERATIONS = _operations()
CONDITIONS = _condition_puzzles()
ANNOTATIONS = {"int": "int", "str": "str", "list": "List[int]", "words": "List[str]"}
