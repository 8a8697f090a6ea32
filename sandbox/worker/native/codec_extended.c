/* See codec.h: check extended values. The same steps as checking.py and arrays.py in sandbox/extended, in the same
   order. */

#include "codec.h"

#include <string.h>

#define MAX_EXPONENT 999999999999999999 /* of a Decimal */
#define MIN_EXPONENT (-1999999999999999997)
#define MAX_DAYS 999999999
#define MAX_DIMENSIONS 64
#define MAX_DTYPE 32 /* bytes of its name */
#define MAX_ITEM INT32_MAX
#define FACTORIES 12

static const char ENDS_EARLY[] = "data ends early", NOT_HASHABLE[] = "a set element or a key is not hashable",
    UNKNOWN[] = "unknown tag", WRONG_DIGITS[] = "a Decimal has other digits than it needs";

/* What is read, and where it must have ended. */
struct input { const uint8_t *at, *limit; };

/* Every function below returns NULL, or why these bytes are no encoding. */

static const char *skip(struct input *in, uint64_t n)
{
    if (n > (uint64_t)(in->limit - in->at))
        return ENDS_EARLY;
    in->at += n;
    return NULL;
}

static const char *read_byte(struct input *in, uint8_t *byte)
{
    if (in->at == in->limit)
        return ENDS_EARLY;
    *byte = *in->at++;
    return NULL;
}

static const char *read_length(struct input *in, uint8_t tag, uint64_t *n)
{
    unsigned code = tag & 0x0F;
    *n = codec_length(&in->at, in->limit, CODEC_STR | code);
    return code > CODEC_SHORT && *n < (code == CODEC_SHORT + 1 ? CODEC_SHORT + 1 : 256)
        ? "a length is cut short, or takes more bytes than it needs" : NULL;
}

/* One that doesn't fit becomes the nearest number that does; and `fits` 0. */
static const char *read_int(struct input *in, int64_t *value, int *fits)
{
    uint8_t tag;
    uint64_t n, bits;
    const char *why = read_byte(in, &tag);
    if (why)
        return why;
    *fits = 1;
    *value = tag;
    if (tag < CODEC_NONE)
        return NULL;
    if ((tag & 0xF0) != CODEC_INT)
        return "an int was expected";
    if ((why = read_length(in, tag, &n)) || (why = skip(in, n)) || (why = codec_check_leaf(in->at - n, tag, n)))
        return why;
    int is_negative = in->at[-1] > 127;
    if ((*fits = n <= sizeof bits)) {
        bits = is_negative ? UINT64_MAX : 0;
        for (unsigned i = 1; i <= n; i++)
            bits = bits << 8 | in->at[-(int)i];
        *value = (int64_t)bits;
    } else {
        *value = is_negative ? INT64_MIN : INT64_MAX;
    }
    return NULL;
}

/* Its text ends where the input goes on. */
static const char *read_str(struct input *in, uint64_t *n)
{
    uint8_t tag;
    const char *why = read_byte(in, &tag);
    if (why)
        return why;
    if ((tag & 0xF0) != CODEC_STR)
        return "a str was expected";
    (void)((why = read_length(in, tag, n)) || (why = skip(in, *n)) || (why = codec_check_leaf(in->at - *n, tag, *n)));
    return why;
}

/* Dates and times are what their classes pickle: year and month, day, hour, minute, second, microsecond; the month's or
   the hour's highest bit is `fold`. */
static const char *check_date(const uint8_t *at, uint8_t month_bits)
{
    unsigned year = at[0] << 8 | at[1], month = at[2] & month_bits, day = at[3];
    unsigned is_leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
    unsigned days = month == 2 ? 28 + is_leap : 30 + (month + (month > 7)) % 2;
    return year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || day > days
        ? "a date is out of range" : NULL;
}

static const char *check_time(uint8_t hour, const uint8_t *rest)
{
    return hour > 23 || rest[0] > 59 || rest[1] > 59 || (rest[2] << 16 | rest[3] << 8 | rest[4]) > 999999
        ? "a time is out of range" : NULL;
}

static const char *check_duration(const uint8_t *at, int32_t *days, int *is_whole)
{
    uint32_t seconds, microseconds;
    memcpy(days, at, sizeof *days);
    memcpy(&seconds, at + 4, sizeof seconds);
    memcpy(&microseconds, at + 8, sizeof microseconds);
    *is_whole = !seconds && !microseconds;
    return *days > MAX_DAYS || *days < -MAX_DAYS || seconds >= 86400 || microseconds >= 1000000
        ? "a timedelta is out of range" : NULL;
}

static const char *check_timezone(struct input *in)
{
    int32_t days;
    int is_whole;
    uint64_t n;
    const char *why = skip(in, 12);
    if (why || (why = check_duration(in->at - 12, &days, &is_whole)))
        return why;
    if ((days != 0 && days != -1) || (days == -1 && is_whole))
        return "an offset is out of range";
    if (in->at < in->limit && *in->at == CODEC_NONE) {
        in->at++;
        return NULL;
    }
    return read_str(in, &n);
}

/* A timezone or None. */
static const char *check_zone(struct input *in)
{
    uint8_t tag;
    const char *why = read_byte(in, &tag);
    if (why || tag == CODEC_NONE)
        return why;
    if (in->at == in->limit || tag != CODEC_EXTENDED || *in->at != CODEC_TIMEZONE)
        return "a timezone was expected";
    in->at++;
    return check_timezone(in);
}

/* The ints of a range or a Fraction. */
static const char *check_ints(struct input *in, uint8_t tag)
{
    int64_t last = 0;
    int fits;
    const char *why;
    for (int i = 0; i < (tag == CODEC_RANGE ? 3 : 2); i++)
        if ((why = read_int(in, &last, &fits)))
            return why;
    if (last == 0 || (tag == CODEC_FRACTION && last < 0))
        return tag == CODEC_RANGE ? "the step of a range is 0" : "a denominator is not positive";
    return NULL;
}

/* A decimal number in at most ten digits, without a zero in front. */
static int read_number(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    const uint8_t *start = *at;
    for (*value = 0; *at < end && *at - start < 10 && **at >= '0' && **at <= '9'; ++*at)
        *value = *value * 10 + (**at - '0');
    return *at > start && (*start != '0' || *at - start == 1);
}

static int is_unit(const uint8_t *at, const uint8_t *end)
{
    uint64_t many;
    if (*at++ != '[' || *--end != ']')
        return 0;
    if (at < end && *at >= '0' && *at <= '9' && (!read_number(&at, end, &many) || many < 2 || many > MAX_ITEM))
        return 0;
    return end - at == 1 ? memchr("YMWDhms", *at, 7) != NULL
        : end - at == 2 && memchr("munpfa", *at, 6) != NULL && at[1] == 's';
}

/* Find how many bytes an element of this dtype takes. Return 0 if values of it are not plain. */
static int find_item_size(const uint8_t *text, uint64_t size, uint64_t *item)
{
    if (size < 3 || size > MAX_DTYPE || !memchr("|<>", text[0], 3))
        return 0;
    const uint8_t *at = text + 2, *end = text + size;
    int is_byte = text[0] == '|';
    if (text[1] == 'M' || text[1] == 'm') {
        *item = 8;
        return !is_byte && *at++ == '8' && at < end && is_unit(at, end);
    }
    if (!read_number(&at, end, item) || at < end)
        return 0;
    switch (text[1]) {
    case 'S':
        return is_byte && *item <= MAX_ITEM;
    case 'U':
        *item *= 4;
        return !is_byte && *item <= MAX_ITEM;
    case 'b':
        return is_byte && *item == 1;
    case 'c':
        return !is_byte && (*item == 8 || *item == 16);
    case 'i':
    case 'u':
        return is_byte ? *item == 1 : *item == 2 || *item == 4 || *item == 8;
    case 'f':
        return !is_byte && (*item == 2 || *item == 4 || *item == 8);
    default:
        return 0;
    }
}

/* Find the size of an array whose elements take `*size` bytes. */
static const char *check_shape(struct input *in, uint64_t *size)
{
    uint8_t tag;
    uint64_t n, product = *size;
    int64_t length;
    int is_empty = 0, is_large = 0, fits;
    const char *why = read_byte(in, &tag);
    if (why)
        return why;
    if ((tag & 0xF0) != CODEC_TUPLE)
        return "a shape was expected";
    if ((why = read_length(in, tag, &n)))
        return why;
    if (n > MAX_DIMENSIONS)
        return "an array has too many dimensions";
    while (n--) {
        if ((why = read_int(in, &length, &fits)))
            return why;
        if (length < 0 || !fits)
            return "a shape is out of range";
        if (!length)
            is_empty = 1;
        else if (is_large || product > INT64_MAX / (uint64_t)length)
            is_large = 1;
        else
            product *= length;
    }
    *size = is_empty ? 0 : product;
    return is_large ? "an array is too large" : NULL;
}

static const char *check_numpy(struct input *in, int is_array)
{
    uint64_t length, size, n;
    uint8_t tag;
    const char *why = read_str(in, &length);
    if (why)
        return why;
    const uint8_t *text = in->at - length;
    if (!find_item_size(text, length, &size) || (is_array ? !size : *text == '>'))
        return "unknown dtype";
    if ((is_array && (why = check_shape(in, &size))) || (why = read_byte(in, &tag)))
        return why;
    if (in->at == in->limit || tag != CODEC_EXTENDED || (*in->at & 0xF0) != CODEC_BYTES)
        return "bytes were expected";
    tag = *in->at++;
    if ((why = read_length(in, tag, &n)) || (why = skip(in, n)))
        return why;
    if (n != size)
        return "an array has more or fewer bytes than its shape says";
    if (text[1] == 'b')
        for (const uint8_t *at = in->at - n; at < in->at; at++)
            if (*at > 1)
                return "a NumPy bool is neither 0 nor 1";
    return NULL;
}

/* A value of a kind without a length of its own. */
static const char *check_record(struct input *in, uint8_t tag, int is_key)
{
    static const uint8_t sizes[] = {16, 4, 6, 10, 12, 12, 0, 0};
    int32_t days;
    int is_whole;
    if (tag == CODEC_ARRAY && is_key)
        return NOT_HASHABLE;
    if (tag == CODEC_SCALAR || tag == CODEC_ARRAY)
        return check_numpy(in, tag == CODEC_ARRAY);
    if (tag >= sizeof sizes)
        return UNKNOWN;
    if (tag == CODEC_TIMEZONE)
        return check_timezone(in);
    const uint8_t *body = in->at;
    const char *why = skip(in, sizes[tag]);
    if (why)
        return why;
    switch (tag) {
    case CODEC_DATE:
        return check_date(body, 0xFF);
    case CODEC_TIME:
        why = check_time(body[0] & 0x7F, body + 1);
        return why ? why : check_zone(in);
    case CODEC_DATETIME:
        (void)((why = check_date(body, 0x7F)) || (why = check_time(body[4], body + 5)) || (why = check_zone(in)));
        return why;
    case CODEC_TIMEDELTA:
        return check_duration(body, &days, &is_whole);
    case CODEC_COMPLEX:
        return NULL;
    default:
        return check_ints(in, tag);
    }
}

static const char *check_decimal(struct input *in, uint64_t n, int is_key)
{
    uint8_t form;
    int64_t exponent = 0;
    int fits = 1;
    const char *why = read_byte(in, &form);
    if (why)
        return why;
    if (form > (CODEC_SIGNALLING | CODEC_NEGATIVE))
        return "a Decimal has an unknown form";
    form &= ~CODEC_NEGATIVE;
    if (form == CODEC_FINITE && (why = read_int(in, &exponent, &fits)))
        return why;
    const uint8_t *digits = in->at;
    if ((why = skip(in, n)))
        return why;
    for (uint64_t i = 0; i < n; i++)
        if (digits[i] < '0' || digits[i] > '9')
            return WRONG_DIGITS;
    if (n ? *digits == '0' && (n > 1 || form != CODEC_FINITE) : form == CODEC_FINITE)
        return WRONG_DIGITS;
    if (n && form == CODEC_INFINITE)
        return WRONG_DIGITS;
    int64_t most = MAX_EXPONENT - (form == CODEC_FINITE ? (int64_t)n - 1 : 0);
    if (!fits || exponent < MIN_EXPONENT || exponent > most)
        return "an exponent is out of range";
    return form == CODEC_SIGNALLING && is_key ? NOT_HASHABLE : NULL;
}

static const char *check_maxlen(struct input *in, uint64_t n)
{
    int64_t maxlen;
    int fits;
    if (in->at < in->limit && *in->at == CODEC_NONE) {
        in->at++;
        return NULL;
    }
    const char *why = read_int(in, &maxlen, &fits);
    if (!why && (!fits || maxlen < 0 || (uint64_t)maxlen < n))
        why = "a deque has more items than it can have";
    return why;
}

static const char *check_container(struct input *in, unsigned kind, uint64_t n, unsigned depth, uint64_t *items)
{
    uint8_t factory;
    const char *why = NULL;
    if (kind == CODEC_DEQUE)
        why = check_maxlen(in, n);
    else if (kind == CODEC_DEFAULTDICT && !(why = read_byte(in, &factory)) && factory >= FACTORIES)
        why = "unknown factory";
    if (why)
        return why;
    uint64_t there = in->limit - in->at, each = kind < CODEC_COUNTER ? 1 : 2;
    if (n > there / each)
        return ENDS_EARLY;
    *items = each * n;
    return depth == CODEC_MAX_DEPTH ? CODEC_TOO_DEEP : NULL;
}

const char *codec_extended_head(const uint8_t **at, const uint8_t *limit, int is_key, unsigned depth, unsigned *kind,
    uint64_t *items)
{
    struct input in = {*at, limit};
    uint64_t n;
    uint8_t tag;
    const char *why = read_byte(&in, &tag);
    if (why)
        return why;
    *items = 0;
    *kind = tag & 0xF0;
    if (*kind < CODEC_BYTES) {
        *kind = tag;
        why = check_record(&in, tag, is_key);
    } else if (*kind > CODEC_DECIMAL) {
        why = UNKNOWN;
    } else if (!(why = read_length(&in, tag, &n))) {
        if (*kind == CODEC_DECIMAL)
            why = check_decimal(&in, n, is_key);
        else if (is_key && *kind != CODEC_BYTES && *kind != CODEC_FROZENSET)
            why = NOT_HASHABLE;
        else
            why = *kind < CODEC_FROZENSET ? skip(&in, n) : check_container(&in, *kind, n, depth, items);
    }
    *at = in.at;
    return why;
}
