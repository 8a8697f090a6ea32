/* See process.h: run a job from its start to its report. */

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

#define TCGETS2_X86 0x802C542A /* isatty(3) uses it since glibc 2.42 */

#define CALLS 512
#define TICK_US 500

static int resume(struct state *s)
{
    return ptrace(PTRACE_CONT, s->pid, 0, 0) < 0 ? STOP_FAILED : STOP_TIMEOUT;
}

/* Resume with these registers, as if the system call there had returned `result`. */
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

/* Start the job that was written to the shared file, where the page table of the process does not show it: that part is
   put back every time. */
static int start(struct state *s, uint64_t size)
{
    s->report_size = s->printed = 0;
    s->cpu_ns = s->cpu_seen_ns;
    s->wall_ns = job_clock_ns();
    s->job_size = size;
    return resume_with(s, s->ready, size);
}

/* Read part of its memory. Returns 0 or STOP_FAILED. */
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

/* Keep what a program writes to 1 or 2, up to the limit. */
static int keep_output(struct state *s, const struct user_regs_struct *now)
{
    uint64_t which = now->rdi - 1, size = now->rdx, had = s->output_sizes[which];
    uint64_t kept = had < s->output_limit ? s->output_limit - had : 0;
    kept = size < kept ? size : kept;
    if (size > INT32_MAX || read_there(s, now->rsi, kept, (uint8_t *)s->outputs[which] + had))
        return STOP_CALL;
    s->output_sizes[which] += size;
    return resume_with(s, s->now, size);
}

/* Handle a write: to 1 and 2 count it up to the limit or keep it, to the report's descriptor read it. */
static int take_write(struct state *s, const struct user_regs_struct *now)
{
    uint64_t fd = now->rdi, size = now->rdx;
    if (s->is_program && (fd == 1 || fd == 2))
        return keep_output(s, now);
    if ((fd == 1 || fd == 2) && size <= s->print_limit - s->printed) {
        s->printed += size;
        return resume_with(s, s->now, size);
    }
    if (fd != (uint64_t)s->report_fd || size > s->report_capacity || read_there(s, now->rsi, size, s->report))
        return STOP_CALL;
    s->report_size = size;
    return STOP_REPORT;
}

/* Handle a read: from 0 of a program the next part of its standard input. What the supervisor writes there causes no
   fault that is counted, so everything is scanned afterwards. */
static int give_input(struct state *s, const struct user_regs_struct *now)
{
    if (!s->is_program || now->rdi != 0)
        return STOP_CALL;
    uint64_t left = s->stdin_size - s->stdin_at, size = now->rdx < left ? now->rdx : left;
    struct iovec local = {(uint8_t *)s->stdin + s->stdin_at, size}, there = {(void *)now->rsi, size};
    s->faults_seen = NO_FAULTS_SEEN;
    if (size && process_vm_writev(s->pid, &local, 1, &there, 1, 0) != (ssize_t)size)
        return STOP_CALL;
    s->stdin_at += size;
    return resume_with(s, s->now, size);
}

/* Handle an ioctl that asks about a terminal: no standard stream is one. `input` looks every time. */
static int refuse_ioctl(struct state *s, const struct user_regs_struct *now)
{
    uint32_t asked = now->rsi;
    if (now->rdi > (s->is_program ? 2 : 0) || (asked != TCGETS && asked != TIOCGWINSZ && asked != TCGETS2_X86))
        return STOP_CALL;
    return resume_with(s, s->now, -ENOTTY);
}

static void do_nothing(int number)
{
    (void)number;
}

/* Have a signal interrupt every wait after that time, again and again, so that none comes too early: cheaper than a
   timer for each wait. If that fails, each wait has a timer of its own. SIGALRM is not blocked. */
void job_tick(struct state *s, int64_t first_ns)
{
    struct sigaction action = {.sa_handler = do_nothing};
    struct itimerval every = {{0, first_ns ? TICK_US : 0}, {first_ns / 1000000000, first_ns % 1000000000 / 1000}};
    s->ticks = !sigaction(SIGALRM, &action, NULL) && !setitimer(ITIMER_REAL, &every, NULL) && first_ns;
}

static void note_usage(struct state *s, const struct rusage *usage)
{
    s->faults = usage->ru_minflt + usage->ru_majflt;
    s->cpu_seen_ns = (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000000L
        + (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000L;
}

/* Classify a status of wait4, and handle calls that have an action. STOP_TIMEOUT: it is running again. */
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
    switch (action) {
    case ACTION_PASS:
        return resume(s);
    case ACTION_WRITE:
        return take_write(s, &now);
    case ACTION_READ:
        return give_input(s, &now);
    case ACTION_IOCTL:
        return refuse_ioctl(s, &now);
    default:
        return STOP_CALL;
    }
}

/* Wait for a stop that is not handled here and return it, or STOP_TIMEOUT. SIGCHLD is blocked. */
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
            sigtimedwait(&child, NULL, &left); /* it may be another child's, or an old one */
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

/* After a stop at a call: resume as if that had returned `result`. */
int process_proceed(struct state *s, uint64_t result)
{
    return resume_with(s, s->now, result);
}

/* Return 1 if it has written a whole report at once, and none that needs another look: of a lack of memory, one that
   our code never begins like that, a message, or the end of tests, which may lack memory too. */
static int has_reported(const struct state *s)
{
    const uint8_t *report = s->report;
    uint64_t size;
    memcpy(&size, report + REPORT_HEAD - sizeof size, sizeof size);
    return s->report_size >= REPORT_HEAD && s->report_size - REPORT_HEAD == size
        && report[0] != 'm' && report[0] != 'n' && report[0] != 'P' && report[0] != 'M' && report[0] != 'E';
}

/* Start a job and wait. If it reports, put it back: STOP_DONE. Else return what `process_wait` does. The process loads
   its extended registers itself when it resumes (snapshot.c). A job that has changed them so that it can't (PKRU)
   hardly gets to report; if it does, the next job has a fault, after which they are set too. */
int job_run(struct state *s, uint64_t size, int64_t timeout_ns)
{
    int stop = start(s, size);
    if (stop == STOP_TIMEOUT)
        stop = process_wait(s, timeout_ns);
    if (stop == STOP_INTERRUPT && resume(s) == STOP_TIMEOUT) /* requested in the last job, which stopped by itself */
        stop = process_wait(s, timeout_ns);
    if (stop != STOP_REPORT || !has_reported(s))
        return stop;
    int64_t reported = job_clock_ns();
    if (memory_restore(s))
        return STOP_FAILED;
    /* Never negative: wait4 lags behind the clock read at the spawn if the process has not left its processor since. */
    s->cpu_ns = s->cpu_seen_ns > s->cpu_ns ? s->cpu_seen_ns - s->cpu_ns : 0;
    s->wall_ns = reported - s->wall_ns;
    return STOP_DONE;
}

/* Put back after a job that is given up; `stop` is what came of it so far. Returns 0 or STOP_FAILED. */
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

/* Answer a message by another, where the process reads jobs, and wait. The message has its size in front. */
int process_answer(struct state *s, const void *message, uint64_t size, int64_t timeout_ns)
{
    uint8_t *there = (uint8_t *)s->shared + s->job_offset;
    memcpy(there, &size, sizeof size);
    memcpy(there + sizeof size, message, size);
    size += sizeof size;
    s->job_size = size > s->job_size ? size : s->job_size;
    int stop = resume_with(s, s->now, s->report_size);
    return stop == STOP_TIMEOUT ? process_wait(s, timeout_ns) : stop;
}

int process_run(struct state *s, const void *job, uint64_t size, int64_t timeout_ns)
{
    s->written_count = 0;
    memcpy((uint8_t *)s->shared + s->job_offset, job, size);
    return job_run(s, size, timeout_ns);
}
