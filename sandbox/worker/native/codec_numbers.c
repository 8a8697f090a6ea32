/* Encode and build Decimals and Fractions: the same steps as sandbox/extended/encoding.py and decoding.py. */

#include "codec_encoder.h"

#include <stdlib.h>

#define EXPONENT_BYTES 24 /* of its text */

unsigned codec_int(int64_t number, uint8_t *bytes)
{
    if (0 <= number && number < CODEC_NONE) {
        *bytes = (uint8_t)number;
        return 1;
    }
    unsigned size = 1;
    while (size < sizeof number && (number >> (8 * size - 1)) != (number < 0 ? -1 : 0))
        size++;
    *bytes++ = CODEC_INT + size;
    for (unsigned i = 0; i < size; i++)
        *bytes++ = (uint8_t)(number >> 8 * i);
    return 1 + size;
}

/* Parts of the text of a Decimal. Digits may have a point between them, which is not counted. */
struct decimal { const char *digits; Py_ssize_t count; int64_t exponent; unsigned form; };

static struct decimal read_decimal(const char *at, const char *end)
{
    struct decimal found = {NULL, 0, 0, CODEC_FINITE};
    if (*at == '-') {
        found.form = CODEC_NEGATIVE;
        at++;
    }
    char first = *at | 0x20; /* as a small letter: what the context has of them is not known */
    if (first == 'i' || first == 'n' || first == 's') {
        found.form |= first == 'i' ? CODEC_INFINITE : first == 'n' ? CODEC_QUIET : CODEC_SIGNALLING;
        found.digits = first == 'i' ? end : at + (first == 'n' ? 3 : 4);
        found.count = end - found.digits;
        return found;
    }
    const char *letter = end;
    while (letter > at && (letter[-1] | 0x20) != 'e')
        letter--;
    const char *last = letter > at ? letter - 1 : end, *point = memchr(at, '.', last - at);
    found.exponent = (letter > at ? strtoll(letter, NULL, 10) : 0) - (point ? last - point - 1 : 0);
    found.count = last - at - (point != NULL);
    for (; found.count > 1 && (*at == '0' || at == point); at++)
        found.count -= at != point;
    found.digits = at + (at == point);
    return found;
}

int codec_put_decimal(struct encoder *e, PyObject *value)
{
    PyObject *text = PyObject_Str(value);
    Py_ssize_t size;
    const char *start = text ? PyUnicode_AsUTF8AndSize(text, &size) : NULL;
    if (!start) {
        Py_XDECREF(text);
        return -1;
    }
    struct decimal number = read_decimal(start, start + size);
    uint8_t bytes[CODEC_MAX_HEAD], *at = NULL;
    unsigned length = number.form < CODEC_INFINITE ? codec_int(number.exponent, bytes) : 0;
    if (put_byte(e, CODEC_EXTENDED) == 0) {
        e->room -= 2 + length;
        at = put_head(e, CODEC_DECIMAL, number.count, number.count, 1 + length + number.count);
    }
    if (at) {
        *at++ = number.form;
        memcpy(at, bytes, length);
        at += length;
        for (const char *digit = number.digits; number.count; digit++)
            if (*digit != '.') {
                *at++ = *digit;
                number.count--;
            }
    }
    Py_DECREF(text);
    return at ? 0 : -1;
}

PyObject *codec_make_decimal(const struct known *known, const uint8_t *at, uint64_t n)
{
    static const char *const names[] = {"", "Infinity", "NaN", "sNaN"};
    char ending[EXPONENT_BYTES] = "";
    unsigned form = *at++, sign = form & CODEC_NEGATIVE;
    const char *name = names[form / 2];
    if (form < CODEC_INFINITE) {
        int64_t exponent = *at;
        if (*at >= CODEC_NONE) {
            unsigned size = *at & 0x0F;
            uint64_t bits = at[size] > 127 ? UINT64_MAX : 0;
            for (unsigned i = size; i; i--)
                bits = bits << 8 | at[i];
            exponent = (int64_t)bits;
            at += size;
        }
        at++;
        PyOS_snprintf(ending, sizeof ending, "E%lld", (long long)exponent);
    }
    size_t before = sign + strlen(name), after = strlen(ending);
    char *text = PyMem_Malloc(before + n + after + 1);
    if (!text)
        return PyErr_NoMemory();
    text[0] = '-';
    memcpy(text + sign, name, before - sign);
    memcpy(text + before, at, n);
    memcpy(text + before + n, ending, after);
    PyObject *whole = PyUnicode_FromStringAndSize(text, before + n + after);
    PyMem_Free(text);
    PyObject *number = whole ? PyObject_CallFunctionObjArgs(known->decimal, whole, NULL) : NULL;
    Py_XDECREF(whole);
    return number;
}

static uint64_t find_common_divisor(uint64_t left, uint64_t right)
{
    while (right) {
        uint64_t rest = left % right;
        left = right;
        right = rest;
    }
    return left;
}

static uint64_t magnitude(int64_t number)
{
    return number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
}

/* Get a part of a Fraction. Return 1 if it is an int that fits, else 0, without an exception. */
static int read_part(PyObject *descriptor, PyObject *fraction, int64_t *number)
{
    descrgetfunc get = (descrgetfunc)PyType_GetSlot(Py_TYPE(descriptor), Py_tp_descr_get);
    PyObject *part = get(descriptor, fraction, (PyObject *)Py_TYPE(fraction));
    int overflow = 1;
    if (!part)
        PyErr_Clear();
    else if (PyLong_CheckExact(part))
        *number = PyLong_AsLongLongAndOverflow(part, &overflow);
    Py_XDECREF(part);
    return !overflow;
}

int codec_put_fraction(struct encoder *e, PyObject *value, int *is_done)
{
    int64_t numerator, denominator;
    *is_done = read_part(e->known->numerator, value, &numerator)
        && read_part(e->known->denominator, value, &denominator) && denominator > 0
        && find_common_divisor(magnitude(numerator), denominator) == 1;
    if (!*is_done)
        return 0;
    uint64_t least = bit_length(magnitude(numerator)) / 8 + bit_length(denominator) / 8;
    if ((int64_t)least > e->room)
        return refuse_size(e, least);
    uint8_t bytes[2 + 2 * CODEC_MAX_HEAD] = {CODEC_EXTENDED, CODEC_FRACTION};
    unsigned size = 2 + codec_int(numerator, bytes + 2);
    size += codec_int(denominator, bytes + size);
    return put_encoded(e, bytes, size);
}
