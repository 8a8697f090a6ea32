/* See rollback.h: tasks as the verifier sends them, judged one after the other for as long as they go as most do. */

#include "rollback.h"

#include <stddef.h>
#include <string.h>

#define TEXT_BYTES 2000
#define WORTH_BYTES 4000 /* of a puzzle's source, that need not be compiled again: less costs less time than to go back to Python */

enum { ANSWER = 7, ACCEPTED = 12, REJECTED }; /* sandbox.wire.End */

/* What is told, in sandbox.wire: OUTCOME. */
struct __attribute__((packed)) outcome {
    uint8_t end, engine;
    double observed, cpu_seconds, wall_seconds;
    uint64_t peak_memory_bytes;
    uint16_t detail_size;
    uint32_t payload_size;
};

#define MOST_TOLD (2 * sizeof(struct outcome) + SHA256_BYTES + TEXT_BYTES)

/* For the loader to see that it was built from the same description of all these. */
const uint64_t rollback_sizes[] = {sizeof(struct state), sizeof(struct task), sizeof(struct phase), sizeof(struct outcome)};

/* Whether the last job has done nothing that needs a second look: printed, or taken too long. */
static int is_quiet(const struct state *s, double cpu_seconds)
{
    return !s->printed && s->cpu_ns <= cpu_seconds * 1e9;
}

/* Write an outcome of the last job, and what goes with it. Returns where it ends. */
static uint8_t *tell(const struct state *s, uint8_t *told, uint8_t end, const uint8_t *detail, uint64_t size, uint32_t payload)
{
    struct outcome outcome = {end, s->engine, 0, s->cpu_ns * 1e-9, s->wall_ns * 1e-9, s->resident, size, payload};
    memcpy(told, &outcome, sizeof outcome);
    memcpy(told + sizeof outcome, detail, size);
    return told + sizeof outcome + size;
}

/* Whether it is for us: no program, and with limits that leave a phase its moment and the memory that is there in any case. */
static int is_fit(const struct state *s, const struct task *task, uint64_t sources, int64_t moment_ns)
{
    double moment = moment_ns * 1e-9;
    return !task->program && task->cpu_seconds >= moment && task->wall_seconds >= moment && task->memory_bytes >= s->least_memory
        && sizeof(struct phase) + sources + MOST_PLAIN <= s->job_room && sources == (uint64_t)task->sat_size + task->sol_size;
}

/* Run a phase with its puzzle and the rest, and charge it for so much time before; returns what `job_run` does. */
static int run(struct state *s, struct phase head, const void *sat, const void *payload, int64_t moment_ns, int64_t before_ns)
{
    uint8_t *there = (uint8_t *)s->job.shared;
    memcpy(there, &head, sizeof head);
    memcpy(there + sizeof head, sat, head.sat_size);
    memcpy(there + sizeof head + head.sat_size, payload, head.payload_size);
    int stop = job_run(s, sizeof head + head.sat_size + head.payload_size, moment_ns);
    int64_t charged_ns = stop == DONE ? before_ns : -before_ns; /* while it is under way these are the clocks at its start */
    s->cpu_ns += charged_ns;
    s->wall_ns += charged_ns;
    return stop;
}

/* Judge the first task of these frames: DONE, and `*told` has moved behind the outcomes of both phases. Else, if the first phase has answered, `first_size`
   bytes of its outcome are there, and `answer` is it; and returned is what `job_run` returns of the phase that is under way, or UNFIT if none is. */
static int judge(struct state *s, const uint8_t *frames, uint64_t frames_size, int64_t moment_ns, uint8_t **told)
{
    struct task task;
    const struct ahead *ahead;
    uint32_t size;
    s->first_size = 0;
    memcpy(&size, frames, sizeof size);
    memcpy(&task, frames + sizeof size, sizeof task);
    if (!is_fit(s, &task, size - sizeof task, moment_ns))
        return UNFIT;
    int stop = ahead_look_up(s, frames, frames_size, moment_ns, &ahead);
    if (stop != DONE)
        return stop;
    const uint8_t *sat = frames + sizeof size + sizeof task, *sol = sat + task.sat_size, *report = s->report + REPORT_HEAD;
    struct phase head = {SOL, 0, 0, task.answer_bytes, task.seed, task.sat_size, task.sol_size};
    int64_t before_ns = 0;
    if (ahead && ahead->code_size && sizeof head + ahead->code_size + task.sol_size + MOST_PLAIN <= s->job_room) {
        head.which |= COMPILED;
        head.sat_size = ahead->code_size;
        sat = ahead->code;
        before_ns = ahead->cpu_ns;
    }
    s->print_room = task.output_bytes;
    stop = run(s, head, sat, sol, moment_ns, before_ns);
    uint64_t answer = s->report_size - REPORT_HEAD;
    if (stop != DONE || !is_quiet(s, task.cpu_seconds) || s->report[0] != 'A' || answer > MOST_PLAIN || answer > task.answer_bytes)
        return stop;
    if (!codec_is_plain(report, answer))
        return stop;
    uint8_t *at = tell(s, *told, ANSWER, report, 0, SHA256_BYTES);
    sha256(report, answer, at);
    at += SHA256_BYTES;
    s->first_size = at - *told;
    s->answer_size = answer;
    memcpy(s->answer, report, answer);
    head.which ^= SOL ^ SAT;
    head.payload_size = answer;
    stop = run(s, head, sat, s->answer, moment_ns, before_ns);
    uint64_t text = s->report_size - REPORT_HEAD;
    if (stop != DONE || !is_quiet(s, task.cpu_seconds))
        return stop;
    if (s->report[0] == 'T' && !text)
        *told = tell(s, at, ACCEPTED, report, 0, 0);
    else if (s->report[0] == 'F' && text <= TEXT_BYTES && codec_is_ascii(report, text))
        *told = tell(s, at, REJECTED, report, text, 0);
    return stop;
}

/* How many bytes of frames there are, from the first on, of tasks that differ in their solutions alone (sandbox.wire.setting); and whether they are so many,
   and their puzzle is so long, that it is better loaded once for them all: then that is not for us. */
static uint64_t alike(const uint8_t *frames, uint64_t size, int *is_worth_it)
{
    struct task task;
    uint32_t length;
    uint64_t at = 0, saved = 0, same = sizeof length + offsetof(struct task, program);
    memcpy(&task, frames + sizeof length, sizeof task);
    uint64_t common = sizeof length + sizeof task + task.sat_size;
    do {
        memcpy(&length, frames + at, sizeof length);
        at += sizeof length + length;
        *is_worth_it = saved >= WORTH_BYTES;
        saved += task.sat_size;
    } while (!*is_worth_it && at + common <= size && !memcmp(frames + same, frames + at + same, common - same));
    return at;
}

/* Judge the tasks in the frames, at most so many, for so long together, and no phase for more than a moment. Of each, `told` gets a frame of the `counters`
   and the outcomes. Returns MORE if there may be more to do here, or what `judge` returns of the first that went otherwise; UNFIT also if one should be
   judged together with the next.
   `judged` is how many are done, `taken` is how many bytes they were. There are whole frames only. */
static int judge_all(struct state *s, const uint8_t *frames, uint64_t size, const void *counters, uint64_t counters_size, uint64_t most, int64_t moment_ns,
    int64_t together_ns)
{
    int64_t until = job_clock_ns() + together_ns;
    uint64_t known = 0; /* up to there they are for us */
    s->judged = s->taken = s->told_size = s->first_size = s->cold_count = s->cold_kept = s->is_astray = 0;
    while (s->judged < most && s->cold_count <= s->most_pages && job_clock_ns() < until) {
        const uint8_t *frame = frames + s->taken;
        uint8_t *told = s->told + s->told_size, *start = told + sizeof(uint32_t) + counters_size, *end = start;
        uint32_t length;
        if (size - s->taken < sizeof length || (uint64_t)(start - s->told) + MOST_TOLD > s->told_room)
            return MORE;
        memcpy(&length, frame, sizeof length);
        if (length < sizeof(struct task))
            return UNFIT;
        int is_worth_it = 0;
        if (s->taken >= known)
            known = s->taken + alike(frame, size - s->taken, &is_worth_it);
        if (is_worth_it)
            return UNFIT;
        int stop = judge(s, frame, size - s->taken, moment_ns, &end);
        if (end == start)
            return stop;
        uint32_t told_length = end - start + counters_size;
        memcpy(told, &told_length, sizeof told_length);
        memcpy(told + sizeof told_length, counters, counters_size);
        s->told_size += sizeof told_length + told_length;
        s->taken += sizeof length + length;
        s->judged++;
    }
    return MORE;
}

/* `judge_all`, its waits all interrupted by one timer. */
int rollback_judge(struct state *s, const uint8_t *frames, uint64_t size, const void *counters, uint64_t counters_size, uint64_t most, int64_t moment_ns,
    int64_t together_ns)
{
    job_tick(s, moment_ns);
    int result = judge_all(s, frames, size, counters, counters_size, most, moment_ns, together_ns);
    job_tick(s, 0);
    return result;
}
