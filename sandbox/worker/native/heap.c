/* Allocator for Python's small objects: one behind another whatever their size, so that the objects of a phase lie on
   few pages. Python's own allocator has a pool for each of 32 sizes. A fork and a rollback cost by pages.

   A freed piece serves the next request of its size. Large requests, and those that the region has no memory for, go to
   the previous allocator, and so do its pieces when they are freed. Installed by sandbox/worker/inside/heap.py; used
   under the interpreter's lock only. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PAGE 4096
#define HEAD 4                  /* before a piece: its kind, for `heap_free` and `heap_realloc` */
#define ALIGNMENT 16            /* of pieces, as of Python's; a piece with its head has a multiple of it */
#define SMALL 1024              /* sizes up to here differ by 16 bytes, larger ones by a quarter of a power of two */
#define LARGE (64 << 10)
#define SMALL_KINDS (SMALL / ALIGNMENT)
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

static struct region *region;
static size_t region_size;
static struct allocator before[2];

static int is_ours(const void *piece)
{
    return (uintptr_t)piece - (uintptr_t)region < region_size;
}

static uint32_t *kind_of(void *piece)
{
    return (uint32_t *)piece - 1;
}

/* Return the size of pieces of this kind, with their heads. */
static size_t size_of(uint32_t kind)
{
    if (kind <= SMALL_KINDS)
        return (size_t)kind * ALIGNMENT;
    uint32_t step = kind - SMALL_KINDS - 1;
    return (size_t)(5 + step % 4) << (8 + step / 4);
}

/* Return the kind of the smallest pieces that have so many bytes, heads included; at most LARGE and a head. */
static inline uint32_t kind_for(size_t size)
{
    if (size <= SMALL)
        return (size + ALIGNMENT - 1) / ALIGNMENT;
    unsigned quarter = 61 - __builtin_clzl(size - 1); /* 2^(quarter + 2) < size <= 2^(quarter + 3) */
    size_t quarters = (size + (1UL << quarter) - 1) >> quarter;
    return SMALL_KINDS + (quarter - 8) * 4 + quarters - 4;
}

/* Return a piece, or NULL if the region is full. */
static inline void *allocate(uint32_t kind)
{
    uint8_t *piece = region->freed[kind];
    if (piece) {
        region->freed[kind] = *(void **)piece;
        return piece;
    }
    piece = region->top;
    size_t size = size_of(kind);
    if (piece > region->end || size > (size_t)(region->end - piece)) /* beyond it after `heap_start_new_page` */
        return NULL;
    region->top = piece + size;
    *kind_of(piece) = kind;
    return piece;
}

/* Allocate what is not small, or what there is no room for. */
static __attribute__((noinline)) void *allocate_rest(struct allocator *other, size_t size)
{
    void *piece = size > SMALL - HEAD && size < LARGE ? allocate(kind_for(size + HEAD)) : NULL;
    return piece ? piece : other->malloc(other->context, size);
}

static void *heap_malloc(void *context, size_t size)
{
    if (size <= SMALL - HEAD) {
        void *piece = allocate(kind_for(size + HEAD));
        if (piece)
            return piece;
    }
    return allocate_rest(context, size);
}

static void *heap_calloc(void *context, size_t count, size_t each)
{
    struct allocator *other = context;
    size_t size;
    void *piece = NULL;
    if (!__builtin_mul_overflow(count, each, &size) && size < LARGE)
        piece = allocate(kind_for(size + HEAD));
    return piece ? memset(piece, 0, size) : other->calloc(other->context, count, each);
}

static void heap_free(void *context, void *piece)
{
    struct allocator *other = context;
    if (!is_ours(piece)) {
        other->free(other->context, piece);
        return;
    }
    uint32_t kind = *kind_of(piece);
    *(void **)piece = region->freed[kind];
    region->freed[kind] = piece;
}

static void *heap_realloc(void *context, void *piece, size_t size)
{
    struct allocator *other = context;
    if (!piece)
        return heap_malloc(context, size);
    if (!is_ours(piece))
        return other->realloc(other->context, piece, size);
    size_t room = size_of(*kind_of(piece)) - HEAD;
    if (size <= room && size >= room / 2)
        return piece;
    void *larger = heap_malloc(context, size);
    if (!larger)
        return size <= room ? piece : NULL;
    memcpy(larger, piece, size < room ? size : room);
    heap_free(context, piece);
    return larger;
}

/* Use this memory, which begins at a page. */
void heap_init(void *start, size_t size)
{
    region = start;
    region_size = size;
    *region = (struct region){(uint8_t *)start + (sizeof *region + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT,
        (uint8_t *)start + size, {0}};
}

/* Replace an allocator, one of at most two, by this one, which falls back on it. */
void heap_replace(struct allocator *allocator, unsigned which)
{
    before[which] = *allocator;
    *allocator = (struct allocator){&before[which], heap_malloc, heap_calloc, heap_realloc, heap_free};
}

/* Allocate the next pieces on new pages, their heads too, and reuse no freed piece. */
void heap_start_new_page(void)
{
    memset(region->freed, 0, sizeof region->freed);
    region->top += (-(uintptr_t)region->top & (PAGE - 1)) + ALIGNMENT;
}
