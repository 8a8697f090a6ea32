"""Running without judging: output and exit code are reported unchanged, and no more is allowed than to a solution."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from selftaught.sandbox import Ending, Limits, Program, Run, Status, StdioTask, Task, Verifier
from selftaught.sandbox.job import Job, Kind, Turn
from selftaught.sandbox.ticket import Ticket
from tests.conftest import footprint, open_verifier


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
    assert "<selftaught>" not in found.stderr


def test_exit_handlers_and_main_blocks_run(verifier: Verifier) -> None:
    code = "import atexit\natexit.register(print, 'bye')\nif __name__ == '__main__':\n    print('main')"
    assert run(verifier, code).stdout == "main\nbye\n"


BUSY = "while True: pass"


@pytest.mark.parametrize(
    ("code", "ending"),
    [
        (BUSY, Ending.TIME_LIMIT),
        ("import time\ntime.sleep(60)", Ending.TIME_LIMIT),
        ("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()", Ending.TIME_LIMIT),
        ("import threading\nthreading.Thread(target=time.sleep, args=(60,)).start()", Ending.TIME_LIMIT),
        ("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", Ending.TIME_LIMIT),
        ("import os\nwhile True: os.kill(os.getpid(), 0)", Ending.TIME_LIMIT),
        ("while True:\n    try: open('a', 'w').close()\n    except OSError: print('failed')", Ending.TIME_LIMIT),
    ],
)
@pytest.mark.parametrize("flush", ["", ", flush=True"])
def test_what_was_printed_before_a_program_was_stopped_is_kept(
    verifier: Verifier, code: str, ending: Ending, flush: str
) -> None:
    before = f"import sys, time\nprint('here'{flush})\nprint('err', end='', file=sys.stderr)\n"
    found = run(verifier, before + code, cpu_seconds=0.3, wall_seconds=1.0)
    assert (found.ending, found.stdout, found.stderr) == (ending, "here\n", "err"), found
    assert found.message


def test_a_process_in_which_a_program_was_told_to_write_its_output_is_used_no_more(verifier: Verifier) -> None:
    if verifier.engine != "snapshot":
        pytest.skip("each program has a process of its own")
    run(verifier, BUSY, cpu_seconds=0.2)
    before = verifier.counters.replaced
    assert run(verifier, BUSY, cpu_seconds=0.2).ending is Ending.TIME_LIMIT
    assert verifier.counters.replaced == before + 1


@pytest.mark.parametrize(
    "code", ["os.fork()", "import _socket\n_socket.socket()", "import subprocess\nsubprocess.run(['ls'])", "os.nice(1)"]
)
def test_a_forbidden_call_fails_and_is_told_as_the_reason_if_the_program_can_t_do_without(
    verifier: Verifier, code: str
) -> None:
    found = run(verifier, f"import os\nprint('here')\n{code}")
    assert (found.ending, found.return_code, found.stdout) == (Ending.FORBIDDEN, 1, "here\n")
    assert "PermissionError" in found.stderr and found.message.startswith("system call ")
    handled = code.replace("\n", "\n    ")
    found = run(verifier, f"import os\ntry:\n    {handled}\nexcept OSError:\n    print('without')")
    assert (found.ending, found.return_code, found.stdout) == (Ending.EXITED, 0, "without\n")
    assert found.message.startswith("system call ")


@pytest.mark.parametrize(
    "code",
    [
        "signal.signal(64, signal.SIG_IGN)\n" + BUSY,
        "signal.signal(64, lambda *about: print('handled', flush=True))\n" + BUSY,
        "signal.pthread_sigmask(signal.SIG_BLOCK, [64])\n" + BUSY,
        "sys.stdout.flush = lambda: time.sleep(60)\n" + BUSY,
        "class S:\n    def flush(self):\n        while True: os.write(1, b'x' * 65536)\nsys.stdout = S()\n" + BUSY,
        "sys.stdout = None\n" + BUSY,
        "os._exit = print\n" + BUSY,
        "sys.stdout.flush = lambda: os.fork()\nos.fork()",
    ],
)
def test_a_program_gains_no_time_by_the_chance_to_flush(verifier: Verifier, code: str) -> None:
    began = time.monotonic()
    found = run(verifier, "import os, signal, sys, time\n" + code, cpu_seconds=0.2, wall_seconds=5.0)
    assert found.ending is (Ending.FORBIDDEN if code.endswith("fork()") else Ending.TIME_LIMIT), found
    assert found.usage.cpu_seconds < 0.5 and time.monotonic() - began < 5.0
    after = run(verifier, "print(input())", "next")
    assert (after.stdout, after.stderr, after.return_code) == ("next\n", "", 0)


@pytest.mark.parametrize(
    ("code", "name", "words"),
    [(BUSY, "cpu_seconds", "CPU time"), ("import time\ntime.sleep(60)", "wall_seconds", "elapsed time")],
)
def test_a_time_limit_says_which(verifier: Verifier, code: str, name: str, words: str) -> None:
    limits = {"cpu_seconds": 0.2, "wall_seconds": 20.0} if name == "cpu_seconds" else {"wall_seconds": 0.5}
    found = run(verifier, code, **limits)
    assert found.limit is not None
    assert (found.ending, found.limit.name, found.return_code) == (Ending.TIME_LIMIT, name, None)
    assert words in found.message and found.limit.observed >= found.limit.configured


def test_each_output_is_cut_at_its_limit_and_the_run_says_so(verifier: Verifier) -> None:
    code = "import sys\nsys.stdout.write('o' * 5_000_000)\nsys.stderr.write('e' * 5_000_000)\nsys.exit(9)"
    found = run(verifier, code, output_bytes=1000)
    assert (found.stdout, found.stderr) == ("o" * 1000, "e" * 1000)
    assert found.cut and found.limit is not None
    assert (found.ending, found.return_code, found.limit.name) == (Ending.OUTPUT_LIMIT, 9, "output_bytes")
    assert "1,000 bytes" in found.message
    whole = run(verifier, "print('o' * 999)", output_bytes=1000)
    assert (whole.ending, whole.cut, whole.limit) == (Ending.EXITED, False, None)


FILL = "kept = []\nwhile True: kept.append(bytearray(1 << 20))"


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(1 << 40)",
        FILL,
        "def f():\n    kept = []\n    while True: kept.append([0] * 10_000)\nf()",
        "text = 'x'\nwhile True: text += text",
        "class ArrayMemoryError(MemoryError): pass\ntry:\n    x = bytearray(1 << 40)\n"
        "except MemoryError: raise ArrayMemoryError('no room')",
    ],
)
def test_an_uncaught_memory_error_at_the_limit_is_the_memory_limit(verifier: Verifier, code: str) -> None:
    found = run(verifier, "print('before')\n" + code, memory_bytes=128 << 20, cpu_seconds=10, wall_seconds=30)
    assert (found.ending, found.return_code, found.stdout) == (Ending.MEMORY_LIMIT, 1, "before\n"), found
    assert found.limit is not None and found.limit.name == "memory_bytes"
    assert "MemoryError" in found.stderr.splitlines()[-1]
    assert found.message.startswith("more than 134,217,728 bytes of memory: ")


@pytest.mark.parametrize(
    "code",
    [
        "raise MemoryError",
        "import sys\nprint('MemoryError', file=sys.stderr)\nsys.exit(1)",
        f"try:\n    exec({FILL!r})\nexcept MemoryError: pass\nraise ValueError",
        f"import sys\ntry:\n    exec({FILL!r})\nexcept MemoryError: sys.exit(1)",
    ],
)
def test_a_memory_error_that_is_only_claimed_or_caught_is_no_limit(verifier: Verifier, code: str) -> None:
    found = run(verifier, code, memory_bytes=128 << 20, cpu_seconds=10, wall_seconds=30)
    assert (found.ending, found.return_code, found.limit) == (Ending.EXITED, 1, None), found


def test_a_program_that_goes_on_after_a_memory_error_has_exited(verifier: Verifier) -> None:
    code = "try:\n    x = bytearray(1 << 40)\nexcept MemoryError: pass\nprint('went on')"
    found = run(verifier, code)
    assert (found.ending, found.return_code, found.stdout) == (Ending.EXITED, 0, "went on\n")


def test_a_case_that_ends_for_memory_says_so(verifier: Verifier) -> None:
    limits = Limits(memory_bytes=128 << 20, cpu_seconds=10, wall_seconds=30)
    code = f"n = int(input())\nif n: {'x = bytearray(1 << 40)'}\nprint(n)"
    verdict = verifier.verify(StdioTask("t", code, [("0", "0"), ("1", "1")], limits=limits))
    assert [case.status for case in verdict.cases] == [Status.ACCEPTED, Status.MEMORY_LIMIT], verdict
    assert verdict.status is Status.MEMORY_LIMIT and verdict.limit is not None
    assert verdict.limit.name == "memory_bytes" and verdict.limit.observed > 1 << 40


def test_a_run_comes_back_from_json_as_it_was(verifier: Verifier) -> None:
    for code in ("x = bytearray(1 << 40)", "print('x' * 5000)", BUSY):
        found = run(verifier, code, output_bytes=1000, cpu_seconds=0.2)
        assert Run.from_dict(json.loads(json.dumps(found.to_dict()))) == found


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


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_job_runs_in_a_time_slice_first_unless_it_is_short(kind: Kind) -> None:
    long, short = (Ticket("", Job(b"", b"", Limits(cpu), kind=kind), print) for cpu in (1.0, 0.1))
    assert (long.job.turn, short.job.turn) == (Turn.SLICE, Turn.WHOLE)


@pytest.mark.parametrize("engine", ["snapshot", "fork"])
def test_a_program_that_is_interrupted_again_and_again_prints_and_reads_as_if_it_ran_alone(engine: str) -> None:
    code = (
        "import sys\nprint(input(), flush=True)\nfor part in range(4):\n    total = sum(i for i in range(600_000))\n"
        "    print(part, total, sys.stdin.readline(), file=sys.stderr)\nprint(input())"
    )
    stdin = "".join(f"line {number}\n" for number in range(6))
    loops = [Program(f"loop {i}", f"while True: {i}", limits=Limits(1.5, 30)) for i in range(3)]
    with open_verifier("restricted", engine=engine) as verifier, ThreadPoolExecutor(16) as executor:
        expected = verifier.run(Program("", code, stdin, Limits(3, 60)))
        long = [executor.submit(verifier.run, program) for program in loops]
        found = [executor.submit(verifier.run, Program("", code, stdin, Limits(3, 60))) for _ in range(3)]
        while not all(future.done() for future in (*long, *found)):
            assert verifier.run(Program("", "print(1)")).stdout == "1\n"
            time.sleep(0.1)
        assert [future.result().ending for future in long] == [Ending.TIME_LIMIT] * 3
        assert verifier.counters.mismatches == 0
    assert (expected.return_code, expected.stdout) == (0, "line 0\nline 5\n")
    for run in (future.result() for future in found):
        assert (run.return_code, run.stdout, run.stderr) == (0, expected.stdout, expected.stderr)


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
