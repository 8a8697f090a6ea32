"""What is written in C, rollback.c and heap.c: one library, built at installation where there is a compiler.

It uses nothing of Python, so that one build serves every version. What there is without it is the same, and slower.
"""

from __future__ import annotations

import ctypes
from pathlib import Path


def load() -> ctypes.CDLL:
    """The library. Raises OSError if there is none, or one that does not fit this machine."""
    for path in Path(__file__).parent.glob("_accelerator*.so"):
        return ctypes.CDLL(str(path))
    raise OSError("the accelerator was not built")
