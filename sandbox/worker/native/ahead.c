/* See rollback.h: the puzzles of the next tasks, compiled together before they are judged.

   One job of the runner compiles them, and is put back as every job is: no code of a task runs in it, and no solution's source comes near it. The phases
   then begin with what was compiled, and each is charged for it as if it had done that itself: the time goes by the size of the source. What does not compile
   without a word, or takes far longer than its size accounts for, is left to the phases as it is: so no puzzle pays much for another. */

#include "rollback.h"

#include <string.h>

#define MOST_BYTES 4096  /* of sources that are compiled together */
#define MOST_ALONE 16384 /* of one alone */
#define LEAST_SAVED 400  /* bytes of source that the phases need not compile: less costs less time than another job */
#define PATIENCE 10      /* moments */
#define MOST_NS 10000    /* of CPU time for a byte of source; usual is 500, some more at first */

/* The puzzle's source of the task in this frame, and its size; NULL if it is no task. */
static const uint8_t *puzzle(const uint8_t *frame, uint32_t *size)
{
    uint32_t length;
    struct task task;
    memcpy(&length, frame, sizeof length);
    if (length < sizeof task)
        return NULL;
    memcpy(&task, frame + sizeof length, sizeof task);
    *size = task.sat_size;
    return task.program || length - sizeof task < task.sat_size ? NULL : frame + sizeof length + sizeof task;
}

/* List the different puzzles of these frames, as many as are to be compiled together. Returns how many bytes of source that saves; `bytes` is how many they are. */
static int64_t list(struct state *s, const uint8_t *frames, uint64_t size, uint64_t *bytes)
{
    uint64_t at = 0;
    int64_t saved = *bytes = 0;
    s->ahead_count = s->ahead_next = s->ahead_tasks = 0;
    while (at < size) {
        uint32_t length, sat_size = 0;
        const uint8_t *sat = puzzle(frames + at, &sat_size);
        if (!sat)
            break;
        const struct ahead *last = s->ahead_count ? &s->ahead[s->ahead_count - 1] : NULL;
        if (!last || last->size != sat_size || memcmp(last->sat, sat, sat_size)) {
            if (s->ahead_count == MOST_AHEAD || *bytes + sat_size > (last ? MOST_BYTES : MOST_ALONE))
                break;
            s->ahead[s->ahead_count++] = (struct ahead){memcpy(s->ahead_sats + *bytes, sat, sat_size), sat_size, NULL, 0, 0};
            *bytes += sat_size;
            saved -= sat_size;
        }
        saved += 2 * sat_size; /* both phases */
        s->ahead_tasks++;
        memcpy(&length, frames + at, sizeof length);
        at += sizeof length + length;
    }
    return saved;
}

/* Write a job of the listed puzzles; returns its size. */
static uint64_t write_job(const struct state *s)
{
    uint8_t *start = (uint8_t *)s->job.shared, *there = start + sizeof(struct phase);
    for (uint64_t i = 0; i < s->ahead_count; i++) {
        uint32_t size = s->ahead[i].size;
        memcpy(there, &size, sizeof size);
        memcpy(there + sizeof size, s->ahead[i].sat, size);
        there += sizeof size + size;
    }
    struct phase head = {COMPILE, 0, 0, 0, 0, there - start - sizeof head, 0};
    memcpy(start, &head, sizeof head);
    return there - start;
}

/* Take in what was compiled of so many bytes; nothing that is not reported as it should be, or took too long. */
static void take(struct state *s, uint64_t bytes)
{
    uint64_t at = REPORT_HEAD;
    uint32_t size;
    if (s->report[0] != 'C' || s->cpu_ns > MOST_NS * (int64_t)bytes)
        return;
    memcpy(s->ahead_codes, s->report, s->report_size);
    for (uint64_t i = 0; i < s->ahead_count && at + sizeof size <= s->report_size; i++, at += size) {
        memcpy(&size, s->ahead_codes + at, sizeof size);
        at += sizeof size;
        if (size > s->report_size - at)
            return;
        s->ahead[i].code = s->ahead_codes + at;
        s->ahead[i].code_size = size;
        s->ahead[i].cpu_ns = s->cpu_ns * (int64_t)s->ahead[i].size / (int64_t)bytes;
    }
}

/* What is known of this puzzle, which is listed no earlier than the last one that was asked for; or NULL. */
static const struct ahead *find(struct state *s, const uint8_t *sat, uint64_t size)
{
    for (; s->ahead_next < s->ahead_count; s->ahead_next++) {
        const struct ahead *one = &s->ahead[s->ahead_next];
        if (one->size == size && !memcmp(one->sat, sat, size))
            return one;
    }
    return NULL;
}

/* `found` is what is known of the puzzle of the first of these frames; if nothing is, it is compiled now, and with it those after it. DONE, or what `job_run`
   returns: then it is astray with them, and `ahead_tasks` tasks are better left to their phases. */
int ahead_look_up(struct state *s, const uint8_t *frames, uint64_t size, int64_t moment_ns, const struct ahead **found)
{
    uint32_t sat_size = 0;
    uint64_t bytes;
    const uint8_t *sat = puzzle(frames, &sat_size);
    *found = NULL;
    if (s->plain_tasks) {
        s->plain_tasks--;
        return DONE;
    }
    if (!sat || (*found = find(s, sat, sat_size)))
        return DONE;
    if (list(s, frames, size, &bytes) >= LEAST_SAVED) {
        s->print_room = 0;
        int stop = job_run(s, write_job(s), PATIENCE * moment_ns);
        s->is_astray = stop != DONE;
        if (s->is_astray)
            return stop;
        take(s, bytes);
    }
    *found = find(s, sat, sat_size);
    return DONE;
}
