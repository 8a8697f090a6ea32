"""The whole standard library works inside: what the interpreter can import outside, a task can."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from itertools import groupby

import pytest

from selftaught.sandbox import Limits, Task, Verifier
from selftaught.sandbox.backends.worker import INTERPRETER_OPTIONS

NOT_INSIDE = {
    "antigravity": "starts a browser",
    "idlelib": "needs a display",
    "test": "the library's own tests",
    "tests": "the same, of distutils and others",
    "tkinter": "needs a display",
    "turtle": "needs a display",
    "turtledemo": "needs a display",
    "_tkinter": "needs a display",
    "_minimal_curses": "of the prompt in a terminal: asks a compiler where its library is",
}
LIST = """
import contextlib, importlib, io, json, pkgutil, sys, sysconfig, warnings
warnings.simplefilter("ignore")
sys.set_int_max_str_digits(0)
found = []

def import_all(names, prefix=""):
    for name in sorted(names):
        if name in ("__main__", *left_out):
            continue
        try:
            module = importlib.import_module(prefix + name)
        except BaseException:
            continue
        found.append(prefix + name)
        if spec_path := getattr(module, "__path__", None):
            import_all({one.name for one in pkgutil.iter_modules(spec_path)}, prefix + name + ".")

with contextlib.redirect_stdout(io.StringIO()):
    import_all(sys.stdlib_module_names)
print(json.dumps(found))
"""
"""Prints what can be imported, submodules too."""

SOL = """
def sol():
    import importlib
    failed = []
    for name in {names}:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.append(f"{{name}}: {{error}}")
    return failed
"""


@functools.cache
def importable(contained: bool) -> list[str]:
    """By an interpreter started as a supervisor's is, here or in a container of our image."""
    code = f"left_out = {sorted(NOT_INSIDE)}\n{LIST}"
    if contained:
        from selftaught.sandbox.backends.docker import IMAGE, connect

        client = connect()
        try:
            printed = client.containers.run(
                IMAGE,
                entrypoint=["python3", *INTERPRETER_OPTIONS, "-c", code],
                command=[],
                remove=True,
                network_mode="none",
            ).decode()
        finally:
            client.close()
    else:
        python = getattr(sys, "_base_executable", None) or sys.executable
        command = [python, *INTERPRETER_OPTIONS, "-c", code]
        printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    return list(json.loads(printed))


def test_what_the_interpreter_can_import_a_task_can(verifier: Verifier) -> None:
    names = importable(verifier.level == "container")
    assert {"bz2", "ctypes.util", "lzma", "sqlite3.dbapi2", "ssl", "xml.etree.ElementTree"} <= set(names)
    sat = "def sat(failed: List[str]):\n    assert failed == [], failed\n    return True"
    tasks = [
        Task(package, sat, SOL.format(names=list(members)), Limits(cpu_seconds=20, wall_seconds=60))
        for package, members in groupby(names, key=lambda name: name.partition(".")[0])
    ]
    refused = [verdict for verdict in verifier.verify_many(tasks) if not verdict.accepted]
    assert not refused, [(verdict.id, verdict.message) for verdict in refused]


@pytest.mark.parametrize(
    "use",
    [
        "import bz2\n    return bz2.decompress(bz2.compress(b'x' * 99)) == b'x' * 99",
        "import lzma\n    return lzma.decompress(lzma.compress(b'x' * 99)) == b'x' * 99",
        "import sqlite3\n    return sqlite3.connect(':memory:').execute('select 6 * 7').fetchone() == (42,)",
        "import ssl\n    return ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED",
        "import hashlib\n    return hashlib.new('sha512_256').hexdigest().startswith('c672b8d1ef56ed28')",
        "import decimal, uuid\n    return uuid.uuid4().version == 4",
    ],
    ids=lambda use: use.split()[1],
)
def test_modules_that_rest_on_shared_libraries_do_their_work(verifier: Verifier, use: str) -> None:
    verdict = verifier.verify(Task("use", "def sat(x: bool): return x", f"def sol():\n    {use}"))
    assert verdict.accepted, verdict
