/* See process.h: whether an answer is an encoding, told for those that are simple (sandbox/codec.py). */

#include "process.h"

#define MOST_CONTAINERS 64 /* fewer than sandbox.codec.MAX_DEPTH, so that no depth need be counted */

/* The encoding of an int, and nothing shorter would do (sandbox.codec). */
static int is_short(const uint8_t *bytes, uint64_t n)
{
    uint8_t top = n ? bytes[n - 1] : 0;
    return n > 1 ? (top != 0 && top != 255) || (bytes[n - 2] ^ top) > 127 : top > 127;
}

int codec_is_ascii(const uint8_t *text, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (text[i] > 127)
            return 0;
    return 1;
}

/* Whether this is an encoding (sandbox.codec), of lists, tuples and what they hold, texts in ASCII; of others it may be one too. */
int codec_is_plain(const uint8_t *data, uint64_t size)
{
    const uint8_t *end = data + size;
    uint64_t owed = 1, containers = 0;
    for (; owed; owed--) {
        if (data == end)
            return 0;
        uint8_t tag = *data++, kind = tag & 0xF0;
        uint64_t n = tag & 0x0F;
        if (tag < 0x83)
            continue;
        if (n == 15 || (n == 14 && (data == end || *data < 14)))
            return 0;
        n = tag == 0x83 ? 8 : n == 14 ? *data++ : n;
        if (kind == 0xB0 || kind == 0xC0) {
            owed += n;
            if (++containers > MOST_CONTAINERS || owed > size)
                return 0;
            continue;
        }
        if (kind > 0xA0 || n > (uint64_t)(end - data) || (kind == 0x80 && tag != 0x83))
            return 0;
        if ((kind == 0x90 && !is_short(data, n)) || (kind == 0xA0 && !codec_is_ascii(data, n)))
            return 0;
        data += n;
    }
    return data == end;
}
