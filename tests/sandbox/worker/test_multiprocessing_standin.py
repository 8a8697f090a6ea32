"""The stand-in for the locks of `multiprocessing`, compared with the extension that it stands in for."""

from __future__ import annotations

import _multiprocessing
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from selftaught.sandbox import Ending, Program, Verifier
from selftaught.sandbox.worker.inside import multiprocessing_standin

RECURSIVE, SEMAPHORE = 0, 1
names = itertools.count()
other_thread = ThreadPoolExecutor(1)  # always the same one: its number would not be used again for sure


def real(kind: int, value: int, most: int) -> Any:
    try:
        return _multiprocessing.SemLock(kind, value, most, f"/selftaught-{id(names)}-{next(names)}", True)
    except OSError as error:
        pytest.skip(f"this host has no semaphores: {error}")


def standin(kind: int, value: int, most: int) -> Any:
    return multiprocessing_standin.SemLock(kind, value, most, "/name", True)


def in_a_thread(do: Callable[[], object]) -> object:
    return other_thread.submit(attempt, do).result()


def attempt(do: Callable[[], object]) -> object:
    try:
        return do()
    except Exception as error:
        return type(error), str(error)


def state(lock: Any) -> tuple[object, ...]:
    return lock._count(), lock._is_mine(), lock._get_value(), lock._is_zero(), lock.kind, lock.maxvalue


STEPS: dict[str, Callable[[Any], object]] = {
    "acquire": lambda lock: lock.acquire(False),
    "acquire with a time-out": lambda lock: lock.acquire(True, 0.01),
    "acquire with a time-out in the past": lambda lock: lock.acquire(True, -1),
    "release": lambda lock: lock.release(),
    "acquire in a thread": lambda lock: in_a_thread(lambda: lock.acquire(False)),
    "release in a thread": lambda lock: in_a_thread(lambda: lock.release()),
}


@pytest.mark.parametrize("kind", [(RECURSIVE, 1, 1), (SEMAPHORE, 1, 1), (SEMAPHORE, 2, 3), (SEMAPHORE, 0, 1)])
@pytest.mark.parametrize("order", list(itertools.permutations(STEPS, 4)), ids=", ".join)
def test_it_does_what_the_extension_does(kind: tuple[int, int, int], order: tuple[str, ...]) -> None:
    one, other = real(*kind), standin(*kind)
    for name in order:
        assert attempt(lambda: STEPS[name](one)) == attempt(lambda: STEPS[name](other)), name  # noqa: B023
        assert state(one) == state(other), name


def test_a_waiting_thread_gets_what_another_one_releases() -> None:
    lock, found = standin(SEMAPHORE, 0, 1), list[bool]()
    thread = threading.Thread(target=lambda: found.append(lock.acquire()))
    thread.start()
    lock.release()
    thread.join()
    assert found == [True]


def test_threads_share_locks_queues_and_values_of_multiprocessing(verifier: Verifier) -> None:
    code = """
import multiprocessing as mp, threading
from multiprocessing.dummy import Pool
from multiprocessing.pool import ThreadPool
queue, joinable, simple = mp.Queue(), mp.JoinableQueue(), mp.SimpleQueue()
lock, recursive, semaphore, event, condition = mp.Lock(), mp.RLock(), mp.BoundedSemaphore(2), mp.Event(), mp.Condition()
value, array, raw = mp.Value("i", 0), mp.Array("d", 3), mp.RawArray("i", 3)
def work(i):
    with lock, recursive, recursive, semaphore:
        queue.put(i)
    with value.get_lock():
        value.value += 1
        array[i % 3] += 1
        raw[i % 3] += 1
    event.wait()
    joinable.put(i)
    simple.put(i)
threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
for thread in threads: thread.start()
event.set()
for thread in threads: thread.join()
print(*(sorted(each.get() for _ in threads) for each in (queue, simple)), value.value, array[:], raw[:])
for _ in threads:
    joinable.get()
    joinable.task_done()
joinable.join()
with Pool(3) as pool: print(pool.map(abs, [-1, 2]))
with ThreadPool(3) as pool: print(pool.map(abs, [-1, 2]))
one, other = mp.Pipe()
one.send({1: (2, 3)})
print(other.recv(), lock, recursive, semaphore)
"""
    found = verifier.run(Program("p", code))
    assert found.ending is Ending.EXITED, found
    assert found.stdout == (
        "[0, 1, 2, 3, 4, 5] [0, 1, 2, 3, 4, 5] 6 [2.0, 2.0, 2.0] [2, 2, 2]\n[1, 2]\n[1, 2]\n"
        "{1: (2, 3)} <Lock(owner=None)> <RLock(None, 0)> <BoundedSemaphore(value=2, maxvalue=2)>\n"
    )
