"""The answer codec in C (sandbox/worker/native/codecmodule.c): see `sandbox.codec`."""

from collections.abc import Callable

MAX_DEPTH: int

def encode(value: object, max_bytes: int, /, extended: bool = False) -> bytes: ...
def check(data: bytes, max_bytes: int, /, extended: bool = False) -> None: ...
def decode(data: bytes, /, extended: bool = True) -> object: ...
def use_these(
    not_plain: type[Exception],
    too_large: type[Exception],
    malformed: type[Exception],
    encode_leaf: Callable[[object, type, int, int], bytes | None],
    restore: Callable[[bytes], object],
    /,
) -> None: ...
