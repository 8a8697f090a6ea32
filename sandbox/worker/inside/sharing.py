import struct

from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside.failure import describe
from selftaught.sandbox.worker.inside.source import compile_source, new_scope


def run_shared(tests, payload):
    prelude, entry, sol, all_cases = codec.decode(payload)
    scope = new_scope("tests")
    try:
        for s in (prelude, sol, tests.decode()):
            exec(compile_source(s.encode(), "<tests>"), scope)
        if "check" in scope:
            scope["check"](scope[entry])
    except BaseException as error:
        return b"E", struct.pack("<IIc", 1, 0, b"a") + describe(b"a", error)[1]
    return b"E", struct.pack("<IIc", 1, 0xFFFFFFFF, b"T")
