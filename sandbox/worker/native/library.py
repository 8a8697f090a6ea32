"""What is written in C: one library, built at installation where there is a compiler.

It uses nothing of Python, so that one build serves every version. What there is without it is the same, and slower.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path


@functools.cache  # in the jail it can't be found any more
def load() -> ctypes.PyDLL:
    """The library. Raises OSError if there is none, or one that does not fit this machine."""
    for path in Path(__file__).parent.glob("_accelerator*.so"):
        return ctypes.PyDLL(str(path))
    raise OSError("the accelerator was not built")
