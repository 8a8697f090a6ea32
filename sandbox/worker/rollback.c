/* The inner loop of the snapshot engine: the same steps as Tracee and Memory take in Python, without the interpreter between them.

   It decides nothing that they don't, but for leaving out a search that could find nothing: what is not in its tables goes back to
   Python. Linux on x86-64 only. Used by sandbox/worker/rollback.py, which mirrors `struct state`. */

#if !defined(__linux__) || !defined(__x86_64__)
#error "Linux on x86-64 only"
#endif

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGEMAP_SCAN 0xC0606610
#define UFFDIO_WRITEPROTECT 0xC018AA06
#define NT_X86_XSTATE 0x202
#define MOST_REGIONS 128 /* a scan: the kernel allocates as much room each time */
#define MOST_SPANS 1024
#define CALLS 512
#define REPORT_HEAD 9 /* sandbox.wire.REPORT */

enum { TIMEOUT, CALL, SIGNAL, INTERRUPT, DEAD, REPORT, FAILED, DONE };
enum { ASK, PASS, WRITE };
enum { IN_ATTIC = 1, HOT };
enum { NOT_RESTORED = -1, LEFT_TO_PYTHON = -2 };

struct region { uint64_t start, end, categories; };
struct scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, returned; };
struct step { uint64_t start, end, mask, anyof; };
struct span { uint64_t start, end, copy, shared; }; /* the copy, and the span itself, in this process */
struct put_back { uint64_t there, size, copy, shared; };
struct piece { uint64_t start, attic; }; /* where it was, and where it is kept */
struct protect { uint64_t start, length, mode; };

struct state {
    int32_t pid, pagemap, memory, uffd, report_fd, loads_extended; /* the last: when it goes on it loads the extended registers itself */
    struct put_back job;                    /* where jobs are written, and how much of it the last one took */
    struct user_regs_struct ready, now;     /* at the moment of waiting, and at the last stop */
    struct iovec extended;
    uint64_t steps_count, protected_count, hot_count, attic_count, most_pages;
    const struct step *steps;
    const struct span *protected;           /* sorted */
    const struct put_back *hot_spans;
    const struct piece *attic;              /* sorted */
    uint8_t *kinds;                         /* of each page with a copy: 0, IN_ATTIC or HOT */
    uint64_t copies;                        /* where the first one is */
    uint8_t *actions;                       /* by number of the call: ASK, PASS or WRITE */
    uint64_t printed;                       /* what went to descriptors 1 and 2 */
    uint8_t *report;
    uint64_t report_room, report_size;
    uint64_t cold_count;                    /* pages put back by the last restore, hot ones apart */
    uint64_t *cold;
    uint64_t marked_count, marked_hot;      /* spans that `rollback_unmark` puts back; the first of them are hot */
    struct put_back *marked;
    uint8_t *unmarked;                      /* what they held before, one behind the other */
    uint64_t faults, faults_seen;           /* of the tracee: at its last stop, and when it was last put back */
    int64_t cpu_seen_ns;                    /* CPU time that the tracee has used, at its last stop */
    int64_t cpu_ns, wall_ns;                /* clocks at the start of the last job; what it took if that is DONE */
    struct region regions[MOST_REGIONS];
};

/* For the loader to see that it was built from the same description of `struct state`. */
const uint64_t rollback_state_size = sizeof(struct state);

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

/* The index of the protected span that holds these addresses, or -1. */
static int64_t find(const struct state *s, uint64_t start, uint64_t end)
{
    int64_t low = 0, high = (int64_t)s->protected_count - 1;
    while (low <= high) {
        int64_t middle = (low + high) / 2;
        if (end <= s->protected[middle].start)
            high = middle - 1;
        else if (start >= s->protected[middle].end)
            low = middle + 1;
        else
            return start >= s->protected[middle].start && end <= s->protected[middle].end ? middle : -1;
    }
    return -1;
}

static uint8_t *kind(const struct state *s, const struct span *span, uint64_t page)
{
    return &s->kinds[(span->copy + page - span->start - s->copies) / PAGE];
}

static int64_t wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

/* The job is written to memory that is shared, where the tracee's own page table does not show it: it is put back every time. */
static int start(struct state *s, const void *job, uint64_t size)
{
    s->report_size = 0;
    s->cpu_ns = s->cpu_seen_ns;
    s->wall_ns = wall_ns();
    s->job.size = size;
    memcpy((void *)s->job.shared, job, size);
    return resume_with(s, &s->ready, size);
}

/* Part of its memory, from where it is shared if that can be told at a glance. 0, or NOT_RESTORED if it can't be read. */
static int read_there(const struct state *s, uint64_t address, uint64_t size, void *here)
{
    int64_t index = address + size > address ? find(s, address, address + size) : -1;
    if (index >= 0) {
        memcpy(here, (void *)(s->protected[index].shared + address - s->protected[index].start), size);
        return 0;
    }
    struct iovec local = {here, size}, there = {(void *)address, size};
    return process_vm_readv(s->pid, &local, 1, &there, 1, 0) == (ssize_t)size ? 0 : NOT_RESTORED;
}

/* A write: to 1 and 2 it is counted, to the report's descriptor it is taken in; less than the head of a report waits for more. */
static int take_write(struct state *s)
{
    uint64_t fd = s->now.rdi, size = s->now.rdx;
    if (fd == 1 || fd == 2) {
        s->printed += size;
        return resume_with(s, &s->now, size);
    }
    if (fd != (uint64_t)s->report_fd || size > s->report_room - s->report_size)
        return CALL;
    if (read_there(s, s->now.rsi, size, s->report + s->report_size))
        return CALL;
    s->report_size += size;
    return s->report_size < REPORT_HEAD ? resume_with(s, &s->now, size) : REPORT;
}

int rollback_report_taken(struct state *s)
{
    s->report_size = 0;
    return resume_with(s, &s->now, s->now.rdx);
}

/* What the tracee stops for that is not dealt with here, or TIMEOUT. SIGCHLD is blocked. */
int rollback_wait(struct state *s, int64_t timeout_ns)
{
    sigset_t child;
    struct timespec left = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int64_t end = wall_ns() + timeout_ns;
    for (;;) {
        int status;
        sigtimedwait(&child, NULL, &left); /* may be another child's, or an old one */
        struct rusage usage;
        pid_t pid = wait4(s->pid, &status, WNOHANG | __WALL, &usage);
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
        int64_t rest = end - wall_ns();
        if (rest <= 0)
            return TIMEOUT;
        left.tv_sec = rest / 1000000000;
        left.tv_nsec = rest % 1000000000;
    }
}

/* Copy a page from the attic. */
static int fetch(const struct state *s, uint64_t page, uint64_t copy)
{
    const struct piece *piece = s->attic;
    while (piece + 1 < s->attic + s->attic_count && piece[1].start <= page)
        piece++;
    return pread(s->memory, (void *)copy, PAGE, page - piece->start + piece->attic) == PAGE ? 0 : NOT_RESTORED;
}

/* Add the written pages of a region that are not hot to `cold` and, joined where they touch, to the spans to put back. */
static int take_region(struct state *s, const struct region *region, struct put_back *spans, uint64_t *spans_count)
{
    int64_t index = find(s, region->start, region->end);
    if (index < 0)
        return LEFT_TO_PYTHON;
    const struct span *span = &s->protected[index];
    for (uint64_t page = region->start; page < region->end; page += PAGE) {
        uint64_t at = page - span->start;
        uint8_t *what = kind(s, span, page);
        if (*what == HOT)
            continue;
        if (s->cold_count == s->most_pages)
            return LEFT_TO_PYTHON;
        if (*what == IN_ATTIC && fetch(s, page, span->copy + at))
            return NOT_RESTORED;
        *what = 0;
        s->cold[s->cold_count++] = page;
        struct put_back *last = *spans_count ? &spans[*spans_count - 1] : NULL;
        if (last && last->there + last->size == page && at) {
            last->size += PAGE;
            continue;
        }
        if (*spans_count == MOST_SPANS)
            return LEFT_TO_PYTHON;
        spans[(*spans_count)++] = (struct put_back){page, PAGE, span->copy + at, span->shared + at};
    }
    return 0;
}

/* List the written pages that are not hot. The first write to each was a fault of the tracee (from here nothing is written to them but what was
   there), so if it had none since it was last put back there are none. Counted by the kernel: mm_account_fault (mm/memory.c), man 2 wait4. */
static int collect(struct state *s, struct put_back *spans, uint64_t *spans_count)
{
    s->cold_count = 0;
    if (s->faults_seen == s->faults)
        return 0;
    for (uint64_t i = 0; i < s->steps_count; i++) {
        const struct step *step = &s->steps[i];
        struct scan scan = {
            sizeof scan, 0, step->start, step->end, 0, (uint64_t)s->regions, MOST_REGIONS, 0, 0, step->mask, step->anyof, 2};
        int count;
        do {
            count = ioctl(s->pagemap, PAGEMAP_SCAN, &scan);
            if (count < 0)
                return NOT_RESTORED;
            for (int r = 0; r < count; r++) {
                int result = take_region(s, &s->regions[r], spans, spans_count);
                if (result)
                    return result;
            }
            scan.start = scan.walk_end;
        } while (count == MOST_REGIONS);
    }
    return 0;
}

static void put_back(const struct put_back *spans, uint64_t spans_count)
{
    for (uint64_t i = 0; i < spans_count; i++)
        memcpy((void *)spans[i].shared, (void *)spans[i].copy, spans[i].size);
}

static int protect(const struct state *s, const struct put_back *spans, uint64_t spans_count)
{
    for (uint64_t i = 0; i < spans_count; i++) {
        struct protect protect = {spans[i].there, spans[i].size, 1};
        if (ioctl(s->uffd, UFFDIO_WRITEPROTECT, &protect) < 0)
            return NOT_RESTORED;
    }
    return 0;
}

/* Let `rollback_restore` put back what is there now, until `rollback_unmark`. The caller sees to the registers. */
int rollback_mark(struct state *s)
{
    struct put_back spans[MOST_SPANS];
    uint64_t count = 0;
    int result = collect(s, spans, &count);
    if (result)
        return result;
    uint8_t *unmarked = s->unmarked;
    s->marked_count = 0;
    s->marked_hot = s->hot_count + 1;
    for (uint64_t i = 0; i < s->marked_hot + count; i++) {
        struct put_back span = i < s->hot_count ? s->hot_spans[i] : i == s->hot_count ? s->job : spans[i - s->marked_hot];
        memcpy(unmarked, (void *)span.copy, span.size);
        unmarked += span.size;
        s->marked[s->marked_count++] = span;
        memcpy((void *)span.copy, (void *)span.shared, span.size);
    }
    s->faults_seen = s->faults;
    s->job.size = 0;
    return protect(s, spans, count);
}

/* In reverse: where spans overlap, the first of them holds what was there before all. */
int rollback_unmark(struct state *s)
{
    const uint8_t *unmarked = s->unmarked;
    for (uint64_t i = 0; i < s->marked_count; i++)
        unmarked += s->marked[i].size;
    for (uint64_t i = s->marked_count; i-- > 0;) {
        unmarked -= s->marked[i].size;
        memcpy((void *)s->marked[i].copy, unmarked, s->marked[i].size);
    }
    put_back(s->marked, s->marked_count);
    return protect(s, s->marked + s->marked_hot, s->marked_count - s->marked_hot);
}

static int restore_memory(struct state *s)
{
    struct put_back spans[MOST_SPANS];
    uint64_t count = 0;
    memcpy((void *)s->job.shared, (void *)s->job.copy, s->job.size);
    int result = collect(s, spans, &count);
    if (result)
        return result;
    put_back(s->hot_spans, s->hot_count);
    put_back(spans, count);
    if (protect(s, spans, count))
        return NOT_RESTORED;
    s->faults_seen = s->faults;
    return 0;
}

/* Put memory and extended registers back. 0, or NOT_RESTORED, or LEFT_TO_PYTHON: then nothing but the job was changed. */
int rollback_restore(struct state *s)
{
    int result = restore_memory(s);
    if (result)
        return result;
    return ptrace(PTRACE_SETREGSET, s->pid, NT_X86_XSTATE, &s->extended) < 0 ? NOT_RESTORED : 0;
}

/* Whether it has written a whole report, and not one of a lack of memory, of which there is more to find out. */
static int has_reported(const struct state *s)
{
    uint64_t size;
    memcpy(&size, s->report + REPORT_HEAD - sizeof size, sizeof size);
    return s->report_size - REPORT_HEAD == size && s->report[0] != 'm' && s->report[0] != 'n';
}

/* Start, wait, and, if a report is what comes, restore: DONE. Else what `rollback_wait` returns.

   What can keep a tracee from loading its extended registers, it can hardly have done on the way to a report; if it has, the next job has a fault,
   and is put back with them. */
int rollback_run(struct state *s, const void *job, uint64_t size, int64_t timeout_ns)
{
    int stop = start(s, job, size);
    if (stop == TIMEOUT)
        stop = rollback_wait(s, timeout_ns);
    if (stop != REPORT || !has_reported(s))
        return stop;
    int64_t reported = wall_ns();
    if (s->loads_extended ? restore_memory(s) : rollback_restore(s))
        return stop;
    s->cpu_ns = s->cpu_seen_ns - s->cpu_ns;
    s->wall_ns = reported - s->wall_ns;
    return DONE;
}
