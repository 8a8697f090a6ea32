"""Names that a dataset's solutions expect without importing them.

Judges write imports before a model's program, so that a program without them passes. These are the same names.
"""

from __future__ import annotations

_WHOLE = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
).split()
_STARRED = [*_WHOLE, "builtins", "typing"]


def _line(statements: list[str]) -> str:
    """Return the statements as one line, so that line numbers of a program after it shift by no more than one."""
    return "; ".join(statements) + "\n"


CONTEST = _line(
    [
        *(f"from {name} import *" for name in _STARRED),
        *(f"import {name}" for name in _WHOLE),
        "sys.setrecursionlimit(50000)",
    ]
)
"""What LiveCodeBench's judge and verl's `prime_code` write before a program."""

APPS = _line(
    [
        "import sys",
        "import time",
        "import itertools",
        "from itertools import accumulate, product, permutations, combinations",
        "import collections",
        "from collections import Counter, OrderedDict, deque, defaultdict, ChainMap",
        "from functools import lru_cache",
        "import math",
        "from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2",
        "import fractions",
        "from typing import List, Tuple",
        "import random",
        "import heapq",
        "from heapq import *",
    ]
)
"""What the judges of APPS and TACO write before a program, but for NumPy."""

LEETCODE = '''\
import bisect, collections, datetime, functools, heapq, itertools, math, operator, random, re, string, sys
from typing import *
from functools import *
from collections import *
from itertools import *
from heapq import *
from bisect import *
from string import *
from operator import *
from math import *
from builtins import pow

inf = float("inf")


class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next


class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val = val
        self.left = left
        self.right = right


def list_node(values):
    """Return the linked list of these values, or None if there are none."""
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head


def tree_node(values):
    """Return the tree of these values, level by level, where None stands for a missing node."""
    if not values:
        return None
    rest = iter(values)
    root = TreeNode(next(rest))
    level = deque([root])
    while level:
        node = level.popleft()
        for side in ("left", "right"):
            value = next(rest, None)
            if value is not None:
                child = TreeNode(value)
                setattr(node, side, child)
                level.append(child)
    return root


def is_same_list(p1, p2):
    """Return True if both linked lists have the same values."""
    while p1 and p2 and p1.val == p2.val:
        p1, p2 = p1.next, p2.next
    return not p1 and not p2


def is_same_tree(p, q):
    """Return True if both trees have the same shape and values."""
    pairs = [(p, q)]
    while pairs:
        one, other = pairs.pop()
        if not one and not other:
            continue
        if not one or not other or one.val != other.val:
            return False
        pairs += [(one.left, other.left), (one.right, other.right)]
    return True
'''
"""What LeetCode's solutions find, and tests of trees and lists. `pow` is the builtin one, which takes three arguments,
and not that of `math`."""
