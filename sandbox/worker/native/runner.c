/* How a runner waits: a system call that it stops at, and that it comes back from with the extended registers as they were before.

   When it runs on its memory and general registers have been put back, so what comes after the call is done by this code, whatever ran before:
   the warden need not put back the rest, which by ptrace costs a hundred times as much. Used by sandbox/worker/inside/runner.py. */

#include <cpuid.h>
#include <stddef.h>
#include <sys/syscall.h>

/* Bytes that the others need, at an address that 64 divides; they are zero at first. 0: it can't be had. (Intel SDM 1, 13.) */
size_t runner_room(void)
{
    unsigned features, size, rest, ecx;
    if (!__get_cpuid(1, &rest, &rest, &ecx, &rest) || !(ecx & bit_OSXSAVE))
        return 0;
    return __get_cpuid_count(13, 0, &features, &size, &rest, &rest) ? size : 0;
}

/* Make a system call, between storing the extended registers in `room` and loading them from there. Returns what the call does. */
static long call(void *room, long number, long first, long second, long third)
{
    long result;
    __asm__ volatile(
        "mov $-1, %%eax\n\tmov $-1, %%edx\n\txsave64 (%[room])\n\t"
        "mov %[number], %%rax\n\tmov %[third], %%rdx\n\tsyscall\n\tmov %%rax, %[result]\n\t"
        "mov $-1, %%eax\n\tmov $-1, %%edx\n\txrstor64 (%[room])"
        : [result] "=&r"(result)
        : [room] "r"(room), [number] "r"(number), [third] "r"(third), "D"(first), "S"(second)
        : "rax", "rdx", "rcx", "r11", "memory");
    return result;
}

/* What os.getppid does. */
long runner_wait(void *room)
{
    return call(room, SYS_getppid, 0, 0, 0);
}

/* What os.lseek does. */
long runner_announce(void *room, long first, long second, long third)
{
    return call(room, SYS_lseek, first, second, third);
}
