/* See codec.h: check an encoding. The same steps as `python_check` in sandbox/codec.py, in the same order. */

#include "codec.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080

/* For `check` and what it calls: there are two copies of it, and for that the compiler would not inline them. */
#define INLINE static inline __attribute__((always_inline))

#define QUOTE(text) #text
#define AS_TEXT(macro) QUOTE(macro)

/* What a container may contain: anything, hashables, hashables in order, or anything with hashables as keys. */
enum mode { ANY, HASHABLE, SORTED, KEYED, MODES };

const char CODEC_TOO_DEEP[] = "nested deeper than " AS_TEXT(CODEC_MAX_DEPTH) " levels";

uint64_t codec_length(const uint8_t **at, const uint8_t *end, uint8_t tag)
{
    uint64_t n = tag == CODEC_FLOAT ? 8 : tag & 0x0F;
    if (n <= CODEC_SHORT)
        return n;
    unsigned width = n == CODEC_SHORT + 1 ? 1 : 8;
    n = 0;
    for (unsigned i = 0; i < width && *at < end; i++)
        n |= (uint64_t)*(*at)++ << 8 * i;
    return n;
}

static uint64_t eight_bytes(const uint8_t *at)
{
    uint64_t eight;
    memcpy(&eight, at, sizeof eight);
    return eight;
}

static uint32_t four_bytes(const uint8_t *at)
{
    uint32_t four;
    memcpy(&four, at, sizeof four);
    return four;
}

/* Examine some bytes twice instead of each in turn: most texts are short, and each of another length. */
int codec_is_ascii(const uint8_t *text, uint64_t size)
{
    const uint8_t *end = text + size;
    if (size < 4)
        return !size || (text[0] | text[size / 2] | end[-1]) < 128;
    if (size < 8)
        return !((four_bytes(text) | four_bytes(end - 4)) & (uint32_t)HIGH_BITS);
    for (; end - text > 32; text += 32)
        if ((eight_bytes(text) | eight_bytes(text + 8) | eight_bytes(text + 16) | eight_bytes(text + 24)) & HIGH_BITS)
            return 0;
    for (; end - text > 8; text += 8)
        if (eight_bytes(text) & HIGH_BITS)
            return 0;
    return !(eight_bytes(end - 8) & HIGH_BITS);
}

/* UTF-8, and a lone surrogate as three bytes. */
INLINE int is_text(const uint8_t *at, const uint8_t *end)
{
    if (codec_is_ascii(at, end - at))
        return 1;
    while (at < end) {
        if (end - at >= 8 && !(eight_bytes(at) & HIGH_BITS)) {
            at += 8;
            continue;
        }
        uint8_t lead = *at++;
        if (lead < 0x80)
            continue;
        int more = lead < 0xC2 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 0;
        if (!more || end - at < more)
            return 0;
        if ((lead == 0xE0 && *at < 0xA0) || (lead == 0xF0 && *at < 0x90) || (lead == 0xF4 && *at > 0x8F))
            return 0; /* too long, or beyond U+10FFFF */
        for (; more; more--)
            if (!CODEC_CONTINUES(*at++))
                return 0;
    }
    return 1;
}

/* Return 1 if no shorter encoding exists. */
INLINE int is_shortest(const uint8_t *bytes, uint64_t n)
{
    if (n < 2)
        return n && bytes[0] > 127;
    uint8_t top = bytes[n - 1];
    return (top != 0x00 && top != 0xFF) || (bytes[n - 2] ^ top) > 127;
}

INLINE const char *check_leaf(const uint8_t *at, uint8_t tag, uint64_t n)
{
    if (tag >= CODEC_STR)
        return is_text(at, at + n) ? NULL : "a str is not UTF-8";
    if (tag >= CODEC_INT)
        return is_shortest(at, n) ? NULL : "an int takes more bytes than it needs, or none";
    return tag == CODEC_FLOAT ? NULL : "unknown tag";
}

const char *codec_check_leaf(const uint8_t *at, uint8_t tag, uint64_t n)
{
    return check_leaf(at, tag, n);
}

/* Return 1 if the value with `left` others after it need not be hashable. */
INLINE int takes_any(enum mode mode, uint64_t left)
{
    return mode == ANY || (mode == KEYED && left % 2 == 0);
}

/* Find the mode of a container that stands in another one of mode `outer`, with `left` values after it. */
INLINE const char *check_container(unsigned kind, enum mode outer, uint64_t left, unsigned depth, enum mode *inner)
{
    if (kind > CODEC_DICT)
        return "unknown tag";
    if (depth == CODEC_MAX_DEPTH)
        return CODEC_TOO_DEEP;
    if (takes_any(outer, left)) {
        *inner = kind == CODEC_SET ? SORTED : kind == CODEC_DICT ? KEYED : ANY;
        return NULL;
    }
    *inner = HASHABLE;
    return kind == CODEC_TUPLE ? NULL : "a set element or a key is not hashable";
}

INLINE int is_greater(const uint8_t *left, const uint8_t *right, const uint8_t *end)
{
    uint64_t left_size = right - left, right_size = end - right;
    int order = memcmp(left, right, left_size < right_size ? left_size : right_size);
    return order ? order > 0 : left_size > right_size;
}

/* Read how many bytes follow a tag at least, `n`, and take them from `spare`. */
INLINE const char *take(const uint8_t **at, const uint8_t *end, uint8_t tag, uint64_t *spare, uint64_t *n)
{
    unsigned code = tag & 0x0F, width = code <= CODEC_SHORT ? 0 : code == CODEC_SHORT + 1 ? 1 : 8;
    *n = codec_length(at, end, tag);
    if (width && *n < (width == 1 ? CODEC_SHORT + 1 : 256))
        return "a length is cut short, or takes more bytes than it needs";
    if (width > *spare || *n > *spare - width)
        return "data ends early";
    *spare -= width;
    if ((tag & 0xF0) == CODEC_DICT)
        *n *= 2;
    if (*n > *spare)
        return "data ends early";
    *spare -= *n;
    return NULL;
}

INLINE const char *check(const uint8_t *data, uint64_t size, int extended)
{
    uint64_t stack[CODEC_MAX_DEPTH];         /* `left` and `mode` of the containers round the present one */
    const uint8_t *sets[CODEC_MAX_DEPTH][2]; /* extended: `before` and `start` of those that are sets */
    unsigned depth = 0, kind;
    enum mode mode = ANY, inner;
    uint64_t n, left = 1, spare = size - 1; /* bytes left when each value still to come takes one */
    const uint8_t *at = data, *end = data + size;
    const uint8_t *before = data, *start = data; /* the last two elements of a set */
    const char *why;
    if (!size)
        return "there are no bytes";
    for (;;) {
        if (mode == SORTED) { /* between elements: the last one is from `start` to `at` */
            if (is_greater(before, start, at))
                return "a set is out of order";
            before = start;
            start = at;
        }
        if (!left) {
            if (!depth)
                return spare ? "there are bytes after the value" : NULL;
            left = stack[--depth];
            mode = left % MODES;
            left /= MODES;
            if (extended && mode == SORTED) {
                before = sets[depth][0];
                start = sets[depth][1];
            }
            continue;
        }
        left--;
        uint8_t tag = *at++; /* `spare` counts it */
        if (tag < CODEC_FLOAT)
            continue;
        if (extended && tag == CODEC_EXTENDED) {
            const uint8_t *second = at;
            if ((why = codec_extended_head(&at, at + spare, !takes_any(mode, left), depth, &kind, &n)))
                return why;
            spare -= at - second + n;
            inner = kind == CODEC_FROZENSET ? SORTED : kind >= CODEC_COUNTER ? KEYED : ANY;
        } else {
            if ((why = take(&at, end, tag, &spare, &n)))
                return why;
            if (tag < CODEC_LIST) {
                if ((why = check_leaf(at, tag, n)))
                    return why;
                at += n;
                continue;
            }
            if ((why = check_container(tag & 0xF0, mode, left, depth, &inner)))
                return why;
        }
        if (!n)
            continue;
        if (extended && mode == SORTED) {
            sets[depth][0] = before;
            sets[depth][1] = start;
        }
        stack[depth++] = left * MODES + mode;
        left = n;
        mode = inner;
        if (mode == SORTED)
            before = start = at;
    }
}

const char *codec_check(const uint8_t *data, uint64_t size)
{
    return check(data, size, 0);
}

const char *codec_check_extended(const uint8_t *data, uint64_t size)
{
    return check(data, size, 1);
}
