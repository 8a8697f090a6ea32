"""A traced process: stop and resume it, read and write its registers and memory (man 2 ptrace, man 2 process_vm_readv).

x86-64 only. ptrace serves only the thread that attached, and that thread must have SIGCHLD blocked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time

from selftaught.sandbox.worker.native.shared import Range, Stop

_libc = ctypes.CDLL(None, use_errno=True)
_ptrace = _libc.ptrace
_ptrace.restype = ctypes.c_long
_ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)

_CONT, _GETREGS, _SETREGS, _SYSCALL = 7, 12, 13, 24
_INJECT_SECONDS = 5.0
_GETSIGINFO, _GETREGSET, _SETREGSET, _SEIZE, _INTERRUPT = 0x4202, 0x4204, 0x4205, 0x4206, 0x4207
_NT_X86_XSTATE = 0x202
_O_TRACESECCOMP, _O_EXITKILL = 0x80, 0x100000
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_WALL = 0x40000000
_XSTATE_BYTES, _SIGINFO_BYTES = 16384, 128
NOT_A_CALL = (1 << 64) - 1
"""In `ORIG_RAX` of a process that is not in a system call."""
_SIGCHLD = (signal.SIGCHLD,)

_REGISTERS = struct.Struct("<27Q")  # struct user_regs_struct, sys/user.h
RAX, ORIG_RAX, _RIP = 10, 15, 16
ARGUMENTS = (14, 13, 12, 7, 9, 8)
"""Indices in `Tracee.registers` of a system call's arguments: rdi, rsi, rdx, r10, r8, r9."""


class Tracee:
    """A child of this process, traced until it dies; it dies with this process.

    Attributes:
        dead: True once it has been reaped.
    """

    def __init__(self, pid: int) -> None:
        """Attach.

        Raises:
            OSError: the kernel refuses.
        """
        self.pid, self.dead = pid, False
        self._clock = (~pid << 3) | 2  # man 2 clock_getres, "CPU-time clocks of another process"
        self._registers = ctypes.create_string_buffer(_REGISTERS.size)
        self._registers_at = ctypes.addressof(self._registers)
        _call(_SEIZE, pid, 0, _O_TRACESECCOMP | _O_EXITKILL)

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far; 0.0 if it has died."""
        try:
            return time.clock_gettime(self._clock)
        except OSError:
            return 0.0

    def wait(self, timeout_seconds: float) -> Stop:
        """Wait for a stop and return it; `Stop.TIMEOUT` if there is none in time."""
        deadline = time.monotonic() + timeout_seconds
        left = timeout_seconds
        while left > 0:
            signal.sigtimedwait(_SIGCHLD, left)  # the signal may be another child's, or an old one
            pid, status = os.waitpid(self.pid, os.WNOHANG | _WALL)
            if pid:
                self.dead = not os.WIFSTOPPED(status)
                return _classify(status)
            left = deadline - time.monotonic()
        return Stop.TIMEOUT

    def resume(self) -> None:
        """Resume it: the call that stopped it takes place; a signal is dropped. Raises OSError if it is dead."""
        _call(_CONT, self.pid, 0, 0)

    def resume_with(self, registers: tuple[int, ...], result: int) -> None:
        """Resume it with these registers, as if the system call there had returned `result` and not taken place."""
        changed = list(registers)
        changed[ORIG_RAX], changed[RAX] = NOT_A_CALL, result
        _REGISTERS.pack_into(self._registers, 0, *changed)
        _call(_SETREGS, self.pid, 0, self._registers_at)
        _call(_CONT, self.pid, 0, 0)

    def resume_from(self, registers: tuple[int, ...]) -> None:
        """Resume it with these registers, read outside of a system call. Raises OSError if it is dead."""
        self.resume_with(registers, registers[RAX])

    def signal(self) -> int:
        """Return the signal at whose delivery it has stopped. Raises OSError if it has not, or is dead."""
        about = ctypes.create_string_buffer(_SIGINFO_BYTES)
        _call(_GETSIGINFO, self.pid, 0, ctypes.addressof(about))
        return int.from_bytes(about.raw[:4], "little")

    def deliver(self, number: int) -> None:
        """Resume it from a stop at a signal, with that signal. Raises OSError if it is dead."""
        _call(_CONT, self.pid, 0, number)

    def inject(self, waiting: tuple[int, ...], number: int, *arguments: int) -> int:
        """Make it run a system call, by the instruction at which it stopped. Return the result.

        It is stopped after that call, with other registers.

        Args:
            waiting: its registers at a stop before a system call.
            number: number of the call.
            arguments: arguments of the call.

        Raises:
            OSError: the call fails, or is not let through.
        """
        registers = list(waiting)
        registers[_RIP] -= 2  # of that instruction
        registers[ORIG_RAX], registers[RAX] = NOT_A_CALL, number
        for place, argument in zip(ARGUMENTS, arguments, strict=False):
            registers[place] = argument
        _REGISTERS.pack_into(self._registers, 0, *registers)
        _call(_SETREGS, self.pid, 0, self._registers_at)
        self.resume()
        if self.wait(_INJECT_SECONDS) is Stop.CALL:
            _call(_SYSCALL, self.pid, 0, 0)
            if self.wait(_INJECT_SECONDS) is Stop.SIGNAL:  # a trap: the end of the call
                result = self.registers()[RAX]
                if result < 1 << 63:
                    return result
                raise OSError((1 << 64) - result, "an injected system call failed")
        raise OSError("a system call can't be injected")

    def interrupt(self) -> None:
        """Request a stop, whatever it does. Raises OSError if it is dead."""
        _call(_INTERRUPT, self.pid, 0, 0)

    def kill(self) -> None:
        """Kill and reap it, if it is not dead already."""
        if not self.dead:
            os.kill(self.pid, signal.SIGKILL)
            while os.WIFSTOPPED(os.waitpid(self.pid, _WALL)[1]):
                continue  # a stop that came first
            self.dead = True

    def registers(self) -> tuple[int, ...]:
        """Return the general registers in the order of struct user_regs_struct. Raises OSError if it is dead."""
        _call(_GETREGS, self.pid, 0, self._registers_at)
        return _REGISTERS.unpack(self._registers)

    def extended_state(self) -> bytes:
        """Return the floating-point and vector registers with their control words. Raises OSError if it is dead."""
        buffer = ctypes.create_string_buffer(_XSTATE_BYTES)
        vector = Range(ctypes.addressof(buffer), len(buffer))
        _call(_GETREGSET, self.pid, _NT_X86_XSTATE, ctypes.addressof(vector))
        return buffer.raw[: vector.length]

    def set_extended_state(self, vector: Range) -> None:
        """Set what `extended_state` returned, from a buffer of this process. Raises OSError if it is dead."""
        _call(_SETREGSET, self.pid, _NT_X86_XSTATE, ctypes.addressof(vector))

    def read(self, address: int, size: int) -> bytes:
        """Return part of its memory. Raises OSError if any of it can't be read."""
        buffer = ctypes.create_string_buffer(size)
        _transfer("process_vm_readv", self.pid, ctypes.addressof(buffer), address, size)
        return buffer.raw

    def write(self, address: int, data: bytes) -> None:
        """Write its memory, even where it is write-protected for tracking. Raises OSError if that fails."""
        buffer = ctypes.create_string_buffer(data, len(data))
        _transfer("process_vm_writev", self.pid, ctypes.addressof(buffer), address, len(data))


def _transfer(direction: str, pid: int, here: int, there: int, size: int) -> None:
    """Call `process_vm_readv` or `process_vm_writev` between these addresses. Raises OSError."""
    ours, theirs = Range(here, size), Range(there, size)
    one, no_flags = ctypes.c_ulong(1), ctypes.c_ulong(0)
    done = getattr(_libc, direction)(pid, ctypes.byref(ours), one, ctypes.byref(theirs), one, no_flags)
    if done != size:
        raise OSError(ctypes.get_errno() if done < 0 else 0, f"{direction}: {done} of {size} bytes")


for _name in ("process_vm_readv", "process_vm_writev"):
    getattr(_libc, _name).restype = ctypes.c_ssize_t


def _classify(status: int) -> Stop:
    if not os.WIFSTOPPED(status):
        return Stop.DEAD
    event = status >> 16
    if event == _EVENT_SECCOMP:
        return Stop.CALL
    return Stop.INTERRUPT if event == _EVENT_STOP else Stop.SIGNAL


def _call(request: int, pid: int, address: int, data: int) -> None:
    if _ptrace(request, pid, address, data) < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"ptrace({request:#x}): {os.strerror(errno)}")
