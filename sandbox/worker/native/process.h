/* The inner loop of the snapshot engine, which would be too slow in Python. Linux on x86-64 only. `struct state` and
   all numbers: shared.h.

   memory.c: find and put back what was written. job.c: a job from its start to its report. precompile.c: puzzles,
   compiled together before their tasks run. tasks.c: tasks of two jobs each. relay.c: calls between two processes.
   codec_check.c and sha256.c: check and digest of an answer. Independent of these, with no state: snapshot.c, in the
   jail, and heap.c. */

#ifndef PROCESS_H
#define PROCESS_H

#if !defined(__linux__) || !defined(__x86_64__)
#error "Linux on x86-64 only"
#endif

#include "codec.h"
#include "shared.h"

#include <stdint.h>

/* memory.c: 0, or STOP_FAILED */
int memory_restore(struct state *s);
int memory_restore_all(struct state *s); /* extended registers too */
void *memory_here(const struct state *s, uint64_t address, uint64_t size);

/* job.c */
int process_answer(struct state *s, const void *message, uint64_t size, int64_t timeout_ns);
int64_t job_clock_ns(void);
int job_run(struct state *s, uint64_t size, int64_t timeout_ns);
int job_abandon(struct state *s, int stop);
void job_tick(struct state *s, int64_t first_ns);

/* precompile.c */
int precompile_look_up(struct state *s, const uint8_t *frames, uint64_t size, int64_t timeout_ns,
    const struct compiled **found);

/* sha256.c */
void sha256(const uint8_t *data, uint64_t size, uint8_t digest[DIGEST_BYTES]);

#endif
