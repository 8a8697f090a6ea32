/* See rollback.h: what was written since the snapshot, and how it is put back. */

#define _GNU_SOURCE
#include "rollback.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <unistd.h>

#define PAGEMAP_SCAN 0xC0606610
#define UFFDIO_WRITEPROTECT 0xC018AA06
#define NT_X86_XSTATE 0x202
#define MOST_SPANS 1024

struct scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, returned; };
struct protect { uint64_t start, length, mode; };

/* The index of the protected span that holds these addresses, or -1. */
int64_t memory_find(const struct state *s, uint64_t start, uint64_t end)
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
    int64_t index = memory_find(s, region->start, region->end);
    if (index < 0)
        return LEFT_TO_PYTHON;
    const struct span *span = &s->protected[index];
    for (uint64_t page = region->start; page < region->end; page += PAGE) {
        uint64_t at = page - span->start;
        uint8_t *what = kind(s, span, page);
        if (*what == HOT)
            continue;
        if (s->cold_count - s->cold_kept == s->most_pages)
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
    s->cold_count = s->cold_kept;
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

int memory_restore(struct state *s)
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
    int result = memory_restore(s);
    if (result)
        return result;
    return ptrace(PTRACE_SETREGSET, s->pid, NT_X86_XSTATE, &s->extended) < 0 ? NOT_RESTORED : 0;
}
