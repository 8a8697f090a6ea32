/* See process.h: a job from its start to its report. */

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#define CALLS 512
#define TICK_US 500

static int resume(struct state *s)
{
    return ptrace(PTRACE_CONT, s->pid, 0, 0) < 0 ? STOP_FAILED : STOP_TIMEOUT;
}

/* Go on from these registers as if the system call there had returned `result`. */
static int resume_with(struct state *s, const uint64_t *registers, uint64_t result)
{
    struct user_regs_struct changed;
    memcpy(&changed, registers, sizeof changed);
    changed.orig_rax = -1;
    changed.rax = result;
    return ptrace(PTRACE_SETREGS, s->pid, 0, &changed) < 0 ? STOP_FAILED : resume(s);
}

int64_t job_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* Start the job that was written to the shared file, where the process's own page table does not show it: that is put back every time. */
static int start(struct state *s, uint64_t size)
{
    s->report_size = s->printed = 0;
    s->cpu_ns = s->cpu_seen_ns;
    s->wall_ns = job_clock_ns();
    s->job_size = size;
    return resume_with(s, s->ready, size);
}

/* Part of its memory. 0, or STOP_FAILED if it can't be read. */
static int read_there(const struct state *s, uint64_t address, uint64_t size, void *here)
{
    const void *shared = memory_here(s, address, size);
    if (shared) {
        memcpy(here, shared, size);
        return 0;
    }
    struct iovec local = {here, size}, there = {(void *)address, size};
    return process_vm_readv(s->pid, &local, 1, &there, 1, 0) == (ssize_t)size ? 0 : STOP_FAILED;
}

/* A write: to 1 and 2 it is counted, as far as the limit goes; to the report's descriptor it is taken in. */
static int take_write(struct state *s, const struct user_regs_struct *now)
{
    uint64_t fd = now->rdi, size = now->rdx;
    if ((fd == 1 || fd == 2) && size <= s->print_limit - s->printed) {
        s->printed += size;
        return resume_with(s, s->now, size);
    }
    if (fd != (uint64_t)s->report_fd || size > s->report_capacity || read_there(s, now->rsi, size, s->report))
        return STOP_CALL;
    s->report_size = size;
    return STOP_REPORT;
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

static void note_usage(struct state *s, const struct rusage *usage)
{
    s->faults = usage->ru_minflt + usage->ru_majflt;
    s->cpu_seen_ns = (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000L + (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000L;
}

/* What a status of wait4 means; calls with an action are dealt with. STOP_TIMEOUT: it runs on. */
static int classify(struct state *s, int status)
{
    struct user_regs_struct now;
    if (!WIFSTOPPED(status))
        return STOP_DEAD;
    if (status >> 16 != PTRACE_EVENT_SECCOMP)
        return status >> 16 == PTRACE_EVENT_STOP ? STOP_INTERRUPT : STOP_SIGNAL;
    if (ptrace(PTRACE_GETREGS, s->pid, 0, &now) < 0)
        return STOP_FAILED;
    memcpy(s->now, &now, sizeof now);
    uint8_t action = now.orig_rax < CALLS ? ((uint8_t *)s->actions)[now.orig_rax] : ACTION_ASK;
    return action == ACTION_PASS ? resume(s) : action == ACTION_WRITE ? take_write(s, &now) : STOP_CALL;
}

/* What the process stops for that is not dealt with here, or STOP_TIMEOUT. SIGCHLD is blocked. */
int process_wait(struct state *s, int64_t timeout_ns)
{
    sigset_t child;
    struct timespec left = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int64_t end = job_clock_ns() + timeout_ns;
    for (;;) {
        int status;
        struct rusage usage;
        if (!s->ticks)
            sigtimedwait(&child, NULL, &left); /* may be another child's, or an old one */
        pid_t pid = wait4(s->pid, &status, s->ticks ? __WALL : WNOHANG | __WALL, &usage);
        if (pid < 0 && errno != EINTR)
            return STOP_FAILED;
        if (pid > 0) {
            note_usage(s, &usage);
            int stop = classify(s, status);
            if (stop != STOP_TIMEOUT)
                return stop;
        }
        int64_t rest = end - job_clock_ns();
        if (rest <= 0)
            return STOP_TIMEOUT;
        left.tv_sec = rest / 1000000000;
        left.tv_nsec = rest % 1000000000;
    }
}

/* After a stop at a call: go on as if that had returned `result`. */
int process_proceed(struct state *s, uint64_t result)
{
    return resume_with(s, s->now, result);
}

/* Whether it has written a whole report at once, and not one of which there is more to find out: of a lack of memory, or as none of ours begins. */
static int has_reported(const struct state *s)
{
    const uint8_t *report = s->report;
    uint64_t size;
    memcpy(&size, report + REPORT_HEAD - sizeof size, sizeof size);
    return s->report_size >= REPORT_HEAD && s->report_size - REPORT_HEAD == size
        && report[0] != 'm' && report[0] != 'n' && report[0] != 'P';
}

/* Start, wait, and, if a report is what comes, put back: STOP_DONE. Else what `process_wait` returns. The process loads its extended registers itself when it
   goes on (snapshot.c). What can keep it from that has hardly let it come to a report; if it has, the next job has a fault, and is put back with them. */
int job_run(struct state *s, uint64_t size, int64_t timeout_ns)
{
    int stop = start(s, size);
    if (stop == STOP_TIMEOUT)
        stop = process_wait(s, timeout_ns);
    if (stop == STOP_INTERRUPT && resume(s) == STOP_TIMEOUT) /* asked for in the job before, which stopped by itself meanwhile */
        stop = process_wait(s, timeout_ns);
    if (stop != STOP_REPORT || !has_reported(s))
        return stop;
    int64_t reported = job_clock_ns();
    if (memory_restore(s))
        return STOP_FAILED;
    s->cpu_ns = s->cpu_seen_ns > s->cpu_ns ? s->cpu_seen_ns - s->cpu_ns : 0; /* what wait4 tells lags behind the clock read at the process's spawn
        where that has not left its processor yet */
    s->wall_ns = reported - s->wall_ns;
    return STOP_DONE;
}

/* Put back after a job that is given up; `stop` is what came of it so far. 0, or STOP_FAILED. */
int job_abandon(struct state *s, int stop)
{
    int status;
    struct rusage usage;
    s->suspect = 1;
    if (stop == STOP_TIMEOUT) {
        if (ptrace(PTRACE_INTERRUPT, s->pid, 0, 0) < 0)
            return STOP_FAILED;
        while (wait4(s->pid, &status, __WALL, &usage) < 0)
            if (errno != EINTR)
                return STOP_FAILED;
        if (!WIFSTOPPED(status))
            return STOP_FAILED;
        note_usage(s, &usage);
    } else if (stop == STOP_DEAD || stop == STOP_FAILED)
        return STOP_FAILED;
    return memory_restore_all(s);
}

int process_run(struct state *s, const void *job, uint64_t size, int64_t timeout_ns)
{
    s->written_count = 0;
    memcpy((uint8_t *)s->shared + s->job_offset, job, size);
    return job_run(s, size, timeout_ns);
}
