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
    CODEC_INT = 0x90,
    CODEC_STR = 0xA0,
    CODEC_LIST = 0xB0,
    CODEC_TUPLE = 0xC0,
    CODEC_SET = 0xD0,
    CODEC_DICT = 0xE0,
};

/* Return NULL if these bytes are the encoding of a value, else why not. Takes time linear in them, no memory, and does
   not recurse. One thing is left to the decoder: set elements or keys that are equal, such as 1 and True. */
const char *codec_check(const uint8_t *data, uint64_t size);

/* Return the length that a tag from CODEC_FLOAT on stands for, and move `at` behind it. Bytes beyond `end` count as
   0. */
uint64_t codec_length(const uint8_t **at, const uint8_t *end, uint8_t tag);

int codec_is_ascii(const uint8_t *text, uint64_t size);

#endif
