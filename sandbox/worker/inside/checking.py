import struct

from selftaught.sandbox import codec


def check(checker, payload, exchange):
    message = exchange(b"K")
    while True:
        given, output, expected = codec.decode(message)
        ok = output == expected or (isinstance(output, str) and output.split() == expected.split())
        message = exchange(
            b"K"
            + (b"T" if ok else b"F")
            + struct.pack("<d", 0.0)
            + (b"" if ok else f"expected {expected!r}, got {output!r}".encode())
        )
