/* The inner loop of the snapshot engine: the same steps as Tracee and Memory take in Python, without the interpreter between them.

   It decides nothing that they don't, but for leaving out a search that could find nothing: what is not in its tables goes back to
   Python. Linux on x86-64 only. Used by sandbox/worker/snapshot/accelerated.py, which mirrors `struct state`. In memory.c: what puts memory back; in job.c: a job
   from its start to its report; in judge.c: tasks, of two such jobs each; in ahead.c: their puzzles, compiled; in codec.c and sha256.c: a look at an answer. */

#ifndef ROLLBACK_H
#define ROLLBACK_H

#if !defined(__linux__) || !defined(__x86_64__)
#error "Linux on x86-64 only"
#endif

#include <stdint.h>
#include <sys/uio.h>
#include <sys/user.h>

#define PAGE 4096
#define MOST_REGIONS 128 /* a scan: the kernel allocates as much room each time */
#define MOST_PLAIN 4096
#define MOST_AHEAD 64
#define REPORT_HEAD 9 /* sandbox.wire.REPORT */
#define SHA256_BYTES 32

enum { TIMEOUT, CALL, SIGNAL, INTERRUPT, DEAD, REPORT, FAILED, DONE, UNFIT, MORE };
enum { ASK, PASS, WRITE };
enum { IN_ATTIC = 1, HOT };
enum { SOL = 1, SAT, COMPILE = 5, COMPILED = 8 }; /* sandbox.worker.inside.phase */
enum { NOT_RESTORED = -1, LEFT_TO_PYTHON = -2 };

struct region { uint64_t start, end, categories; };
struct step { uint64_t start, end, mask, anyof; };
struct span { uint64_t start, end, copy, shared; }; /* the copy, and the span itself, in this process */
struct put_back { uint64_t there, size, copy, shared; };
struct piece { uint64_t start, attic; }; /* where it was, and where it is kept */
struct ahead { const uint8_t *sat; uint64_t size; const uint8_t *code; uint64_t code_size; int64_t cpu_ns; };
/* A puzzle; what was compiled of it, nothing if that has no size; and the CPU time of that. */

/* What is sent, in sandbox.wire: JOB and PHASE. */
struct __attribute__((packed)) task {
    uint32_t sol_size;
    uint8_t program, brief;
    double cpu_seconds, wall_seconds;
    uint64_t memory_bytes, answer_bytes, output_bytes;
    uint32_t seed, sat_size;
};

struct __attribute__((packed)) phase {
    uint8_t which;
    uint64_t space;
    double cpu_seconds;
    uint64_t answer_bytes;
    uint32_t seed, sat_size;
    uint64_t payload_size;
};

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
    uint64_t print_room, printed;           /* what may go to descriptors 1 and 2, and what did since the start of the last job */
    uint8_t *report;
    uint64_t report_room, report_size;
    uint64_t cold_count, cold_kept;         /* pages put back by the last restore, hot ones apart; the first of them by those before */
    uint64_t *cold;
    uint64_t marked_count, marked_hot;      /* spans that `rollback_unmark` puts back; the first of them are hot */
    struct put_back *marked;
    uint8_t *unmarked;                      /* what they held before, one behind the other */
    uint64_t faults, faults_seen;           /* of the tracee: at its last stop, and when it was last put back */
    int64_t cpu_seen_ns;                    /* CPU time that the tracee has used, at its last stop */
    int64_t cpu_ns, wall_ns;                /* clocks at the start of the last job; what it took if that is DONE */
    uint64_t job_room, least_memory;        /* of a task that is judged here: room for a job, and what its limit of memory must be */
    uint64_t engine, resident;              /* to be told */
    uint64_t ticks;                         /* whether a wait is interrupted without a timer of its own */
    uint64_t judged, taken;                 /* by `rollback_judge`: tasks, and bytes of their frames */
    uint64_t told_size, told_room, first_size, answer_size;
    uint8_t *told, *answer;                 /* the latter has room for MOST_PLAIN bytes */
    uint64_t is_astray;                     /* whether a job that was to compile has not come to its end */
    uint64_t plain_tasks;                   /* so many tasks to come are not to be compiled before */
    uint64_t ahead_count, ahead_next, ahead_tasks; /* puzzles that are listed, up to which they were asked for, and of how many tasks they are */
    uint8_t *ahead_sats, *ahead_codes;      /* room for a job, and for a report */
    struct ahead ahead[MOST_AHEAD];
    struct region regions[MOST_REGIONS];
};

/* memory.c */
int64_t memory_find(const struct state *s, uint64_t start, uint64_t end);
int memory_restore(struct state *s);
int rollback_restore(struct state *s);

/* job.c */
int64_t job_clock_ns(void);
int job_run(struct state *s, uint64_t size, int64_t timeout_ns);
void job_tick(struct state *s, int64_t first_ns);

/* ahead.c */
int ahead_look_up(struct state *s, const uint8_t *frames, uint64_t size, int64_t moment_ns, const struct ahead **found);

/* sha256.c */
void sha256(const uint8_t *data, uint64_t size, uint8_t digest[SHA256_BYTES]);

/* codec.c */
int codec_is_ascii(const uint8_t *text, uint64_t size);
int codec_is_plain(const uint8_t *data, uint64_t size);

#endif
