"""Running without judging: output and exit code are reported unchanged, and no more is allowed than to a solution."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from selftaught.sandbox import Ending, Limits, Program, Run, Task, Verifier
from selftaught.sandbox.pool import Ticket
from selftaught.sandbox.wire import Job, Kind
from tests.conftest import footprint


def run(verifier: Verifier, code: str, stdin: str = "", **limits: float) -> Run:
    return verifier.run(Program("p", code, stdin, Limits(**limits) if limits else None))  # type: ignore[arg-type]


def test_what_is_printed_comes_back_on_the_stream_it_was_printed_on(verifier: Verifier) -> None:
    found = run(verifier, "import sys\nprint('to out')\nprint('to err', file=sys.stderr)\nprint('last', end='')")
    assert (found.ending, found.return_code) == (Ending.EXITED, 0)
    assert (found.stdout, found.stderr) == ("to out\nlast", "to err\n")
    assert found.level == verifier.level


@pytest.mark.parametrize(
    "read",
    [
        "sys.stdin.read()",
        "'\\n'.join([input(), *(line.rstrip() for line in sys.stdin)]) + '\\n'",
        "open(0).read()",
        "os.read(0, os.fstat(0).st_size).decode()",
        "sys.stdin.buffer.read().decode()",
    ],
)
def test_every_usual_way_to_read_standard_input_reads_it_to_its_end(verifier: Verifier, read: str) -> None:
    stdin = "3\n1 2 3\näöü ∑\n"
    assert run(verifier, f"import os, sys\nprint({read}, end='')", stdin).stdout == stdin


def test_thirty_megabytes_of_standard_input_arrive(verifier: Verifier) -> None:
    found = run(verifier, "import sys\nprint(len(sys.stdin.read()))", "x" * 30_000_000, cpu_seconds=5)
    assert found.stdout == "30000000\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("pass", 0),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit(256 + 7)", 7),
        ("import sys; sys.exit(-1)", 255),
        ("import sys; sys.exit('why')", 1),
        ("raise SystemExit(True)", 1),
        ("import os; os._exit(42)", 42),
        ("1 / 0", 1),
        ("x = = 1", 1),
        ("import os; os.abort()", -6),
        ("import ctypes; ctypes.string_at(1)", -11),
    ],
)
def test_a_return_code_is_reported_as_python_itself_would_give_it(verifier: Verifier, code: str, expected: int) -> None:
    found = run(verifier, code)
    assert (found.ending, found.return_code) == (Ending.EXITED, expected), found


def test_an_exception_is_explained_on_standard_error_with_the_line(verifier: Verifier) -> None:
    found = run(verifier, "def f():\n    return 1 / 0\n\nprint('before')\nf()")
    assert found.stdout == "before\n"
    assert "line 2, in f\n    return 1 / 0\n" in found.stderr
    assert found.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "selftaught" not in found.stderr


def test_exit_handlers_and_main_blocks_run(verifier: Verifier) -> None:
    code = "import atexit\natexit.register(print, 'bye')\nif __name__ == '__main__':\n    print('main')"
    assert run(verifier, code).stdout == "main\nbye\n"


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        ("print('here', flush=True)\nwhile True: pass", Ending.TIME_LIMIT),
        ("import time\nprint('here', flush=True)\ntime.sleep(60)", Ending.TIME_LIMIT),
        ("import os\nprint('here', flush=True)\nos.fork()", Ending.FORBIDDEN),
        ("import _socket\nprint('here', flush=True)\n_socket.socket()", Ending.FORBIDDEN),
        ("import subprocess\nprint('here', flush=True)\nsubprocess.run(['ls'])", Ending.FORBIDDEN),
    ],
)
def test_what_was_printed_before_a_program_was_stopped_is_kept(verifier: Verifier, code: str, ending: Ending) -> None:
    found = run(verifier, code, cpu_seconds=0.3, wall_seconds=1.0)
    assert (found.ending, found.stdout) == (ending, "here\n"), found
    assert found.message


def test_each_output_is_cut_at_its_limit_and_marked(verifier: Verifier) -> None:
    code = "import sys\nsys.stdout.write('o' * 5_000_000)\nsys.stderr.write('e' * 5_000_000)\nsys.exit(9)"
    found = run(verifier, code, output_bytes=1000)
    assert (found.stdout, found.stderr) == ("o" * 1000, "e" * 1000)
    assert found.cut
    assert found.return_code == 9
    assert not run(verifier, "print('o' * 999)", output_bytes=1000).cut


def test_a_memory_error_is_the_programs_own(verifier: Verifier) -> None:
    found = run(verifier, "x = bytearray(1 << 40)")
    assert (found.ending, found.return_code) == (Ending.EXITED, 1)
    assert found.stderr.endswith("MemoryError\n")


def test_a_program_can_forge_no_report_of_a_judgement(verifier: Verifier) -> None:
    """It writes the reports that a judged phase makes to every descriptor."""
    code = (
        "import os, struct\n"
        "for fd in range(64):\n    try: os.write(fd, struct.pack('<cQ', b'T', 0))\n    except OSError: pass"
    )
    found = run(verifier, code)
    assert found.ending is Ending.EXITED
    task = Task("1", "def sat(x): return x == 1", "2")
    assert verifier.verify(task).status == "rejected"


@pytest.mark.parametrize(
    "code",
    [
        "import os\nfor fd in range(64):\n    try: os.close(fd)\n    except OSError: pass",
        "import os\nos.dup2(0, 1); os.dup2(0, 2); os.write(1, b'x')",
        "import sys\nsys.stdout = sys.stderr = sys.stdin = None\nraise ValueError",
        "import sys\nsys.stdout.detach(); sys.stderr.detach()\n1 / 0",
        "import sys\nsys.excepthook = lambda *a: sys.exit(1)\n1 / 0",
        "import os\nos.write(1, bytes(range(256)) * 300)",
        "import os, fcntl\nos.set_blocking(1, False)\n"
        "while True:\n    try: os.write(1, b'x' * 4096)\n    except BlockingIOError: break",
        "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_DFL)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\nwhile True: pass",
        "import os\nwhile True: os.write(2, b'x' * 65536)",
    ],
)
def test_a_hostile_program_leaves_the_worker_as_it_was(verifier: Verifier, code: str) -> None:
    assert run(verifier, "print(1)").stdout == "1\n"
    before = footprint(verifier)
    found = run(verifier, code, cpu_seconds=0.5)
    assert found.ending is not Ending.INTERNAL_ERROR, found
    after = run(verifier, "print(input())", "next")
    assert (after.stdout, after.stderr, after.return_code) == ("next\n", "", 0)
    assert footprint(verifier) == before


def test_a_program_finds_nothing_of_the_one_before(verifier: Verifier) -> None:
    run(verifier, "import builtins, sys\nbuiltins.left = sys.left = 1\nsys.argv.append('left')", "left")
    code = (
        "import builtins, sys\nprint(hasattr(builtins, 'left'), hasattr(sys, 'left'), sys.argv, repr(sys.stdin.read()))"
    )
    assert run(verifier, code).stdout == "False False ['main.py'] ''\n"
    assert run(verifier, "import sys\nprint('__puzzle__' in sys.modules)").stdout == "False\n", (
        "nor anything that is for puzzles"
    )


def test_a_malformed_program_is_invalid(verifier: Verifier) -> None:
    assert verifier.run(Program("p", 5)).ending is Ending.INVALID  # type: ignore[arg-type]
    assert verifier.run("print(1)").ending is Ending.INVALID  # type: ignore[arg-type]
    assert run(verifier, "print(1)\0").return_code == 1
    assert run(verifier, "print('\ud800')").return_code == 1


def test_a_program_never_runs_in_a_time_slice() -> None:
    task, program = (Ticket("", Job(b"", b"", Limits(), kind=kind), print) for kind in (Kind.PUZZLE, Kind.PROGRAM))
    for ticket in (task, program):
        ticket.use_time_slice()
    assert task.job.sliced and not program.job.sliced


def test_a_program_delays_no_verdict_that_was_reached_before_it(verifier: Verifier) -> None:
    arrived: dict[str, float] = {}
    ended = threading.Event()

    def done(found: Any) -> None:
        arrived[found.id] = time.monotonic()
        if found.id == "p":
            ended.set()

    tasks = [Task(str(number), "def sat(x): return True", "1") for number in range(200)]
    assert all(verdict.accepted for verdict in verifier.verify_many(tasks))  # from now on several jobs are sent at once
    verifier.submit(
        Task("nap", "def sat(x): return True", "import time\ndef sol(): time.sleep(0.01)"), done
    )  # the rest is queued behind it
    for number in range(5):
        verifier.submit(Task(str(number), "def sat(x): return True", str(number)), done)
    verifier.submit(Program("p", "import time\ntime.sleep(1.5)"), done)
    assert ended.wait(20)
    assert len(arrived) == 7
    assert arrived["p"] - max(at for name, at in arrived.items() if name != "p") > 1


def test_a_worker_killed_under_a_program_is_replaced_and_the_program_run_again() -> None:
    import os
    import signal

    with Verifier(workers=1, require="restricted") as verifier:
        found: list[Run] = []
        program = Program("p", "import time\ntime.sleep(1)\nprint('done')", limits=Limits(wall_seconds=20))
        thread = threading.Thread(target=lambda: found.append(verifier.run(program)))
        thread.start()
        time.sleep(0.4)
        os.kill(verifier.worker_pids()[0], signal.SIGKILL)
        thread.join(20)
        assert [(one.ending, one.stdout) for one in found] == [(Ending.EXITED, "done\n")]
        assert verifier.restarts == 1


@pytest.mark.parametrize("number", ["0", "os.dup(0)"])
def test_standard_input_can_be_mapped_and_read_but_not_run(verifier: Verifier, number: str) -> None:
    """Standard input is a file with any content that its sender likes."""
    code = f"import mmap, os\nprint(mmap.mmap({number}, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | %s)[:2])"
    assert run(verifier, code % 0, "abc").stdout == "b'ab'\n"
    found = run(verifier, code % "mmap.PROT_EXEC", "abc")
    assert found.stdout == "" and found.return_code, found
    assert found.ending is Ending.FORBIDDEN or found.stderr.endswith(
        "PermissionError: [Errno 1] Operation not permitted\n"
    )


def test_a_program_may_import_what_is_in_a_shared_library(verifier: Verifier) -> None:
    assert run(verifier, "import _lsprof\nprint(_lsprof.__name__)").stdout == "_lsprof\n"


def test_standard_streams_and_builtins_are_as_in_a_program_started_by_python(verifier: Verifier) -> None:
    code = (
        "import sys\n"
        "for name in ('stdin', 'stdout', 'stderr'):\n"
        "    stream = getattr(sys, name)\n"
        "    assert stream is getattr(sys, '__' + name + '__')\n"
        "    print(stream.name, stream.mode, stream.encoding, stream.fileno())\n"
        "exit(7)"
    )
    found = run(verifier, code)
    assert found.stdout == "<stdin> r utf-8 0\n<stdout> w utf-8 1\n<stderr> w utf-8 2\n"
    assert found.return_code == 7
