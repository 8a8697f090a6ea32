/* See process.h: pass calls from the tests' process to the solution's, and results back, while nothing else is to be
   done: each is a whole message, the encoding is right, and neither process needs another look. */

#include "process.h"

#include <string.h>

#define CALL_HEAD 5 /* of a request: X and the case */


/* Return the size of the message that a process has just sent, if it is whole and begins with X; else 0. */
static uint64_t message_size(const struct state *s, uint64_t most)
{
    const uint8_t *report = s->report;
    uint64_t size;
    if (s->report_size <= REPORT_HEAD || report[0] != 'M' || report[REPORT_HEAD] != 'X')
        return 0;
    memcpy(&size, report + REPORT_HEAD - sizeof size, sizeof size);
    return size == s->report_size - REPORT_HEAD && size <= most && size + sizeof size <= s->job_capacity ? size : 0;
}

/* Charge what was used since the last case began to that case, and begin another. Returns 0 if there is no room. */
static int begin_case(struct relayed *r, const struct state *tests, const struct state *solution, uint32_t number,
    const int64_t *cpu_before)
{
    const int64_t cpu[] = {tests->cpu_seen_ns - cpu_before[0], solution->cpu_seen_ns - cpu_before[1]};
    if (number < r->number || number >= r->most_cases || r->cases == RELAYED_CASES)
        return 0;
    r->numbers[r->cases] = r->number;
    r->cpu_ns[r->cases] = r->wall_ns[r->cases] = 0;
    for (int which = 0; which < 2; which++) {
        r->cpu_ns[r->cases] += cpu[which] - r->charged_cpu_ns[which];
        r->wall_ns[r->cases] += r->ran_ns[which] - r->charged_wall_ns[which];
        r->charged_cpu_ns[which] = cpu[which];
        r->charged_wall_ns[which] = r->ran_ns[which];
    }
    r->cases++;
    r->number = number;
    return 1;
}

/* Send a message, and wait for what comes of it. */
static int take_turn(struct relayed *r, struct state *s, int which, const uint8_t *message, uint64_t size,
    int64_t end_ns)
{
    int64_t began = job_clock_ns();
    r->is_solution = which;
    int stop = process_answer(s, message, size, end_ns > began ? end_ns - began : 0);
    r->ran_ns[which] += job_clock_ns() - began;
    return stop;
}

/* The tests' process has sent a message, and the solution's waits for one. Returns STOP_UNFIT if that message has to be
   looked at; else what `process_wait` does for the process that `is_solution` tells: the other one waits for its
   answer. */
static int relay(struct state *tests, struct state *solution, struct relayed *r, int64_t timeout_ns)
{
    const int64_t end = job_clock_ns() + timeout_ns, cpu_before[] = {tests->cpu_seen_ns, solution->cpu_seen_ns};
    int stop = STOP_UNFIT;
    do {
        uint8_t *message = (uint8_t *)tests->report + REPORT_HEAD;
        uint64_t size = message_size(tests, r->most);
        uint32_t number;
        if (size < CALL_HEAD)
            return stop;
        memcpy(&number, message + 1, sizeof number);
        if (number != r->number && !begin_case(r, tests, solution, number, cpu_before))
            return stop;
        message += CALL_HEAD - 1;
        *message = 'X';
        stop = take_turn(r, solution, 1, message, size - (CALL_HEAD - 1), end);
        message = (uint8_t *)solution->report + REPORT_HEAD;
        if (stop != STOP_REPORT || !(size = message_size(solution, r->most))
            || codec_check_extended(message + 1, size - 1))
            return stop;
        stop = take_turn(r, tests, 0, message, size, end);
    } while (stop == STOP_REPORT && job_clock_ns() < end);
    return stop;
}

/* Call `relay` with one timer that interrupts all its waits. */
int process_relay(struct state *tests, struct state *solution, struct relayed *r, int64_t timeout_ns)
{
    job_tick(tests, timeout_ns);
    solution->ticks = tests->ticks;
    int stop = relay(tests, solution, r, timeout_ns);
    job_tick(tests, 0);
    solution->ticks = 0;
    return stop;
}
