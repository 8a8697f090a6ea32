/* See process.h: compile the puzzles of the next tasks together, before the tasks run.

   One job of the process compiles them, and is put back like every job: no code of a task runs in it, and it has no
   source of a solution. The phases then begin with the code, and each is charged for compiling as if it had done it
   itself: the job reports how long each took. A puzzle is left to its phases if it does not compile without a warning,
   or if marshal does not keep its constants (sandbox/worker/inside/phase.py). All are if they take
   too long together. */

#include "process.h"

#include <string.h>

#define MAX_BYTES 4096  /* of sources in one job */
#define MAX_ALONE 16384 /* of one source alone in a job */
#define MIN_SAVED 400   /* bytes of source that the phases need not compile: for fewer a job does not pay */
#define JOB_TIMEOUTS 10 /* a job may take so many times as long as a phase */

struct __attribute__((packed)) entry { uint32_t size, nanoseconds; }; /* precedes each code in the report */

/* Return the puzzle's source of the task in this frame, and its size; NULL if it is none. */
static const uint8_t *puzzle(const uint8_t *frame, uint32_t *size)
{
    uint32_t length;
    struct task task;
    memcpy(&length, frame, sizeof length);
    if (length < sizeof task)
        return NULL;
    memcpy(&task, frame + sizeof length, sizeof task);
    *size = task.sat_size;
    return task.kind || length - sizeof task < task.sat_size ? NULL : frame + sizeof length + sizeof task;
}

/* List the different puzzles of these frames, as many as one job compiles. Returns how many bytes of source that saves.
   `bytes` is the size of the sources, `tasks` the number of tasks that have them. */
static int64_t list(struct state *s, const uint8_t *frames, uint64_t size, uint64_t *bytes, uint64_t *tasks)
{
    uint64_t at = 0;
    int64_t saved = *bytes = *tasks = 0;
    s->compiled_count = s->compiled_next = 0;
    while (at < size) {
        uint32_t length, sat_size = 0;
        const uint8_t *sat = puzzle(frames + at, &sat_size);
        if (!sat)
            break;
        const struct compiled *last = s->compiled_count ? &s->compiled[s->compiled_count - 1] : NULL;
        if (!last || last->sat_size != sat_size || memcmp(last->sat, sat, sat_size)) {
            if (s->compiled_count == MAX_COMPILED || *bytes + sat_size > (last ? MAX_BYTES : MAX_ALONE))
                break;
            uint8_t *source = memcpy((uint8_t *)s->sources + *bytes, sat, sat_size);
            s->compiled[s->compiled_count++] = (struct compiled){source, sat_size, NULL, 0, 0};
            *bytes += sat_size;
            saved -= sat_size;
        }
        saved += 2 * sat_size; /* both phases */
        ++*tasks;
        memcpy(&length, frames + at, sizeof length);
        at += sizeof length + length;
    }
    return saved;
}

/* Write a job that compiles the listed puzzles. Returns its size. */
static uint64_t write_job(const struct state *s)
{
    uint8_t *start = (uint8_t *)s->shared + s->job_offset, *there = start + sizeof(struct phase_head);
    for (uint64_t i = 0; i < s->compiled_count; i++) {
        uint32_t size = s->compiled[i].sat_size;
        memcpy(there, &size, sizeof size);
        memcpy(there + sizeof size, s->compiled[i].sat, size);
        there += sizeof size + size;
    }
    struct phase_head head = {PHASE_COMPILE, 0, 0, 0, 0, there - start - sizeof head, 0};
    memcpy(start, &head, sizeof head);
    return there - start;
}

/* Read the job's report; entries after a malformed one are ignored. */
static void read_report(struct state *s)
{
    const uint8_t *report = s->report;
    uint8_t *codes = s->codes;
    struct entry entry;
    uint64_t at = REPORT_HEAD;
    int64_t total_ns = 0;
    if (report[0] != 'C')
        return;
    memcpy(codes, report, s->report_size);
    for (uint64_t i = 0; i < s->compiled_count && at + sizeof entry <= s->report_size; i++, at += entry.size) {
        memcpy(&entry, codes + at, sizeof entry);
        at += sizeof entry;
        if (entry.size > s->report_size - at)
            break;
        s->compiled[i].code = codes + at;
        s->compiled[i].code_size = entry.size;
        s->compiled[i].cpu_ns = entry.nanoseconds;
        total_ns += entry.nanoseconds;
    }
    /* The report has elapsed times, which others may have prolonged: each puzzle gets its share of the CPU time. */
    for (uint64_t i = 0; i < s->compiled_count; i++)
        s->compiled[i].cpu_ns = total_ns ? s->cpu_ns * (double)s->compiled[i].cpu_ns / total_ns : 0;
}

/* Return the entry of this puzzle if it is listed at or after the last one asked for; else NULL. */
static const struct compiled *find(struct state *s, const uint8_t *sat, uint64_t size)
{
    for (; s->compiled_next < s->compiled_count; s->compiled_next++) {
        const struct compiled *one = &s->compiled[s->compiled_next];
        if (one->sat_size == size && !memcmp(one->sat, sat, size))
            return one;
    }
    return NULL;
}

/* Find the entry of the first frame's puzzle. If there is none, compile it and those after it. Returns 0 or
   STOP_FAILED. */
int precompile_look_up(struct state *s, const uint8_t *frames, uint64_t size, int64_t timeout_ns,
    const struct compiled **found)
{
    uint32_t sat_size = 0;
    uint64_t bytes, tasks;
    const uint8_t *sat = puzzle(frames, &sat_size);
    *found = NULL;
    if (s->precompile_failed) {
        s->precompile_failed--;
        return 0;
    }
    if (!sat || (*found = find(s, sat, sat_size)))
        return 0;
    if (list(s, frames, size, &bytes, &tasks) < MIN_SAVED)
        return 0;
    s->print_limit = 0;
    int stop = job_run(s, write_job(s), JOB_TIMEOUTS * timeout_ns);
    if (stop == STOP_DONE)
        read_report(s);
    else if (job_abandon(s, stop))
        return STOP_FAILED;
    else
        s->precompile_failed = tasks - 1;
    *found = find(s, sat, sat_size);
    return 0;
}
