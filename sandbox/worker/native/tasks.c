/* See process.h: run tasks in the order of their frames, while they go the usual way. */

#include "process.h"

#include <string.h>

#define MAX_RESULT_BYTES (2 * sizeof(struct outcome) + DIGEST_BYTES + TEXT_BYTES)

/* Lets the loader check that the library was built from the same description (shared.h). */
const uint32_t shared_digest = SHARED_DIGEST;

/* Return 1 if the last job has printed nothing and stayed within its CPU time. */
static int is_quiet(const struct state *s, double cpu_seconds)
{
    return !s->printed && s->cpu_ns <= cpu_seconds * 1e9;
}

/* Write an outcome of the last job and its detail. Returns where it ends. */
static uint8_t *write_outcome(const struct state *s, uint8_t *result, uint8_t end, const uint8_t *detail, uint64_t size,
    uint32_t payload)
{
    uint64_t peak = s->resident + s->pages * PAGE;
    struct outcome outcome = {end, ENGINE_SNAPSHOT, s->phase, NO_CASE, 0, s->cpu_ns * 1e-9, s->wall_ns * 1e-9, peak,
        size, payload};
    memcpy(result, &outcome, sizeof outcome);
    memcpy(result + sizeof outcome, detail, size);
    return result + sizeof outcome + size;
}

/* Return 1 if a task can run here: it is a puzzle, it fits, and its limits leave a phase its timeout and memory. */
static int is_fit(const struct state *s, const struct task *task, uint64_t sources, int64_t timeout_ns)
{
    double timeout = timeout_ns * 1e-9;
    return !task->kind && task->cpu_seconds >= timeout && task->wall_seconds >= timeout
        && task->memory_bytes >= s->min_memory && sources == (uint64_t)task->sat_size + task->sol_size
        && sizeof(struct phase_head) + sources + s->answer_capacity <= s->job_capacity;
}

/* Run a phase, and charge it for the time that compiling its puzzle took before. Returns what `job_run` does. */
static int run(struct state *s, struct phase_head head, const void *sat, const void *payload, int64_t timeout_ns,
    int64_t before_ns)
{
    uint8_t *there = (uint8_t *)s->shared + s->job_offset;
    memcpy(there, &head, sizeof head);
    memcpy(there + sizeof head, sat, head.sat_size);
    memcpy(there + sizeof head + head.sat_size, payload, head.payload_size);
    s->phase = head.which & ~PHASE_COMPILED;
    int stop = job_run(s, sizeof head + head.sat_size + head.payload_size, timeout_ns);
    int64_t charged_ns = stop == STOP_DONE ? before_ns : -before_ns; /* while it runs these are clocks at its start */
    s->cpu_ns += charged_ns;
    s->wall_ns += charged_ns;
    return stop;
}

/* Run the first task of these frames. STOP_DONE: `*result` is behind the outcomes of both phases, or behind the first's
   if the second has run and needs another look. Else returns what `job_run` does for `phase`, or STOP_UNFIT if none was
   started. */
static int execute_task(struct state *s, const uint8_t *frames, uint64_t frames_size, int64_t timeout_ns,
    uint8_t **result)
{
    struct task task;
    const struct compiled *compiled;
    uint32_t size;
    s->phase = 0;
    memcpy(&size, frames, sizeof size);
    memcpy(&task, frames + sizeof size, sizeof task);
    if (!is_fit(s, &task, size - sizeof task, timeout_ns))
        return STOP_UNFIT;
    if (precompile_look_up(s, frames, frames_size, timeout_ns, &compiled))
        return STOP_FAILED;
    const uint8_t *sat = frames + sizeof size + sizeof task, *sol = sat + task.sat_size;
    const uint8_t *report = (uint8_t *)s->report + REPORT_HEAD;
    struct phase_head head = {PHASE_SOL, 0, 0, task.answer_bytes, task.seed, task.sat_size, task.sol_size};
    int64_t before_ns = 0;
    if (compiled && compiled->code_size
        && sizeof head + compiled->code_size + task.sol_size + s->answer_capacity <= s->job_capacity) {
        head.which |= PHASE_COMPILED;
        head.sat_size = compiled->code_size;
        sat = compiled->code;
        before_ns = compiled->cpu_ns;
    }
    s->print_limit = task.output_bytes;
    int stop = run(s, head, sat, sol, timeout_ns, before_ns);
    uint64_t answer = s->report_size - REPORT_HEAD;
    if (stop != STOP_DONE || !is_quiet(s, task.cpu_seconds) || report[-REPORT_HEAD] != 'A'
        || answer > s->answer_capacity || answer > task.answer_bytes || codec_check(report, answer))
        return stop;
    uint8_t *at = write_outcome(s, *result, END_ANSWER, report, 0, DIGEST_BYTES);
    sha256(report, answer, at);
    at += DIGEST_BYTES;
    *result = at;
    s->answer_size = answer;
    memcpy(s->answer, report, answer);
    head.which ^= PHASE_SOL ^ PHASE_SAT;
    head.payload_size = answer;
    stop = run(s, head, sat, s->answer, timeout_ns, before_ns);
    uint64_t text = s->report_size - REPORT_HEAD;
    if (stop != STOP_DONE || !is_quiet(s, task.cpu_seconds))
        return stop;
    if (report[-REPORT_HEAD] == 'T' && !text)
        *result = write_outcome(s, at, END_ACCEPTED, report, 0, 0);
    else if (report[-REPORT_HEAD] == 'F' && text <= TEXT_BYTES && codec_is_ascii(report, text))
        *result = write_outcome(s, at, END_REJECTED, report, text, 0);
    else
        return stop;
    s->phase = 0;
    return stop;
}

/* Run the tasks in whole frames, at most `most`, starting none after `batch_ns`. Writes for each a frame of `counters`
   and outcomes to `results`; `executed` is the number of tasks done and `consumed` the bytes of their frames. Returns
   STOP_MORE if more may be done here, or what `execute_task` returns of the first task that does not go the usual way.
   If that task's first phase is over, `results` has a frame of its outcome too. */
static int execute_batch(struct state *s, const uint8_t *frames, uint64_t size, const void *counters,
    uint64_t counters_size, uint64_t most, int64_t timeout_ns, int64_t batch_ns)
{
    int64_t until = job_clock_ns() + batch_ns;
    s->executed = s->consumed = s->results_size = s->written_count = s->phase = s->suspect = 0;
    while (s->executed < most && job_clock_ns() < until) {
        const uint8_t *frame = frames + s->consumed;
        uint8_t *result = (uint8_t *)s->results + s->results_size;
        uint8_t *start = result + sizeof(uint32_t) + counters_size, *end = start;
        uint32_t length;
        if (size - s->consumed < sizeof length
            || s->results_size + sizeof length + counters_size + MAX_RESULT_BYTES > s->results_capacity)
            return STOP_MORE;
        memcpy(&length, frame, sizeof length);
        if (length < sizeof(struct task))
            return STOP_UNFIT;
        int stop = execute_task(s, frame, size - s->consumed, timeout_ns, &end);
        if (end > start) {
            uint32_t result_size = end - start + counters_size;
            memcpy(result, &result_size, sizeof result_size);
            memcpy(result + sizeof result_size, counters, counters_size);
            s->results_size += sizeof result_size + result_size;
        }
        if (s->phase || stop != STOP_DONE)
            return stop;
        s->consumed += sizeof length + length;
        s->executed++;
    }
    return STOP_MORE;
}

/* Call `execute_batch` with one timer that interrupts all its waits. */
int process_execute(struct state *s, const uint8_t *frames, uint64_t size, const void *counters,
    uint64_t counters_size, uint64_t most, int64_t timeout_ns, int64_t batch_ns)
{
    job_tick(s, timeout_ns);
    int result = execute_batch(s, frames, size, counters, counters_size, most, timeout_ns, batch_ns);
    job_tick(s, 0);
    return result;
}
