"""What a task finds in the memory that it inherits: an interpreter, and nothing about the verifier or the host."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import selftaught
from selftaught.sandbox import Task, Verifier
from selftaught.sandbox.jail import namespaces
from tests.conftest import open_verifier

FRAMES = """
import sys
def sol():
    found, frame = [], sys._getframe().f_back
    while frame:
        found.append((frame.f_code.co_filename, frame.f_code.co_name, sorted(frame.f_locals)))
        frame = frame.f_back
    return str(found)
"""
SEARCH = """
import gc, types
def sol():
    seen, found, todo = set(), set(), [gc.get_objects()]
    gc.unfreeze()
    todo.append(gc.get_objects())
    while todo:
        one = todo.pop()
        if id(one) in seen or one is PARTS: continue
        seen.add(id(one))
        if type(one) in (str, bytes):
            text = one if type(one) is str else one.decode("latin-1")
            found |= {(left, text[:50]) for left, right in PARTS if left + right in text}
        if type(one) is types.CodeType:
            todo += [one.co_filename, one.co_consts, one.co_names]
        if type(one) is not types.FrameType:
            todo += gc.get_referents(one)
    return str(sorted(found))
"""
"""Searches every string that is reachable from an object. It has the words it looks for in halves only."""

ALLOWED = {
    "perform": "job reports_loaded",
    "_report": "_ answer_bytes is_compiled job payload reports_loaded sat sat_size seed sends_code which",
    "_run_phase": "answer_bytes check is_compiled payload sat scope reports_loaded which",
    "_run_sol": "answer_bytes scope sol",
    "run": "_ check_in cpu head job payload_size sat_size space which writes_files",
    "start": "address announce buffer job perform phase program wait",
    "_serve": "arguments check_in child clone domain enter_domain exit_now libc order phase prctl read report_ready "
    "run show_descriptors snapshot traced_program",
    "<module>": "__annotations__ __builtins__ __doc__ __loader__ __name__ __package__ __spec__ main os sys",
}
"""Frames above a solution, and the names in them."""


@pytest.fixture(
    scope="module",
    params=[(level, engine) for level in ("full", "restricted") for engine in ("fork", "snapshot")],
    ids="-".join,
)
def verifier(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    level, engine = request.param
    with open_verifier(level, workers=1, engine=engine) as opened:
        yield opened


def seen(verifier: Verifier, solution: str) -> object:
    """Return what the solution answers. It comes in pieces in the puzzle's rejections: a verdict has no answer."""
    parts: list[str] = []
    while not parts or len(parts[-1]) == 30:
        at = 30 * len(parts)
        message = verifier.verify(Task("", f"def sat(x: str): return '<' + x[{at}:{at + 30}] + '>'", solution)).message
        assert message.startswith("sat returned "), message
        parts.append(ast.literal_eval(message.removeprefix("sat returned "))[1:-1])
    return ast.literal_eval("".join(parts))


def test_the_frames_above_a_task_are_few_and_have_only_allowed_names(verifier: Verifier) -> None:
    frames = seen(verifier, FRAMES)
    assert isinstance(frames, list) and 4 <= len(frames) <= 8
    for file, name, names in frames:
        assert file in ("<selftaught>", "<string>")
        assert set(names) <= {*ALLOWED[name].split()}, name


def test_no_string_has_the_verifiers_place_or_configuration(verifier: Verifier) -> None:
    home = str(Path(selftaught.__file__).parent.parent)
    parts = [(word[: len(word) // 2], word[len(word) // 2 :]) for word in (home, "selftaught-", "cgroup.procs")]
    parts += [(name, ":[") for name in namespaces.NAMES]
    found = seen(verifier, f"PARTS = {parts!r}\n{SEARCH}")
    assert isinstance(found, list)
    own = (
        "selftaught-scratch-" if verifier.level == "restricted" else None
    )  # its working directory, which it may ask for
    assert [text for _, text in found if own is None or own not in text] == []


def test_only_modules_of_what_runs_inside_are_there(verifier: Verifier) -> None:
    modules = "import sys\ndef sol(): return str(sorted(name for name in sys.modules if name.startswith('selftaught')))"
    found = seen(verifier, modules)
    assert isinstance(found, list)
    outside = (
        "backends",
        "pool",
        "verifier",
        "server",
        "client",
        "worker.fork",
        "worker.snapshot",
        "worker.supervisor",
        "worker.canary",
        "cgroup",
        "selftaught.generator",
        "selftaught.trainer",
    )
    assert not [name for name in found if name.removeprefix("selftaught.sandbox.").startswith(outside)], found
