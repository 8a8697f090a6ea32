/* Allocator for Python's small objects: one behind another whatever their size, so that the objects of a phase lie on
   few pages. Python's own allocator has a pool for each of 32 sizes. A fork and a rollback cost by pages.

   A freed piece serves the next request of its size. Large requests, and those that the region has no memory for, go to
   the previous allocator, and so do its pieces when they are freed. Installed by sandbox/worker/inside/heap.py; used
   under the interpreter's lock only. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAGE 4096
#define HEAD 8                  /* before a piece: kind, and size with the head, for `heap_free` and `heap_realloc` */
#define SMALL 1024              /* sizes up to here differ by 16 bytes, larger ones by a quarter of a power of two */
#define LARGE (64 << 10)
#define KINDS 96

/* PyMemAllocatorEx (Include/cpython/pymem.h). */
struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};

/* At the beginning of the region, so that changing it costs no page more. */
struct region {
    uint8_t *top, *end;
    void *freed[KINDS];         /* linked lists */
};

struct head { uint32_t kind, size; };

static struct region *region;
static struct allocator before[2];

static int is_ours(const void *piece)
{
    return (uint8_t *)piece >= (uint8_t *)region && (uint8_t *)piece < region->end;
}

static struct head *head(void *piece)
{
    return (struct head *)((uint8_t *)piece - HEAD);
}

static struct head kind_and_size(size_t size)
{
    if (size <= SMALL)
        return (struct head){(size + 15) / 16, (size + 15) & ~15UL};
    unsigned quarter = 61 - __builtin_clzl(size - 1); /* 2^(quarter + 2) < size <= 2^(quarter + 3) */
    size_t quarters = (size + (1UL << quarter) - 1) >> quarter;
    return (struct head){SMALL / 16 + (quarter - 8) * 4 + quarters - 4, quarters << quarter};
}

/* Return a piece, or NULL if the region is full. */
static void *allocate(size_t size)
{
    struct head needed = kind_and_size(size + HEAD);
    uint8_t *piece = region->freed[needed.kind];
    if (piece) {
        region->freed[needed.kind] = *(void **)piece;
        return piece;
    }
    piece = region->top + HEAD;
    if (piece + needed.size > region->end) /* `piece` itself may be beyond the end, after `heap_start_new_page` */
        return NULL;
    region->top += needed.size;
    *head(piece) = needed;
    return piece;
}

static void *heap_malloc(void *context, size_t size)
{
    struct allocator *other = context;
    void *piece = size < LARGE ? allocate(size ? size : 1) : NULL;
    return piece ? piece : other->malloc(other->context, size);
}

static void *heap_calloc(void *context, size_t count, size_t each)
{
    struct allocator *other = context;
    size_t size;
    void *piece = NULL;
    if (!__builtin_mul_overflow(count, each, &size) && size < LARGE)
        piece = allocate(size ? size : 1);
    return piece ? memset(piece, 0, size) : other->calloc(other->context, count, each);
}

static void heap_free(void *context, void *piece)
{
    struct allocator *other = context;
    if (!is_ours(piece)) {
        other->free(other->context, piece);
        return;
    }
    *(void **)piece = region->freed[head(piece)->kind];
    region->freed[head(piece)->kind] = piece;
}

static void *heap_realloc(void *context, void *piece, size_t size)
{
    struct allocator *other = context;
    if (!piece)
        return heap_malloc(context, size);
    if (!is_ours(piece))
        return other->realloc(other->context, piece, size);
    size_t room = head(piece)->size - HEAD;
    if (size <= room && size >= room / 2)
        return piece;
    void *larger = heap_malloc(context, size);
    if (!larger)
        return size <= room ? piece : NULL;
    memcpy(larger, piece, size < room ? size : room);
    heap_free(context, piece);
    return larger;
}

/* Use this memory, which begins at a page. Pieces are aligned to 16 bytes, as Python's are, so their heads are not. */
void heap_init(void *start, size_t size)
{
    region = start;
    *region = (struct region){(uint8_t *)start + (sizeof *region + 15) / 16 * 16 + HEAD, (uint8_t *)start + size, {0}};
}

/* Replace an allocator, one of at most two, by this one, which falls back on it. */
void heap_replace(struct allocator *allocator, unsigned which)
{
    before[which] = *allocator;
    *allocator = (struct allocator){&before[which], heap_malloc, heap_calloc, heap_realloc, heap_free};
}

/* Allocate the next pieces on new pages, and reuse no freed piece. */
void heap_start_new_page(void)
{
    memset(region->freed, 0, sizeof region->freed);
    region->top += (-(uintptr_t)region->top & (PAGE - 1)) + HEAD;
}
