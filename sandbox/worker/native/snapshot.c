/* How a snapshot process waits for a job: at a system call, after which it restores all that user code can change of a
   processor.

   When it resumes, its memory and its general registers have been put back, so this code runs after the call whatever
   ran before. What user mode can change on x86-64 (Intel SDM 1, 3.4 and 13; SDM 3, 2), and what restores it:
   - general registers, rip, fs and gs base, selectors of segments: PTRACE_SETREGS sets them all.
   - rflags: PTRACE_SETREGS sets the arithmetic flags, DF, TF, AC, NT and RF, and leaves ID (bit 21) as it is; popfq
     below loads them all.
   - x87, MXCSR, SSE, AVX, AVX-512, PKRU, and what else XCR0 has: xrstor below. PTRACE_SETREGSET as well unless the last
     job simply reported: PKRU can forbid this code its memory, and then the next job has a fault.
   - AMX, shadow stacks, LDT and debug registers, CPUID faulting, I/O rights: only after system calls that no job may
     make.
   A comparison resumes the process with an empty job, and so sees what the next job would. Used by
   sandbox/worker/inside/snapshot.py. */

#include <cpuid.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#define FLAGS 0x202 /* interrupts on, and the bit that is always set */

/* Return the size of the buffer that the functions below need, aligned to 64 bytes and zero at first; 0 without
   XSAVE. */
size_t snapshot_buffer_size(void)
{
    unsigned features, size, rest, ecx;
    if (!__get_cpuid(1, &rest, &rest, &ecx, &rest) || !(ecx & bit_OSXSAVE))
        return 0;
    return __get_cpuid_count(13, 0, &features, &size, &rest, &rest) ? size + sizeof(uint64_t) : 0;
}

/* Repeat a system call until it returns more than 0, and return that. `flags` is a place for them in `buffer`. */
static long call(uint8_t *buffer, uint64_t *flags, long number, long first, long second)
{
    long result;
    *flags = FLAGS;
    __asm__ volatile(
        "mov $-1, %%eax\n\tmov $-1, %%edx\n\txsave64 (%[buffer])\n"
        "1:\tmov %[number], %%rax\n\tsyscall\n\tmov %%rax, %[result]\n\t"
        "mov $-1, %%eax\n\tmov $-1, %%edx\n\txrstor64 (%[buffer])\n\t"
        "mov %%rsp, %%r12\n\tmov %[flags], %%rsp\n\tpopfq\n\tmov %%r12, %%rsp\n\t" /* without writing to the stack */
        "test %[result], %[result]\n\tjle 1b"
        : [result] "=&r"(result)
        : [buffer] "r"(buffer), [flags] "r"(flags), [number] "r"(number), "D"(first), "S"(second)
        : "rax", "rdx", "rcx", "r11", "r12", "memory", "cc");
    return result;
}

/* Wait for a job: getppid. */
long snapshot_wait(uint8_t *buffer, uint64_t size)
{
    return call(buffer, (uint64_t *)(buffer + size) - 1, SYS_getppid, 0, 0);
}

/* Announce addresses to the supervisor: lseek. */
long snapshot_announce(uint8_t *buffer, uint64_t size, long first, long second)
{
    return call(buffer, (uint64_t *)(buffer + size) - 1, SYS_lseek, first, second);
}
