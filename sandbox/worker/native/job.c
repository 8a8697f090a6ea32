/* See rollback.h: a job from its start to its report. */

#define _GNU_SOURCE
#include "rollback.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#define CALLS 512
#define TICK_US 500

static int resume(struct state *s)
{
    return ptrace(PTRACE_CONT, s->pid, 0, 0) < 0 ? FAILED : TIMEOUT;
}

/* Go on from `regs` as if the system call there had returned `result`. */
static int resume_with(struct state *s, const struct user_regs_struct *regs, uint64_t result)
{
    struct user_regs_struct changed = *regs;
    changed.orig_rax = -1;
    changed.rax = result;
    if (ptrace(PTRACE_SETREGS, s->pid, 0, &changed) < 0)
        return FAILED;
    return resume(s);
}

int64_t job_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Start the job that was written to memory that is shared, where the tracee's own page table does not show it: it is put back every time. */
static int start(struct state *s, uint64_t size)
{
    s->report_size = s->printed = 0;
    s->cpu_ns = s->cpu_seen_ns;
    s->wall_ns = job_clock_ns();
    s->job.size = size;
    return resume_with(s, &s->ready, size);
}

/* Part of its memory, from where it is shared if that can be told at a glance. 0, or NOT_RESTORED if it can't be read. */
static int read_there(const struct state *s, uint64_t address, uint64_t size, void *here)
{
    int64_t index = address + size > address ? memory_find(s, address, address + size) : -1;
    if (index >= 0) {
        memcpy(here, (void *)(s->protected[index].shared + address - s->protected[index].start), size);
        return 0;
    }
    struct iovec local = {here, size}, there = {(void *)address, size};
    return process_vm_readv(s->pid, &local, 1, &there, 1, 0) == (ssize_t)size ? 0 : NOT_RESTORED;
}

/* A write: to 1 and 2 it is counted, as far as the limit goes; to the report's descriptor it is taken in. */
static int take_write(struct state *s)
{
    uint64_t fd = s->now.rdi, size = s->now.rdx;
    if ((fd == 1 || fd == 2) && size <= s->print_room - s->printed) {
        s->printed += size;
        return resume_with(s, &s->now, size);
    }
    if (fd != (uint64_t)s->report_fd || size > s->report_room || read_there(s, s->now.rsi, size, s->report))
        return CALL;
    s->report_size = size;
    return REPORT;
}

int rollback_report_taken(struct state *s)
{
    return resume_with(s, &s->now, s->now.rdx);
}

static void do_nothing(int number)
{
    (void)number;
}

/* Have a signal interrupt what waits, from after that time on again and again, so that none can come too early: cheaper than a timer for each wait.
   Where that can't be had, each wait has a timer of its own. SIGALRM is not blocked. */
void job_tick(struct state *s, int64_t first_ns)
{
    struct sigaction action = {.sa_handler = do_nothing};
    struct itimerval every = {{0, first_ns ? TICK_US : 0}, {first_ns / 1000000000, first_ns % 1000000000 / 1000}};
    s->ticks = !sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &every, NULL) && first_ns;
}

/* What the tracee stops for that is not dealt with here, or TIMEOUT. SIGCHLD is blocked. */
int rollback_wait(struct state *s, int64_t timeout_ns)
{
    sigset_t child;
    struct timespec left = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int64_t end = job_clock_ns() + timeout_ns;
    for (;;) {
        int status;
        if (!s->ticks)
            sigtimedwait(&child, NULL, &left); /* may be another child's, or an old one */
        struct rusage usage;
        pid_t pid = wait4(s->pid, &status, s->ticks ? __WALL : WNOHANG | __WALL, &usage);
        if (pid < 0 && errno == EINTR)
            pid = 0;
        if (pid < 0)
            return FAILED;
        if (pid) {
            s->faults = usage.ru_minflt + usage.ru_majflt;
            s->cpu_seen_ns = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000L
                + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000L;
            if (!WIFSTOPPED(status))
                return DEAD;
            if (status >> 16 != PTRACE_EVENT_SECCOMP)
                return status >> 16 == PTRACE_EVENT_STOP ? INTERRUPT : SIGNAL;
            if (ptrace(PTRACE_GETREGS, s->pid, 0, &s->now) < 0)
                return FAILED;
            uint8_t action = s->now.orig_rax < CALLS ? s->actions[s->now.orig_rax] : ASK;
            int result = action == PASS ? resume(s) : action == WRITE ? take_write(s) : CALL;
            if (result != TIMEOUT)
                return result;
        }
        int64_t rest = end - job_clock_ns();
        if (rest <= 0)
            return TIMEOUT;
        left.tv_sec = rest / 1000000000;
        left.tv_nsec = rest % 1000000000;
    }
}

/* Whether it has written a whole report at once, and not one of which there is more to find out: of a lack of memory, or as no runner begins it. */
static int has_reported(const struct state *s)
{
    uint64_t size;
    memcpy(&size, s->report + REPORT_HEAD - sizeof size, sizeof size);
    return s->report_size >= REPORT_HEAD && s->report_size - REPORT_HEAD == size
        && s->report[0] != 'm' && s->report[0] != 'n' && s->report[0] != 'P';
}

/* Start, wait, and, if a report is what comes, restore: DONE. Else what `rollback_wait` returns.

   What can keep a tracee from loading its extended registers, it can hardly have done on the way to a report; if it has, the next job has a fault,
   and is put back with them. */
int job_run(struct state *s, uint64_t size, int64_t timeout_ns)
{
    int stop = start(s, size);
    if (stop == TIMEOUT)
        stop = rollback_wait(s, timeout_ns);
    if (stop != REPORT || !has_reported(s))
        return stop;
    int64_t reported = job_clock_ns();
    if (s->loads_extended ? memory_restore(s) : rollback_restore(s))
        return stop;
    s->cold_kept = s->cold_count; /* only now: what was listed in vain is listed again, and there is no room for both */
    s->cpu_ns = s->cpu_seen_ns > s->cpu_ns ? s->cpu_seen_ns - s->cpu_ns : 0; /* what wait4 tells lags behind the clock read at the runner's birth
        where that has not left its processor yet */
    s->wall_ns = reported - s->wall_ns;
    return DONE;
}

int rollback_run(struct state *s, const void *job, uint64_t size, int64_t timeout_ns)
{
    s->cold_kept = 0;
    memcpy((void *)s->job.shared, job, size);
    return job_run(s, size, timeout_ns);
}
