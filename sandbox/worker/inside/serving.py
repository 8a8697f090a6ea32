from selftaught.sandbox import codec
from selftaught.sandbox.worker.inside.failure import describe
from selftaught.sandbox.worker.inside.source import compile_source, new_scope


def serve(prelude, payload, answer_bytes, exchange):
    entry, sol = codec.decode(payload)
    scope = new_scope("solution")
    try:
        exec(compile_source(prelude, "<prelude>"), scope)
    except BaseException as error:
        return describe(b"p", error)
    try:
        exec(compile_source(sol.encode("utf-8", "surrogatepass"), "<solution>"), scope)
        f = scope[entry]
    except BaseException as error:
        return describe(b"s", error)
    reply = b"R" + codec.encode({k: "function" for k, v in scope.items() if callable(v) and k[0] != "_"}, answer_bytes)
    while True:
        message = exchange(reply)
        args, kwargs = codec.decode(message[1:])
        try:
            value = f(*args, **kwargs)
        except BaseException as error:
            code, text = describe(b"S", error)
            reply = code + text
            continue
        try:
            reply = b"V" + codec.encode(value, answer_bytes)
        except codec.NotPlain as error:
            reply = b"w" + str(error).encode()
        except codec.TooLarge as error:
            reply = b"L%d" % error.size
        if message[:1] == b"X":
            reply = b"X" + reply[1:]
