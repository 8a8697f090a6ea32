/* The encoding of plain data. sandbox/codec.py has the format and is the specification: this code gives the same
   results. Nothing in this header needs Python. */

#ifndef CODEC_H
#define CODEC_H

#include <stdint.h>

#define CODEC_MAX_DEPTH 200 /* of containers within containers */
#define CODEC_MAX_HEAD 9   /* bytes of a tag with its length */
#define CODEC_SHORT 13      /* the largest length within a tag */

#define CODEC_CONTINUES(byte) (((byte) & 0xC0) == 0x80) /* within a character of UTF-8 */

enum { /* tags; from CODEC_INT on a tag has a length as well, and the kind in the upper four bits */
    CODEC_NONE = 0x80,
    CODEC_FALSE,
    CODEC_TRUE,
    CODEC_FLOAT,
    CODEC_EXTENDED, /* a second tag follows */
    CODEC_INT = 0x90,
    CODEC_STR = 0xA0,
    CODEC_LIST = 0xB0,
    CODEC_TUPLE = 0xC0,
    CODEC_SET = 0xD0,
    CODEC_DICT = 0xE0,
};

enum { /* second tags; from CODEC_BYTES on one has a length as well, and the kind in the upper four bits */
    CODEC_COMPLEX,
    CODEC_DATE,
    CODEC_TIME,
    CODEC_DATETIME,
    CODEC_TIMEDELTA,
    CODEC_TIMEZONE,
    CODEC_RANGE,
    CODEC_FRACTION,
    CODEC_SCALAR, /* of NumPy's */
    CODEC_ARRAY,
    CODEC_BYTES = 0x10,
    CODEC_BYTEARRAY = 0x20,
    CODEC_FROZENSET = 0x30,
    CODEC_DEQUE = 0x40,
    CODEC_COUNTER = 0x50,
    CODEC_ORDEREDDICT = 0x60,
    CODEC_DEFAULTDICT = 0x70,
    CODEC_DECIMAL = 0x80,
};

enum { CODEC_FINITE, CODEC_NEGATIVE, CODEC_INFINITE, CODEC_QUIET = 4, CODEC_SIGNALLING = 6 }; /* forms of a Decimal */

extern const char CODEC_TOO_DEEP[];

/* Return NULL if these bytes are the encoding of a value, else why not. Takes time linear in them, no memory, and does
   not recurse. What the bytes alone don't show is left to the decoder: set elements or keys that are equal, such as 1
   and True, Fractions that are not in lowest terms. */
const char *codec_check(const uint8_t *data, uint64_t size);

/* The same where values of the extended kinds are plain too. */
const char *codec_check_extended(const uint8_t *data, uint64_t size);

/* Check an extended value that begins at its second tag, up to the items that it may contain, and move `at` there. It
   is within `depth` containers, must be hashable if it `is_key`, and must have ended at `limit`, but for one byte of
   each of its items. */
const char *codec_extended_head(const uint8_t **at, const uint8_t *limit, int is_key, unsigned depth, unsigned *kind,
    uint64_t *items);

/* Check the `n` bytes that follow the head of an int, a str or a float. */
const char *codec_check_leaf(const uint8_t *at, uint8_t tag, uint64_t n);

/* Return the length that a tag from CODEC_FLOAT on stands for, and move `at` behind it. Bytes beyond `end` count as
   0. */
uint64_t codec_length(const uint8_t **at, const uint8_t *end, uint8_t tag);

int codec_is_ascii(const uint8_t *text, uint64_t size);

#endif
