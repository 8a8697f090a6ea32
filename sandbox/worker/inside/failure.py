"""Describe an exception of a task's code as a report: a code, and a text with the line of the task's own source."""

from __future__ import annotations

from types import TracebackType

from selftaught.sandbox import wire

FILES = {
    "<puzzle>": "puzzle",
    "<solution>": "solution",
    "<prelude>": "prelude",
    "<tests>": "tests",
    "<checker>": "checker",
}
"""Names that sources are compiled under, and what messages call them."""
NO_MEMORY = MemoryError, SystemError
"""Exceptions by a lack of memory. A SystemError: the interpreter had no memory for a frame to say why."""
_exceptions_of = BaseExceptionGroup.__dict__["exceptions"].__get__


class LoadError(BaseException):
    """Loading failed, or tests need what there is not. Arguments: the text of the report."""


# A caller that handles the exception must make this call within its first 256 instructions. For a later one the
# interpreter allocates a number when the call fails, and retries for ever if it can't (ceval.c, exception_unwind).
def describe(code: bytes, error: BaseException) -> tuple[bytes, bytes]:
    """Return the code and text of the report of an exception.

    A possible lack of memory has codes of its own: the supervisor checks it against the kernel's figures.
    """
    if isinstance(error, MemoryError):
        trace = error.__traceback__
        error.__traceback__ = None  # frees the frames, and what fills the memory
        del trace
    if _may_lack_memory(error):
        code = b"n" if code == b"p" else b"m"
    try:
        text = _explain(error)
    except BaseException:
        text = "an exception that can't be described"
    return code, text.encode("utf-8", "backslashreplace")[: wire.TEXT_BYTES]


def _may_lack_memory(error: BaseException) -> bool:
    """Return True if the exception is one of `NO_MEMORY`, or a group that contains one."""
    if isinstance(error, NO_MEMORY):
        return True
    groups = [error] if isinstance(error, BaseExceptionGroup) else []
    while groups:
        for one in _exceptions_of(groups.pop()):
            if isinstance(one, NO_MEMORY):
                return True
            if isinstance(one, BaseExceptionGroup):
                groups.append(one)
    return False


def _explain(error: BaseException) -> str:
    if isinstance(error, LoadError):
        return str(error.args[0])
    text = f"{type(error).__name__}: {str(error)[:500]}".removesuffix(": ")
    place = _place(error.__traceback__)
    if isinstance(error, SyntaxError) and error.filename in FILES:
        text = f"{type(error).__name__}: {str(error.msg)[:500]}"
        place = f" (line {error.lineno} of the {FILES[error.filename]})"
    return text + place


def _place(trace: TracebackType | None) -> str:
    """Return the line of the task's own source that the exception came from, as text."""
    place = ""
    while trace is not None:
        name = FILES.get(trace.tb_frame.f_code.co_filename)
        if name:
            place = f" (line {trace.tb_lineno} of the {name})"
        trace = trace.tb_next
    return place
