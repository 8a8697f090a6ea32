/* Made by `python -m selftaught.sandbox.worker.native.shared`: what that module describes, for C. */
#ifndef SHARED_H
#define SHARED_H
#include <stdint.h>
#define SHARED_DIGEST 3354824678u
#define PAGE 4096
#define MAX_COMPILED 64
#define MAX_REGIONS 128
#define ENGINE_SNAPSHOT 1
#define TEXT_BYTES 2000
#define DIGEST_BYTES 32
#define REPORT_HEAD 9
enum { STOP_TIMEOUT = 0, STOP_CALL = 1, STOP_SIGNAL = 2, STOP_INTERRUPT = 3, STOP_DEAD = 4, STOP_REPORT = 5, STOP_FAILED = 6, STOP_DONE = 7, STOP_UNFIT = 8, STOP_MORE = 9 };
enum { ACTION_ASK = 0, ACTION_PASS = 1, ACTION_WRITE = 2 };
enum { KIND_ZERO = 0, KIND_PRISTINE = 1, KIND_COPIED = 2, KIND_HOT = 3 };
enum { END_FORBIDDEN = 1, END_CPU = 2, END_WALL = 3, END_MEMORY = 4, END_OUTPUT = 5, END_DIED = 6, END_ANSWER = 7, END_TOO_LARGE = 8, END_WRONG_TYPE = 9, END_SOLUTION_ERROR = 10, END_PUZZLE_ERROR = 11, END_ACCEPTED = 12, END_REJECTED = 13, END_EXITED = 14, END_UNFINISHED = 15 };
enum { PHASE_SOL = 1, PHASE_SAT = 2, PHASE_RUN = 3, PHASE_LOAD = 4, PHASE_COMPILE = 5, PHASE_COMPILED = 8 };
struct __attribute__((packed)) task { uint32_t sol_size; uint8_t program; uint8_t sliced; double cpu_seconds; double wall_seconds; uint64_t memory_bytes; uint64_t answer_bytes; uint64_t output_bytes; uint32_t seed; uint32_t sat_size; };
_Static_assert(sizeof(struct task) == 54, "task");
struct __attribute__((packed)) phase_head { uint8_t which; uint64_t space; double cpu_seconds; uint64_t answer_bytes; uint32_t seed; uint32_t sat_size; uint64_t payload_size; };
_Static_assert(sizeof(struct phase_head) == 41, "phase_head");
struct __attribute__((packed)) outcome { uint8_t end; uint8_t engine; double observed; double cpu_seconds; double wall_seconds; uint64_t peak_memory_bytes; uint16_t detail_size; uint32_t payload_size; };
_Static_assert(sizeof(struct outcome) == 40, "outcome");
struct area {
    uint64_t start;
    uint64_t end;
    uint64_t low;
    uint64_t high;
    uint64_t offset;
};
_Static_assert(sizeof(struct area) == 40, "Area");
struct run {
    uint64_t start;
    uint64_t size;
    uint64_t offset;
};
_Static_assert(sizeof(struct run) == 24, "Run");
struct piece {
    uint64_t start;
    uint64_t pristine;
};
_Static_assert(sizeof(struct piece) == 16, "Piece");
struct compiled {
    void *sat;
    uint64_t sat_size;
    void *code;
    uint64_t code_size;
    int64_t cpu_ns;
};
_Static_assert(sizeof(struct compiled) == 40, "Compiled");
struct range {
    void *base;
    uint64_t length;
};
_Static_assert(sizeof(struct range) == 16, "Range");
struct state {
    int32_t pid;
    int32_t pagemap;
    int32_t memory;
    int32_t memfd;
    int32_t uffd;
    int32_t report_fd;
    uint64_t ready[27];
    uint64_t now[27];
    struct range extended;
    uint64_t areas_count;
    uint64_t hot_count;
    uint64_t pieces_count;
    uint64_t max_pages;
    void *areas;
    void *hot;
    void *pieces;
    void *kinds;
    void *copies;
    void *shared;
    void *actions;
    uint64_t job_offset;
    uint64_t job_capacity;
    uint64_t job_size;
    uint64_t print_limit;
    uint64_t printed;
    uint64_t report_capacity;
    uint64_t report_size;
    void *report;
    uint64_t pages;
    uint64_t written_count;
    uint64_t written_capacity;
    void *written;
    uint64_t faults;
    uint64_t faults_seen;
    int64_t cpu_seen_ns;
    int64_t cpu_ns;
    int64_t wall_ns;
    uint64_t min_memory;
    uint64_t resident;
    uint64_t ticks;
    uint64_t executed;
    uint64_t consumed;
    uint64_t results_size;
    uint64_t results_capacity;
    uint64_t answer_size;
    uint64_t answer_capacity;
    uint64_t phase;
    uint64_t suspect;
    void *results;
    void *answer;
    void *sources;
    void *codes;
    uint64_t precompile_failed;
    uint64_t compiled_count;
    uint64_t compiled_next;
    struct compiled compiled[64];
    uint64_t regions[128][3];
};
_Static_assert(sizeof(struct state) == 6472, "State");
#endif
