/* See process.h: tasks as the verifier sends them, judged one after the other for as long as they go as most do. */

#include "process.h"

#include <string.h>

#define MAX_RESULT_BYTES (2 * sizeof(struct outcome) + DIGEST_BYTES + TEXT_BYTES)

/* For the loader to see that it was built from the same description (shared.h). */
const uint32_t shared_digest = SHARED_DIGEST;

/* Whether the last job has done nothing that needs a second look: printed, or taken too long. */
static int is_quiet(const struct state *s, double cpu_seconds)
{
    return !s->printed && s->cpu_ns <= cpu_seconds * 1e9;
}

/* Write an outcome of the last job, and what goes with it. Returns where it ends. */
static uint8_t *write_outcome(const struct state *s, uint8_t *result, uint8_t end, const uint8_t *detail, uint64_t size, uint32_t payload)
{
    uint64_t peak = s->resident + s->pages * PAGE;
    struct outcome outcome = {end, ENGINE_SNAPSHOT, 0, s->cpu_ns * 1e-9, s->wall_ns * 1e-9, peak, size, payload};
    memcpy(result, &outcome, sizeof outcome);
    memcpy(result + sizeof outcome, detail, size);
    return result + sizeof outcome + size;
}

/* Whether it is for us: no program, and with limits that leave a phase its timeout and the memory that is there in any case. */
static int is_fit(const struct state *s, const struct task *task, uint64_t sources, int64_t timeout_ns)
{
    double timeout = timeout_ns * 1e-9;
    return !task->program && task->cpu_seconds >= timeout && task->wall_seconds >= timeout && task->memory_bytes >= s->min_memory
        && sizeof(struct phase_head) + sources + s->answer_capacity <= s->job_capacity && sources == (uint64_t)task->sat_size + task->sol_size;
}

/* Run a phase with its puzzle and the rest, and charge it for so much time before; returns what `job_run` does. */
static int run(struct state *s, struct phase_head head, const void *sat, const void *payload, int64_t timeout_ns, int64_t before_ns)
{
    uint8_t *there = (uint8_t *)s->shared + s->job_offset;
    memcpy(there, &head, sizeof head);
    memcpy(there + sizeof head, sat, head.sat_size);
    memcpy(there + sizeof head + head.sat_size, payload, head.payload_size);
    s->phase = head.which & ~PHASE_COMPILED;
    int stop = job_run(s, sizeof head + head.sat_size + head.payload_size, timeout_ns);
    int64_t charged_ns = stop == STOP_DONE ? before_ns : -before_ns; /* while it is under way these are the clocks at its start */
    s->cpu_ns += charged_ns;
    s->wall_ns += charged_ns;
    return stop;
}

/* Judge the first task of these frames: STOP_DONE, and `*result` has moved behind the outcomes of both phases, or behind that of the first: then the second is
   under way, or over. Returned else is what `job_run` returns of that `phase`, or STOP_UNFIT if none is. */
static int execute_task(struct state *s, const uint8_t *frames, uint64_t frames_size, int64_t timeout_ns, uint8_t **result)
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
    const uint8_t *sat = frames + sizeof size + sizeof task, *sol = sat + task.sat_size, *report = (uint8_t *)s->report + REPORT_HEAD;
    struct phase_head head = {PHASE_SOL, 0, 0, task.answer_bytes, task.seed, task.sat_size, task.sol_size};
    int64_t before_ns = 0;
    if (compiled && compiled->code_size && sizeof head + compiled->code_size + task.sol_size + s->answer_capacity <= s->job_capacity) {
        head.which |= PHASE_COMPILED;
        head.sat_size = compiled->code_size;
        sat = compiled->code;
        before_ns = compiled->cpu_ns;
    }
    s->print_limit = task.output_bytes;
    int stop = run(s, head, sat, sol, timeout_ns, before_ns);
    uint64_t answer = s->report_size - REPORT_HEAD;
    if (stop != STOP_DONE || !is_quiet(s, task.cpu_seconds) || report[-REPORT_HEAD] != 'A' || answer > s->answer_capacity
        || answer > task.answer_bytes || codec_check(report, answer))
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

/* Judge the tasks in the frames, at most so many, for so long together, and no phase for more than a timeout. Of each, `result` gets a frame of the `counters`
   and the outcomes. Returns STOP_MORE if there may be more to do here, or what `judge` returns of the first that went otherwise; if its first phase is
   over, `result` has a frame of that one's outcome, too. `judged` is how many are done, `taken` is how many bytes they were. There are whole frames only. */
static int execute_batch(struct state *s, const uint8_t *frames, uint64_t size, const void *counters, uint64_t counters_size, uint64_t most, int64_t timeout_ns,
    int64_t batch_ns)
{
    int64_t until = job_clock_ns() + batch_ns;
    s->executed = s->consumed = s->results_size = s->written_count = s->phase = s->suspect = 0;
    while (s->executed < most && job_clock_ns() < until) {
        const uint8_t *frame = frames + s->consumed;
        uint8_t *result = (uint8_t *)s->results + s->results_size, *start = result + sizeof(uint32_t) + counters_size, *end = start;
        uint32_t length;
        if (size - s->consumed < sizeof length || s->results_size + sizeof length + counters_size + MAX_RESULT_BYTES > s->results_capacity)
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

/* `execute_batch`, its waits all interrupted by one timer. */
int process_execute(struct state *s, const uint8_t *frames, uint64_t size, const void *counters, uint64_t counters_size, uint64_t most, int64_t timeout_ns,
    int64_t batch_ns)
{
    job_tick(s, timeout_ns);
    int result = execute_batch(s, frames, size, counters, counters_size, most, timeout_ns, batch_ns);
    job_tick(s, 0);
    return result;
}
