"""Canaries: attempts that prove a confinement level, made before the first task through the engine that will run it.

A mechanism counts as in force if the kernel says so of the zygote, or if an attempt that it must stop was made and
stopped. Otherwise the worker ends: a level is reached in full or not at all.
"""

from __future__ import annotations

import os
from typing import TypedDict

from selftaught.sandbox import codec, wire
from selftaught.sandbox.errors import CannotConfine
from selftaught.sandbox.jail import landlock, namespaces, seccomp
from selftaught.sandbox.outcome import End, Outcome, Phase
from selftaught.sandbox.task import Limits
from selftaught.sandbox.wire import REPORT_FD
from selftaught.sandbox.worker.fork.engine import ForkEngine
from selftaught.sandbox.worker.inside import zygote
from selftaught.sandbox.worker.snapshot.engine import SnapshotEngine


class Proof(TypedDict):
    """One mechanism: whether it is in force, and the evidence."""

    mechanism: str
    holds: bool
    evidence: str


_LIMITS = Limits(cpu_seconds=2.0, wall_seconds=20.0, memory_bytes=64 << 20, answer_bytes=1 << 16)
_PUZZLE = b"def sat(x): return x == 6"


def prove(engine: ForkEngine, full: bool, outside: dict[str, str]) -> list[Proof]:
    """Prove every mechanism of a level.

    Args:
        engine: the fork engine, in the jail.
        full: True for level ``full``, False for the mechanisms that all levels have.
        outside: the verifier's namespaces by kind.

    Returns:
        A proof for each mechanism.

    Raises:
        CannotConfine: a mechanism is not in force.
    """
    proofs = [
        _honest(engine),
        *_process(engine),
        _descriptors(engine),
        _landlock(engine),
        _seccomp(engine),
        _code(engine),
        _memory(engine),
        _scratch(engine),
    ]
    if full:
        inside = engine.jailed.namespaces
        for name in namespaces.NAMES:
            evidence = f"{inside[name]} inside, {outside[name]} outside"
            proofs.append(
                Proof(
                    mechanism=f"{name.split('_')[0]} namespace", holds=inside[name] != outside[name], evidence=evidence
                )
            )
        proofs += [_root(engine), _network(engine), _cgroup(engine)]
    return _require_all(proofs)


def prove_container(engine: ForkEngine) -> list[Proof]:
    """Prove what a container adds to the jail inside it.

    Args:
        engine: the fork engine, in the jail.

    Returns:
        A proof for each mechanism.

    Raises:
        CannotConfine: a mechanism is not in force.
    """
    ids = _status(engine)["Uid"].split()
    read_only = bool(os.statvfs("/").f_flag & os.ST_RDONLY)
    return _require_all(
        [
            Proof(
                mechanism="pid namespace", holds=os.getpid() == 1, evidence=f"the supervisor is process {os.getpid()}"
            ),
            Proof(mechanism="user", holds="0" not in ids, evidence=f"Uid: {' '.join(ids)}"),
            Proof(mechanism="read-only root", holds=read_only, evidence=f"/ is {'' if read_only else 'not '}read-only"),
            Proof(
                mechanism="container's seccomp", holds=seccomp.nested(), evidence="read of the supervisor's own status"
            ),
            _network(engine),
        ]
    )


def _require_all(proofs: list[Proof]) -> list[Proof]:
    broken = [proof for proof in proofs if not proof["holds"]]
    if broken:
        raise CannotConfine("; ".join(f"{proof['mechanism']}: {proof['evidence']}" for proof in broken))
    return proofs


def prove_rollback(engine: SnapshotEngine) -> None:
    """Check that the snapshot engine accepts right answers only, stops a loop, and puts back what a job has changed.

    Raises:
        CannotConfine: it does not.
    """
    if not (honest := _honest(engine))["holds"]:
        raise CannotConfine(f"snapshot engine: {honest['evidence']}")
    leave = b"import builtins, random\ndef sol():\n    builtins.left = [1] * 10_000; random.seed(7); return 6"
    seen = b"import builtins\ndef sol(): return hasattr(builtins, 'left')"
    loop = b"def sol():\n    while True: pass"
    short = Limits(cpu_seconds=0.01, wall_seconds=5.0)
    outcomes = [
        engine.run(Phase.SOL, _PUZZLE, source, short if source is loop else _LIMITS, 0)
        for source in (leave, loop, seen)
    ]
    if [outcome.end for outcome in outcomes] != [End.ANSWER, End.CPU, End.ANSWER] or codec.decode(outcomes[2].payload):
        raise CannotConfine(f"snapshot engine: a rollback left something behind: {outcomes}")
    if {outcome.engine for outcome in outcomes} != {engine.name} or engine.counters.mismatches:
        raise CannotConfine("snapshot engine: it left a phase to the fork engine, or a comparison found a difference")


def _status(engine: ForkEngine) -> dict[str, str]:
    """Return what the kernel shows of the zygote (man 5 proc, status)."""
    with open(f"/proc/{engine.jailed.zygote}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def _try(engine: ForkEngine, source: str) -> Outcome:
    return engine.run(Phase.SOL, _PUZZLE, source.encode(), _LIMITS, 0)


def _answer(engine: ForkEngine, source: str) -> object:
    """Return what a canary saw in the jail, or how it ended."""
    outcome = _try(engine, source)
    if outcome.end is not End.ANSWER:
        return f"{outcome.end.name}: {outcome.detail}"
    codec.check(outcome.payload, _LIMITS.answer_bytes)
    return codec.decode(outcome.payload)


def _honest(engine: ForkEngine | SnapshotEngine) -> Proof:
    """Prove that a right answer is accepted and a wrong one is not."""
    right = engine.run(Phase.SAT, _PUZZLE, codec.encode(6, 100), _LIMITS, 0).end
    wrong = engine.run(Phase.SAT, _PUZZLE, codec.encode(7, 100), _LIMITS, 0).end
    holds = (right, wrong) == (End.ACCEPTED, End.REJECTED)
    return Proof(mechanism="judging", holds=holds, evidence=f"a right answer: {right.name}, a wrong one: {wrong.name}")


def _process(engine: ForkEngine) -> list[Proof]:
    status = _status(engine)
    expected = (
        ("capabilities", "CapEff", "0000000000000000"),
        ("permitted capabilities", "CapPrm", "0000000000000000"),
        ("no_new_privs", "NoNewPrivs", "1"),
        ("seccomp filter", "Seccomp", "2"),
    )
    return [
        Proof(mechanism=name, holds=status.get(key, "") == value, evidence=f"{key}: {status.get(key)}")
        for name, key, value in expected
    ]


def _descriptors(engine: ForkEngine) -> Proof:
    """Prove that a child has nothing open but an empty input, its output twice, and the pipe for its report."""
    source = f"""def sol():
    import os, stat
    found = []
    for number in range({zygote.HIGHEST_DESCRIPTOR + 1}):
        try: found.append((number, stat.S_ISFIFO(os.fstat(number).st_mode)))
        except OSError: pass
    return found"""
    seen = _answer(engine, source)
    holds = seen == [(0, False), (1, True), (2, True), (REPORT_FD, True)]
    return Proof(mechanism="descriptors", holds=holds, evidence=f"in a child, number and whether it is a pipe: {seen}")


def _landlock(engine: ForkEngine) -> Proof:
    """Prove that the root directory can't be listed, though it exists, and that the zygote's pipes are out of reach:
    only Landlock forbids it.
    """
    seen = _try(engine, "def sol():\n    import os\n    return os.listdir('/')")
    holds = seen.end is End.SOLUTION_ERROR and "PermissionError" in seen.detail
    pipe = f"/proc/{engine.jailed.zygote}/fd/{wire.JOB_FD}"
    beside = _try(engine, f"def sol():\n    import os\n    return os.readlink('{pipe}')")
    holds = holds and beside.end is End.SOLUTION_ERROR and ("Permission" in beside.detail or "No such" in beside.detail)
    evidence = f"version {landlock.abi()}; listing /: {seen.detail}; another process: {beside.detail}"
    return Proof(mechanism="Landlock", holds=holds, evidence=evidence)


def _seccomp(engine: ForkEngine) -> Proof:
    attempts = {
        "socket": "import _socket\ndef sol(): return _socket.socket().fileno()",
        "clone": "import os\ndef sol(): return os.fork()",
        "execve": "import os\ndef sol(): return os.execv('/x', ['x'])",
        "kill": "import os\ndef sol(): return os.kill(1, 0)",
        "unknown": "import ctypes\ndef sol(): return ctypes.CDLL(None).syscall(9999)",
    }
    seen = {name: _try(engine, source) for name, source in attempts.items()}
    # A kernel or C library may refuse before the call is made; then it is an error, and nothing happened either.
    holds = all(outcome.end is End.FORBIDDEN for outcome in seen.values())
    evidence = ", ".join(f"{name}: {outcome.end.name.lower()}" for name, outcome in seen.items())
    return Proof(mechanism="system calls", holds=holds, evidence=evidence)


def _code(engine: ForkEngine) -> Proof:
    """Prove that no memory can be written and executed, neither inherited nor requested."""
    attempts = {
        "both at once": "import mmap\ndef sol(): return len(mmap.mmap(-1, 4096, prot=7))",
        "one after the other": "import ctypes\ndef sol(): return ctypes.CDLL(None).mprotect(0, 4096, 5)",
    }
    ends = {name: _try(engine, source).end for name, source in attempts.items()}
    # The zygote was forked from this process; what packages have added was looked at there (`packages.Watch`).
    with open("/proc/self/maps") as file:
        inherited = [line.split(None, 5)[-1].strip() for line in file if {"w", "x"} <= set(line.split()[1])]
    evidence = ", ".join(f"{name}: {end.name.lower()}" for name, end in ends.items()) + f"; inherited: {inherited}"
    return Proof(
        mechanism="no own code", holds=set(ends.values()) == {End.FORBIDDEN} and not inherited, evidence=evidence
    )


def _memory(engine: ForkEngine) -> Proof:
    seen = _try(engine, "def sol(): return len(bytearray(1 << 40))")
    return Proof(
        mechanism="memory limit", holds=seen.end is End.MEMORY, evidence=f"asking for 1 TiB: {seen.end.name.lower()}"
    )


def _scratch(engine: ForkEngine) -> Proof:
    """Prove that what a program writes is in its folder alone and gone afterwards, and can't be mapped as code."""
    write = "import os\nprint(os.listdir(), open('canary', 'x').write('x'), open('canary').read(), os.listdir('.'))"
    seen = [_output(engine, write) for _ in range(2)]
    code = (
        "import mmap, os\n{}\nmmap.mmap({}, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)\nprint('mapped')"
    )
    make = "open('canary', 'xb').write(bytes(4096))"
    mapped = [_output(engine, code.format(make, "os.open('canary', 0)")), _output(engine, code.format("", "0"))]
    written = "['main.py'] 1 x ['main.py', 'canary']\n"
    holds = [sorted(text) for text in seen] == [sorted(written)] * 2 and not any("mapped" in text for text in mapped)
    size = engine.jailed.scratch.describe_size()
    return Proof(mechanism="scratch folder", holds=holds, evidence=f"{size}; written twice: {seen}; as code: {mapped}")


def _output(engine: ForkEngine, source: str) -> str:
    """Return what a program prints, or the last line of its error, or how it ended."""
    outcome = engine.run(Phase.RUN, source.encode(), bytes(4096), _LIMITS, 0)
    stdout, stderr, _ = wire.unpack_output(outcome.payload)
    last = stderr.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
    return stdout.decode("utf-8", "replace") or last or f"{outcome.end.name.lower()}: {outcome.detail}"


def _root(engine: ForkEngine) -> Proof:
    """Prove that nothing of the host's file system is there: not even names, which Landlock does not hide."""
    names = "/proc", "/sys", "/etc", "/bin", "/var/tmp", "/dev/shm", "/dev/tty"
    source = f"import os\ndef sol(): return [name for name in {names} if os.path.exists(name)]"
    seen = _answer(engine, source)
    return Proof(mechanism="root", holds=seen == [], evidence=f"of the host's directories, inside: {seen}")


def _network(engine: ForkEngine) -> Proof:
    with open(f"/proc/{engine.jailed.zygote}/net/dev") as file:
        names = [line.split(":")[0].strip() for line in file if ":" in line]
    return Proof(mechanism="network", holds=names == ["lo"], evidence=f"interfaces inside: {', '.join(names)}")


def _cgroup(engine: ForkEngine) -> Proof:
    with open(f"/proc/{engine.jailed.zygote}/cgroup") as file:
        lines = [line.strip() for line in file if "selftaught-" in line]
    return Proof(mechanism="control group", holds=bool(lines), evidence="; ".join(lines) or "not in one")
