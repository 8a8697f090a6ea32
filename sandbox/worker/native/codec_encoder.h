/* Shared by the parts of the encoder: codec_encode.c, codec_encode_extended.c and codec_numbers.c. */

#ifndef CODEC_ENCODER_H
#define CODEC_ENCODER_H

#include "codecmodule.h"

#include <string.h>

#define FIRST_BYTES 256 /* most encodings fit: they allocate no other memory until they are done */

/* A container that is being encoded. */
struct level {
    PyObject *object;    /* borrowed container; of a set its iterator, with a reference */
    PyObject *value;     /* dict: the value that follows its key */
    Py_ssize_t size, at; /* list, tuple, set: items encoded so far; dict: position in it */
    size_t *marks;       /* set: where each element begins in the encoding, and the last one ends */
    unsigned kind;
};

struct encoder {
    const struct known *known;
    int64_t max_bytes, room; /* bytes left when each value still to come takes one */
    uint8_t *start;          /* the encoding: in `first` while it fits */
    size_t used, capacity, depth;
    uint8_t first[FIRST_BYTES];
    struct level stack[CODEC_MAX_DEPTH]; /* last: memory that is not used is not touched */
};

struct part { const uint8_t *start; size_t size; };

/* All functions return -1 or NULL with an exception if they fail. */

static inline int refuse_size(const struct encoder *e, int64_t more)
{
    PyObject *size = PyLong_FromLongLong(e->max_bytes - e->room + more);
    if (size) {
        PyErr_SetObject(e->known->too_large, size);
        Py_DECREF(size);
    }
    return -1;
}

/* Return where the next `size` bytes go. */
static inline uint8_t *reserve(struct encoder *e, size_t size)
{
    if (size <= e->capacity - e->used)
        return e->start + e->used;
    size_t capacity = e->used + size, ample = e->capacity + e->capacity / 2;
    if (ample > (size_t)e->max_bytes)
        ample = e->max_bytes;
    if (capacity < ample)
        capacity = ample;
    uint8_t *start = PyMem_Realloc(e->start == e->first ? NULL : e->start, capacity);
    if (!start) {
        PyErr_NoMemory();
        return NULL;
    }
    if (e->start == e->first)
        memcpy(start, e->first, e->used);
    e->start = start;
    e->capacity = capacity;
    return start + e->used;
}

static inline int put_byte(struct encoder *e, uint8_t byte)
{
    uint8_t *at = reserve(e, 1);
    if (!at)
        return -1;
    *at = byte;
    e->used++;
    return 0;
}

/* Append a tag with a length and `body` bytes, which the caller fills: return where. `owed` bytes at least follow the
   tag. */
static inline uint8_t *put_head(struct encoder *e, unsigned tag, uint64_t n, int64_t owed, size_t body)
{
    unsigned width = n <= CODEC_SHORT ? 0 : n < 256 ? 1 : 8;
    e->room -= width + owed;
    if (e->room < 0) {
        refuse_size(e, 0);
        return NULL;
    }
    uint8_t *at = reserve(e, 1 + width + body);
    if (!at)
        return NULL;
    *at++ = width ? tag + CODEC_SHORT + (width == 1 ? 1 : 2) : tag + n;
    for (; width; width--, n >>= 8)
        *at++ = (uint8_t)n;
    e->used = at - e->start + body;
    return at;
}

static inline unsigned bit_length(uint64_t number)
{
    return number ? 64 - __builtin_clzll(number) : 0;
}

/* Append an encoding. */
static inline int put_encoded(struct encoder *e, const void *bytes, Py_ssize_t size)
{
    e->room -= size - 1;
    if (e->room < 0)
        return refuse_size(e, 0);
    uint8_t *at = reserve(e, size);
    if (!at)
        return -1;
    memcpy(at, bytes, size);
    e->used += size;
    return 0;
}

int codec_refuse_type(const struct encoder *e, PyObject *value);
int codec_refuse_depth(const struct encoder *e);

/* Append what is no container, or refuse its type. */
int codec_put_any_leaf(struct encoder *e, PyObject *value);

/* Replace the end of the encoding by these parts of it, which are all of that end. */
int codec_put_in_order(struct encoder *e, const struct part *parts, Py_ssize_t count);

/* Sort the items of a set. */
int codec_sort(struct encoder *e, const struct level *level);

/* codec_encode_extended.c: append a value with all that it contains. */
int codec_encode_extended(struct encoder *e, PyObject *value);

/* codec_numbers.c: append a Decimal. */
int codec_put_decimal(struct encoder *e, PyObject *value);

/* Append a Fraction of two ints of 8 bytes; else this is not done, which is no failure. */
int codec_put_fraction(struct encoder *e, PyObject *value, int *is_done);

/* Write the encoding of an int. Return how many bytes it takes, at most CODEC_MAX_HEAD. */
unsigned codec_int(int64_t number, uint8_t *bytes);

#endif
