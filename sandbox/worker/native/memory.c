/* See process.h: find what was written since the snapshot, and put it back (sandbox/worker/snapshot/memory.py). */

#define _GNU_SOURCE
#include "process.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <unistd.h>

#define PAGEMAP_SCAN 0xC0606610
#define UFFDIO_WRITEPROTECT 0xC018AA06
#define WRITTEN 2
#define PRESENT 8
#define NT_X86_XSTATE 0x202
#define BLOCK (512 * PAGE) /* what one page table maps */
#define SOME (16 * PAGE)   /* read from the pristine mapping at once */
#define PUNCH_PAGES 16     /* so many adjacent zero pages return to the kernel: fewer are faster to write */
#define KEPT_PAGES 2048    /* zero pages that keep their memory: a fault on them takes a fourth of one that allocates */

struct scan { uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, returned; };
struct protect { uint64_t start, length, mode; };

/* Return where these addresses are in this process if they are in one area; else NULL. */
void *memory_here(const struct state *s, uint64_t address, uint64_t size)
{
    const struct area *area = s->areas, *end = area + s->areas_count;
    for (; area < end; area++)
        if (address >= area->start && address < area->end && size <= area->end - address)
            return (uint8_t *)s->shared + area->offset + (address - area->start);
    return NULL;
}

static int protect(const struct state *s, uint64_t start, uint64_t end)
{
    struct protect protect = {start, end - start, 1};
    return ioctl(s->uffd, UFFDIO_WRITEPROTECT, &protect) < 0 ? STOP_FAILED : 0;
}

/* Copy pages from one piece of the pristine mapping, at most `size` bytes. Returns how many bytes, or STOP_FAILED,
   which is less than a page. */
static int64_t fetch(const struct state *s, uint64_t page, void *copy, uint64_t size)
{
    const struct piece *piece = s->pieces, *last = piece + s->pieces_count - 1;
    while (piece < last && piece[1].start <= page)
        piece++;
    if (piece < last && piece[1].start - page < size)
        size = piece[1].start - page;
    ssize_t got = pread(s->memory, copy, size, page - piece->start + piece->pristine);
    return got == (ssize_t)size ? got : STOP_FAILED;
}

/* Return memory to the kernel; there are zeros then. */
static int punch(const struct state *s, uint64_t offset, uint64_t size)
{
    return fallocate(s->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size) < 0 ? STOP_FAILED : 0;
}

/* Write zeros. */
static int clear(const struct state *s, uint64_t offset, uint64_t size)
{
    if (size >= PUNCH_PAGES * PAGE)
        return punch(s, offset, size);
    memset((uint8_t *)s->shared + offset, 0, size);
    return 0;
}

static int is_zero(uint8_t kind)
{
    return kind == KIND_ZERO || kind == KIND_KEPT;
}

/* Write zeros to adjacent pages that had nothing else at the snapshot. As many keep their memory as may. */
static int clear_pages(struct state *s, uint64_t offset, uint64_t last)
{
    uint8_t *kinds = s->kinds;
    uint64_t kept = offset;
    for (; kept < last && (kinds[kept / PAGE] == KIND_KEPT || s->kept < KEPT_PAGES); kept += PAGE)
        if (kinds[kept / PAGE] != KIND_KEPT) {
            kinds[kept / PAGE] = KIND_KEPT;
            s->kept++;
        }
    memset((uint8_t *)s->shared + offset, 0, kept - offset);
    for (uint64_t page = kept; page < last; page += PAGE)
        if (kinds[page / PAGE] == KIND_KEPT) {
            kinds[page / PAGE] = KIND_ZERO;
            s->kept--;
        }
    return kept < last ? clear(s, kept, last - kept) : 0;
}

/* Put back adjacent pages, none of which is hot. */
static int put_back(struct state *s, const struct area *area, uint64_t start, uint64_t end)
{
    uint8_t *kinds = s->kinds;
    uint64_t offset = area->offset + (start - area->start), last = area->offset + (end - area->start);
    while (offset < last) {
        uint64_t zeros = offset;
        while (zeros < last && is_zero(kinds[zeros / PAGE]))
            zeros += PAGE;
        if (zeros > offset && clear_pages(s, offset, zeros))
            return STOP_FAILED;
        for (offset = zeros; offset < last && !is_zero(kinds[offset / PAGE]); offset += PAGE) {
            uint8_t *copy = (uint8_t *)s->copies + offset;
            if (kinds[offset / PAGE] == KIND_PRISTINE
                && fetch(s, area->start + (offset - area->offset), copy, PAGE) != PAGE)
                return STOP_FAILED;
            kinds[offset / PAGE] = KIND_COPIED;
            memcpy((uint8_t *)s->shared + offset, copy, PAGE);
        }
    }
    return protect(s, start, end);
}

/* List these written pages and put them back, without hot ones. `only_list`: put none back. */
static int take(struct state *s, const struct area *area, uint64_t start, uint64_t end, int only_list)
{
    const uint8_t *kinds = s->kinds;
    uint64_t *written = s->written, run = start;
    for (uint64_t page = start; page < end; page += PAGE) {
        if (kinds[(area->offset + (page - area->start)) / PAGE] != KIND_HOT) {
            if (++s->pages > s->max_pages)
                return STOP_FAILED;
            if (s->written_count < s->written_capacity)
                written[s->written_count++] = page;
            continue;
        }
        if (run < page && !only_list && put_back(s, area, run, page))
            return STOP_FAILED;
        run = page + PAGE;
    }
    return run < end && !only_list ? put_back(s, area, run, end) : 0;
}

/* Do the same for a part that was never touched: the file shows what is there now, even if the kernel has reclaimed it
   from the page table. What has been touched is protected from now on. */
static int take_untouched(struct state *s, struct area *area, uint64_t start, uint64_t end, int only_list)
{
    off_t first = area->offset + (start - area->start), last = first + (off_t)(end - start), data = first, hole = first;
    int is_head = start < area->low;
    while (hole < last && (data = lseek(s->memfd, hole, SEEK_DATA)) >= 0 && data < last) {
        hole = lseek(s->memfd, data, SEEK_HOLE);
        if (hole < 0)
            return STOP_FAILED;
        hole = hole < last ? hole : last;
        uint64_t from = start + (data - first), to = start + (hole - first);
        if (!only_list) {
            uint64_t block = is_head ? from - from % BLOCK : to + (-to & (BLOCK - 1));
            uint64_t low = is_head ? (block > area->start ? block : area->start) : area->high;
            uint64_t high = is_head ? area->low : block < area->end ? block : area->end;
            if (low < high && protect(s, low, high))
                return STOP_FAILED;
            area->low = low < area->low ? low : area->low;
            area->high = high > area->high ? high : area->high;
        }
        if (take(s, area, from, to, only_list))
            return STOP_FAILED;
    }
    return 0;
}

/* Find what was written. The first write to each page was a fault of the process, which the kernel counts
   (mm_account_fault in mm/memory.c, man 2 wait4): there are no more pages than faults since it was last put back, and
   when so many are found the search ends. A scan for nothing but WRITTEN also finds pages that the kernel has reclaimed
   from the page table: other pages keep the mark of their protection there. */
static int collect(struct state *s, int only_list)
{
    struct area *area = s->areas, *last = area + s->areas_count;
    uint64_t most = s->faults_seen == NO_FAULTS_SEEN ? UINT64_MAX : s->faults - s->faults_seen;
    s->pages = 0;
    for (; area < last && s->pages < most; area++) {
        struct scan scan = {sizeof scan, 0, area->low, area->high, 0, (uint64_t)s->regions, MAX_REGIONS, 0, 0,
            WRITTEN, 0, WRITTEN};
        uint64_t low = area->low, high = area->high;
        int count;
        do {
            if (low == high)
                break;
            count = ioctl(s->pagemap, PAGEMAP_SCAN, &scan);
            if (count < 0)
                return STOP_FAILED;
            for (int i = 0; i < count; i++)
                if (take(s, area, s->regions[i][0], s->regions[i][1], only_list))
                    return STOP_FAILED;
            scan.start = scan.walk_end;
        } while (count == MAX_REGIONS);
        if (area->start < low && take_untouched(s, area, area->start, low, only_list))
            return STOP_FAILED;
        if (high < area->end && take_untouched(s, area, high, area->end, only_list))
            return STOP_FAILED;
    }
    return 0;
}

/* Put back its memory. */
int memory_restore(struct state *s)
{
    const struct run *run = s->hot, *last = run + s->hot_count;
    uint64_t start = s->job_offset, end = start + s->job_size;
    if (end - start > BLOCK) { /* free the memory of a large job */
        uint64_t from = start + (-start & (PAGE - 1)), to = end - end % PAGE;
        if (clear(s, from, to - from))
            return STOP_FAILED;
        memset((uint8_t *)s->shared + start, 0, from - start);
        memset((uint8_t *)s->shared + to, 0, end - to);
    } else
        memset((uint8_t *)s->shared + start, 0, end - start);
    if (collect(s, 0))
        return STOP_FAILED;
    for (; run < last; run++)
        memcpy((uint8_t *)s->shared + run->offset, (uint8_t *)s->copies + run->offset, run->size);
    s->faults_seen = s->faults;
    return 0;
}

int memory_restore_all(struct state *s)
{
    if (memory_restore(s))
        return STOP_FAILED;
    return ptrace(PTRACE_SETREGSET, s->pid, NT_X86_XSTATE, &s->extended) < 0 ? STOP_FAILED : 0;
}

/* `has_reported`: the process stands where it reports, and so loads extended registers itself before the next job. */
int process_restore(struct state *s, int has_reported)
{
    s->written_count = 0;
    return has_reported ? memory_restore(s) : memory_restore_all(s);
}

/* Return the memory of zero pages to the kernel, if some have kept it; the process has been put back. */
int process_release(struct state *s)
{
    const struct area *area = s->areas, *end = area + s->areas_count;
    uint8_t *kinds = s->kinds;
    for (; area < end && s->kept; area++) {
        uint64_t last = area->offset + (area->end - area->start), kept = area->offset, rest;
        for (; kept < last; kept = rest) {
            rest = kept + PAGE;
            if (kinds[kept / PAGE] != KIND_KEPT)
                continue;
            while (rest < last && kinds[rest / PAGE] == KIND_KEPT)
                rest += PAGE;
            uint64_t start = area->start + (kept - area->offset);
            if (punch(s, kept, rest - kept) || protect(s, start, start + (rest - kept)))
                return STOP_FAILED;
            memset(kinds + kept / PAGE, KIND_ZERO, (rest - kept) / PAGE);
        }
    }
    s->kept = 0;
    return 0;
}

/* List what was written, and put back nothing. */
int process_list_written(struct state *s)
{
    s->written_count = 0;
    return collect(s, 1);
}

/* Copy `size` bytes from `start` on, in one area, from the pristine mapping to the shared file, and note which pages
   have content. */
int process_save(struct state *s, uint64_t start, uint64_t size)
{
    static const uint8_t nothing[PAGE];
    uint8_t pages[SOME], *kinds = s->kinds;
    const struct area *area = s->areas;
    while (start >= area->end)
        area++;
    for (uint64_t end = start + size; start < end;) {
        int64_t got = fetch(s, start, pages, end - start < SOME ? end - start : SOME);
        if (got < PAGE)
            return STOP_FAILED;
        for (uint8_t *page = pages; page < pages + got; page += PAGE, start += PAGE) {
            uint64_t offset = area->offset + (start - area->start);
            if (!memcmp(page, nothing, PAGE))
                continue;
            memcpy((uint8_t *)s->shared + offset, page, PAGE);
            kinds[offset / PAGE] = KIND_PRISTINE;
        }
    }
    return 0;
}

/* Compare pages from `offset` to `last`. Returns the address of the first that differs, 0 if none does, or
   STOP_FAILED. */
static uint64_t compare(const struct state *s, const struct area *area, uint64_t offset, uint64_t last)
{
    const uint8_t *kinds = s->kinds;
    uint8_t pages[SOME];
    while (offset < last) {
        const uint8_t *was = (uint8_t *)s->copies + offset;
        uint64_t size = PAGE, address = area->start + (offset - area->offset);
        if (kinds[offset / PAGE] == KIND_PRISTINE) {
            while (size < SOME && offset + size < last && kinds[(offset + size) / PAGE] == KIND_PRISTINE)
                size += PAGE;
            int64_t got = fetch(s, address, pages, size);
            if (got < PAGE)
                return STOP_FAILED;
            size = got;
            was = pages;
        }
        for (uint64_t at = 0; at < size; at += PAGE)
            if (memcmp((uint8_t *)s->shared + offset + at, was + at, PAGE))
                return address + at;
        offset += size;
    }
    return 0;
}

/* Do the same for all pages of an area's protected part that a scan finds. */
static uint64_t compare_found(struct state *s, const struct area *area, uint64_t mask, uint64_t anyof)
{
    struct scan scan = {sizeof scan, 0, area->low, area->high, 0, (uint64_t)s->regions, MAX_REGIONS, 0, 0,
        mask, anyof, mask | anyof};
    int count = MAX_REGIONS;
    while (count == MAX_REGIONS && scan.start < area->high) {
        count = ioctl(s->pagemap, PAGEMAP_SCAN, &scan);
        if (count < 0)
            return STOP_FAILED;
        for (int i = 0; i < count; i++) {
            uint64_t offset = area->offset + (s->regions[i][0] - area->start);
            uint64_t different = compare(s, area, offset, offset + (s->regions[i][1] - s->regions[i][0]));
            if (different)
                return different;
        }
        scan.start = scan.walk_end;
    }
    return 0;
}

/* Do the same for what the file has between these offsets, where nothing was at the snapshot. */
static uint64_t compare_data(const struct state *s, const struct area *area, off_t offset, off_t last)
{
    while (offset < last && (offset = lseek(s->memfd, offset, SEEK_DATA)) >= 0 && offset < last) {
        off_t hole = lseek(s->memfd, offset, SEEK_HOLE);
        uint64_t different = hole < 0 ? STOP_FAILED : compare(s, area, offset, hole < last ? hole : last);
        if (different)
            return different;
        offset = hole;
    }
    return 0;
}

/* Return the address of a page that differs from the snapshot, 0 if there is none, or STOP_FAILED. Compares pages that
   are present, and unprotected ones, present or reclaimed. The process has not written the others: they still bear the
   mark of their protection. */
uint64_t process_compare(struct state *s)
{
    const struct area *area = s->areas, *end = area + s->areas_count;
    uint64_t different = 0;
    for (; area < end && !different; area++) {
        off_t low = area->offset + (area->low - area->start), high = area->offset + (area->high - area->start);
        if (!(different = compare_found(s, area, WRITTEN, 0)) && !(different = compare_found(s, area, 0, PRESENT))
            && !(different = compare_data(s, area, area->offset, low)))
            different = compare_data(s, area, high, area->offset + (off_t)(area->end - area->start));
    }
    return different;
}
