"""Threads, event loops and own signals of programs."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from selftaught.sandbox import Ending, FunctionTask, Limits, Program, Run, Status, Task, Verifier

LONG = Limits(cpu_seconds=4, wall_seconds=20)


def run(verifier: Verifier, code: str, **fields: Any) -> Run:
    return verifier.run(Program("p", code, **{"limits": LONG, **fields}))


@pytest.mark.parametrize("workers", [4, 50])
def test_a_pool_of_threads_works_at_the_usual_limits(verifier: Verifier, workers: int) -> None:
    code = f"""
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
def square(n):
    time.sleep(0.01)
    return n * n
with ThreadPoolExecutor(max_workers={workers}) as pool:
    print(sum(pool.map(square, range(100))), sum(one.result() for one in as_completed([pool.submit(square, 3)])))
"""
    assert verifier.run(Program("p", code)).stdout == "328350 9\n"


@pytest.mark.parametrize("size", ["1 << 26", "1 << 27", "1 << 28", "10 ** 8"])
def test_a_main_thread_with_a_large_stack_recurses_deep(verifier: Verifier, size: str) -> None:
    code = f"""
import functools, sys, threading
sys.setrecursionlimit(1 << 25)
threading.stack_size({size})
def plain(n): return 0 if n == 0 else 1 + plain(n - 1)
@functools.cache
def cached(n): return 0 if n == 0 else 1 + cached(n - 1)
thread = threading.Thread(target=lambda: print(plain(int(input())), cached(50000)))
thread.start()
thread.join()
"""
    assert run(verifier, code, stdin="50000\n").stdout == "50000 50000\n"


def test_a_threads_stack_does_not_depend_on_the_hosts_limits() -> None:
    code = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_STACK, (256 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
    pool = """
from selftaught.sandbox import Program, Verifier
program = '''
import threading
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(50)]
for thread in threads: thread.start()
end.set()
print(len(threads))
'''
with Verifier(workers=1, level="restricted") as verifier:
    print(verifier.run(Program("p", program)).stdout)
"""
    done = subprocess.run([sys.executable, "-c", code, pool], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["50"], done


def test_threads_have_numbers_of_their_own_that_begin_with_the_process(verifier: Verifier) -> None:
    code = """
import os, threading
barrier, found = threading.Barrier(4), [threading.get_native_id()]
def look():
    found.append(threading.get_native_id())
    barrier.wait()
threads = [threading.Thread(target=look) for _ in range(3)]
for thread in threads: thread.start()
barrier.wait()
for thread in threads: thread.join()
print(sorted(number - os.getpid() for number in found), [thread.native_id - os.getpid() for thread in threads])
"""
    assert run(verifier, code).stdout == "[0, 1, 2, 3] [1, 2, 3]\n"


def test_more_threads_than_there_may_be_are_an_ordinary_error(verifier: Verifier) -> None:
    code = """
import threading
end, started = threading.Event(), 0
try:
    for _ in range(1000):
        threading.Thread(target=end.wait).start()
        started += 1
except RuntimeError as error:
    print(started, error)
end.set()
for thread in threading.enumerate()[1:]: thread.join()
threading.Thread(target=print, args=("again",)).start()
"""
    limits = Limits(cpu_seconds=4, wall_seconds=20, memory_bytes=2 << 30)
    assert run(verifier, code, limits=limits).stdout == "63 can't start new thread\nagain\n"


def test_cpu_time_of_all_threads_counts(verifier: Verifier) -> None:
    code = """
import hashlib, threading
def spin():
    while True: hashlib.sha256(bytes(1 << 20))
threads = [threading.Thread(target=spin) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    found = run(verifier, code, limits=Limits(cpu_seconds=0.5, wall_seconds=20))
    assert found.ending is Ending.TIME_LIMIT and found.limit is not None and found.limit.name == "cpu_seconds"
    assert 0.5 <= found.usage.cpu_seconds < 2


def test_what_threads_allocate_together_is_limited(verifier: Verifier) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool: parts = list(pool.map(lambda _: bytearray(100 << 20), range(8)))
"""
    assert "MemoryError" in run(verifier, code).stderr


def test_a_module_written_in_c_can_be_imported_when_a_thread_has_been_joined(verifier: Verifier) -> None:
    code = """
import threading
for _ in range(20):
    thread = threading.Thread(target=sum, args=([],))
    thread.start()
    thread.join()
import _lsprof
print("imported")
"""
    assert run(verifier, code, stdin="x").stdout == "imported\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("async def main(): return await asyncio.gather(*(asyncio.sleep(0.001, n) for n in range(3)))", "[0, 1, 2]"),
        ("async def main(): return await asyncio.to_thread(sum, [1, 2])", "3"),
        ("async def main(): return await asyncio.get_running_loop().run_in_executor(None, len, 'abc')", "3"),
        (
            "async def main():\n    try: await asyncio.wait_for(asyncio.sleep(9), 0.01)\n"
            "    except asyncio.TimeoutError: return 'late'",
            "late",
        ),
        (
            "async def main():\n    queue = asyncio.Queue()\n    async with asyncio.TaskGroup() as group:\n"
            "        group.create_task(queue.put(1))\n        return await queue.get()",
            "1",
        ),
        (
            "import os, signal\nasync def main():\n    heard = asyncio.Event()\n"
            "    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)\n"
            "    os.kill(os.getpid(), signal.SIGUSR1)\n    return await heard.wait()",
            "True",
        ),
        (
            "import socket\nasync def main():\n    one, other = socket.socketpair()\n"
            "    reader, kept = await asyncio.open_connection(sock=one)\n"
            "    _, writer = await asyncio.open_connection(sock=other)\n"
            "    writer.write(b'x' * 200_000 + b'.')\n    return len(await reader.readexactly(200_001))",
            "200001",
        ),
    ],
)
def test_event_loops_work(verifier: Verifier, code: str, expected: str) -> None:
    found = run(verifier, f"import asyncio\n{code}\nprint(asyncio.run(main()))\nprint(asyncio.run(main()))")
    assert (found.stdout, found.return_code) == (f"{expected}\n" * 2, 0), found


def test_a_handler_has_run_when_the_call_that_sends_the_signal_returns(verifier: Verifier) -> None:
    code = """
import os, signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
ways = (
    lambda: os.kill(os.getpid(), signal.SIGUSR1),
    lambda: signal.raise_signal(signal.SIGUSR1),
    lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1),
)
for count in range(300):
    ways[count % 3]()
    assert len(seen) == count + 1
print(len(seen))
"""
    assert run(verifier, code).stdout == "300\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGINT", "SIGUSR1", "SIGXCPU", "SIGSYS", "SIGSEGV"])
def test_a_signal_without_a_handler_ends_the_program_as_elsewhere(verifier: Verifier, name: str) -> None:
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
print(1, flush=True)
os.kill(os.getpid(), signal.{name})
print(2)
"""
    found = run(verifier, code)
    assert (found.ending, found.return_code, found.stdout) == (Ending.EXITED, -signal.Signals[name], "1\n")
    assert name in found.message


def test_sigint_raises_keyboard_interrupt(verifier: Verifier) -> None:
    code = "import signal\ntry: signal.raise_signal(signal.SIGINT)\nexcept KeyboardInterrupt: print('interrupted')"
    assert run(verifier, code).stdout == "interrupted\n"


def test_a_program_that_stops_itself_ends_at_its_limit(verifier: Verifier) -> None:
    limits = Limits(wall_seconds=0.5)
    found = run(verifier, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", limits=limits)
    assert found.ending is Ending.TIME_LIMIT


def test_a_puzzle_and_its_solution_send_no_signal(verifier: Verifier) -> None:
    send = "import os, signal\ndef {}(x=1):\n    os.kill(os.getpid(), signal.SIGCONT)\n    return x"
    honest = "def sat(x: int): return x == 1", "def sol(): return 1"
    for puzzle, solution, phase in ((honest[0], send.format("sol"), "sol"), (send.format("sat"), honest[1], "sat")):
        verdict = verifier.verify(Task("1", puzzle, solution))
        assert (verdict.status, verdict.phase) == (Status.FORBIDDEN, phase)
        assert "only a program may send a signal" in verdict.message


def test_a_thread_that_ends_the_process_while_others_make_calls_costs_no_worker(verifier: Verifier) -> None:
    """Calls of threads that die while they wait for the supervisor are nobody's any more."""
    pids = verifier.worker_pids()
    code = """
import os, threading
def ask():
    while True: os.getpid()
for _ in range(8): threading.Thread(target=ask, daemon=True).start()
threading.Event().wait(0.02)
os._exit(3)
"""
    for _ in range(10):
        found = run(verifier, code)
        assert (found.ending, found.return_code) == (Ending.EXITED, 3), found
    body = code.replace("import os, threading\n", "").replace("os._exit(3)", "return n").strip().splitlines()
    solution = "import os, threading\ndef double(n):\n" + "".join(f"    {line}\n" for line in body)
    for _ in range(3):
        verdict = verifier.verify(FunctionTask(id="f", entry_point="double", sol=solution, cases=[((1,), {}, 2)]))
        assert verdict.status is Status.REJECTED, verdict
    assert verifier.worker_pids() == pids
