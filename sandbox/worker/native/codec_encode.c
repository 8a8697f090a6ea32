/* See codecmodule.h: encode plain data. The same steps as `python_encode` in sandbox/codec.py, in the same order.

   It runs after hostile code in the same interpreter. So it uses nothing of an object before it knows that its type is
   exactly a plain one, and of those it calls C code only: no code of the task runs, no container changes, and items of
   a container need no reference of their own. For that the garbage collector is off as well: it would
   run finalizers. */

#include "codec_encoder.h"

#include <stdlib.h>
#include <string.h>

#define SHORT_TEXT 256 /* characters */

/* The type's name in 60 printable characters, without running code of the type or of its metaclass. */
int codec_refuse_type(const struct encoder *e, PyObject *value)
{
    PyObject *name = PyType_GetName(Py_TYPE(value));
    PyObject *shortened = name ? PyUnicode_Substring(name, 0, 60) : NULL; /* exactly a str, whatever the name is */
    PyObject *shown = shortened ? PyObject_Repr(shortened) : NULL;
    PyObject *bare = shown ? PyUnicode_Substring(shown, 1, PyUnicode_GetLength(shown) - 1) : NULL;
    if (bare)
        PyErr_Format(e->known->not_plain, "an instance of %U is not plain data", bare);
    Py_XDECREF(bare);
    Py_XDECREF(shown);
    Py_XDECREF(shortened);
    Py_XDECREF(name);
    return -1;
}

int codec_refuse_depth(const struct encoder *e)
{
    PyErr_Format(e->known->not_plain, "nested deeper than %d levels (or cyclic)", CODEC_MAX_DEPTH);
    return -1;
}

static int put_small_int(struct encoder *e, int64_t number)
{
    uint64_t bits = number;
    unsigned least = bit_length(number < 0 ? 0 - bits : bits) / 8, size = bit_length(number < 0 ? ~bits : bits) / 8 + 1;
    if (least > e->room)
        return refuse_size(e, least);
    uint8_t *at = put_head(e, CODEC_INT, size, size, size);
    if (!at)
        return -1;
    for (; size; size--, bits >>= 8)
        *at++ = (uint8_t)bits;
    return 0;
}

static int put_large_int(struct encoder *e, PyObject *value)
{
    Py_ssize_t size = PyLong_AsNativeBytes ? PyLong_AsNativeBytes(value, NULL, 0, LITTLE_ENDIAN_SIGNED)
        : (Py_ssize_t)(_PyLong_NumBits(value) / 8 + 1);
    if (size < 1)
        return -1;
    if (size - 1 > e->room)
        return refuse_size(e, size - 1);
    uint8_t *there = reserve(e, CODEC_MAX_HEAD + size);
    if (!there)
        return -1;
    there += CODEC_MAX_HEAD;
    if (PyLong_AsNativeBytes ? PyLong_AsNativeBytes(value, there, size, LITTLE_ENDIAN_SIGNED) < 0
                             : _PyLong_AsByteArray(value, there, size, 1, 1) < 0)
        return -1;
    if (there[size - 1] == 0xFF && there[size - 2] > 127) /* -2**(8k - 1) takes a byte less than 2**(8k - 1) */
        size--;
    size_t offset = there - e->start;
    uint8_t *at = put_head(e, CODEC_INT, size, size, size);
    if (!at)
        return -1;
    memmove(at, e->start + offset, size);
    return 0;
}

static uint8_t *put_character(uint8_t *at, Py_UCS4 character)
{
    if (character < 0x80) {
        *at++ = (uint8_t)character;
        return at;
    }
    unsigned more = 1 + (character > 0x7FF) + (character > 0xFFFF);
    *at++ = (uint8_t)(0xFF << (7 - more) | character >> 6 * more);
    while (more--)
        *at++ = (uint8_t)(0x80 | (character >> 6 * more & 0x3F));
    return at;
}

/* A lone surrogate takes three bytes. */
static int put_short_text(struct encoder *e, PyObject *text, Py_ssize_t length)
{
    Py_UCS4 characters[SHORT_TEXT], all = 0;
    size_t size = length;
    if (!PyUnicode_AsUCS4(text, characters, SHORT_TEXT, 0))
        return -1;
    for (Py_ssize_t i = 0; i < length; i++)
        all |= characters[i];
    for (Py_ssize_t i = 0; all > 0x7F && i < length; i++)
        size += (characters[i] > 0x7F) + (characters[i] > 0x7FF) + (characters[i] > 0xFFFF);
    uint8_t *at = put_head(e, CODEC_STR, size, size, size);
    if (!at)
        return -1;
    for (Py_ssize_t i = 0; i < length; i++)
        at = put_character(at, characters[i]);
    return 0;
}

static int put_text(struct encoder *e, PyObject *text)
{
    Py_ssize_t length = PyUnicode_GetLength(text), size = 0;
    if (length > e->room)
        return refuse_size(e, length);
    if (length <= SHORT_TEXT)
        return put_short_text(e, text, length);
    PyObject *encoded = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass"); /* no look-up of registered codecs */
    if (!encoded)
        return -1;
    char *bytes;
    uint8_t *at = PyBytes_AsStringAndSize(encoded, &bytes, &size) < 0 ? NULL : put_head(e, CODEC_STR, size, size, size);
    if (at)
        memcpy(at, bytes, size);
    Py_DECREF(encoded);
    return at ? 0 : -1;
}

static int put_float(struct encoder *e, PyObject *value)
{
    double number = PyFloat_AsDouble(value);
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    uint8_t *at = put_head(e, CODEC_FLOAT, 0, sizeof bits, sizeof bits);
    if (!at)
        return -1;
    for (unsigned i = 0; i < sizeof bits; i++, bits >>= 8)
        *at++ = (uint8_t)bits;
    return 0;
}

static int put_leaf(struct encoder *e, PyObject *value)
{
    if (PyLong_CheckExact(value)) {
        int is_large;
        long long number = PyLong_AsLongLongAndOverflow(value, &is_large);
        if (is_large)
            return put_large_int(e, value);
        return 0 <= number && number < CODEC_NONE ? put_byte(e, number) : put_small_int(e, number);
    }
    if (PyUnicode_CheckExact(value))
        return put_text(e, value);
    if (PyFloat_CheckExact(value))
        return put_float(e, value);
    if (PyBool_Check(value))
        return put_byte(e, value == Py_True ? CODEC_TRUE : CODEC_FALSE);
    return value == Py_None ? put_byte(e, CODEC_NONE) : codec_refuse_type(e, value);
}

int codec_put_any_leaf(struct encoder *e, PyObject *value)
{
    return put_leaf(e, value);
}

/* Return the tag if this is a container, else 0. */
static unsigned container(PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    return type == &PyList_Type ? CODEC_LIST
        : type == &PyTuple_Type ? CODEC_TUPLE
        : type == &PySet_Type ? CODEC_SET
        : type == &PyDict_Type ? CODEC_DICT : 0;
}

static int open_container(struct encoder *e, PyObject *value, unsigned kind)
{
    if (e->depth == CODEC_MAX_DEPTH)
        return codec_refuse_depth(e);
    Py_ssize_t size = kind == CODEC_LIST ? PyList_Size(value)
        : kind == CODEC_TUPLE ? PyTuple_Size(value)
        : kind == CODEC_SET ? PySet_Size(value) : PyDict_Size(value);
    if (size > e->room)
        return refuse_size(e, size);
    if (!put_head(e, kind, size, kind == CODEC_DICT ? 2 * size : size, 0))
        return -1;
    struct level level = {value, NULL, size, 0, NULL, kind};
    if (kind == CODEC_SET) {
        if (!(level.marks = PyMem_Malloc((size + 1) * sizeof *level.marks)))
            PyErr_NoMemory();
        else
            level.object = PyObject_GetIter(value);
        if (!level.marks || !level.object) {
            PyMem_Free(level.marks);
            return -1;
        }
    }
    e->stack[e->depth++] = level;
    return 0;
}

/* Return a borrowed reference to the next item of the innermost container; NULL if there is none. */
static PyObject *next_item(struct encoder *e)
{
    struct level *level = &e->stack[e->depth - 1];
    PyObject *item = level->value;
    switch (level->kind) {
    case CODEC_LIST:
        return level->at < level->size ? PyList_GetItem(level->object, level->at++) : NULL;
    case CODEC_TUPLE:
        return level->at < level->size ? PyTuple_GetItem(level->object, level->at++) : NULL;
    case CODEC_DICT:
        if (item)
            level->value = NULL;
        else if (!PyDict_Next(level->object, &level->at, &item, &level->value))
            return NULL;
        return item;
    default:
        level->marks[level->at] = e->used;
        if (level->at == level->size)
            return NULL;
        item = PyIter_Next(level->object);
        level->at++;
        Py_XDECREF(item); /* the set has a reference too */
        return item;
    }
}

static int compare(const void *left_part, const void *right_part)
{
    const struct part *left = left_part, *right = right_part;
    int order = memcmp(left->start, right->start, left->size < right->size ? left->size : right->size);
    return order ? order : (left->size > right->size) - (left->size < right->size);
}

int codec_put_in_order(struct encoder *e, const struct part *parts, Py_ssize_t count)
{
    size_t size = 0;
    for (Py_ssize_t i = 0; i < count; i++)
        size += parts[i].size;
    uint8_t *ordered = PyMem_Malloc(size), *at = ordered;
    if (!ordered) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; at += parts[i++].size)
        memcpy(at, parts[i].start, parts[i].size);
    memcpy(e->start + e->used - size, ordered, size);
    PyMem_Free(ordered);
    return 0;
}

int codec_sort(struct encoder *e, const struct level *level)
{
    const size_t *marks = level->marks;
    struct part *parts = PyMem_Malloc(level->size * sizeof *parts);
    if (!parts) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < level->size; i++)
        parts[i] = (struct part){e->start + marks[i], marks[i + 1] - marks[i]};
    qsort(parts, level->size, sizeof *parts, compare);
    int failed = codec_put_in_order(e, parts, level->size);
    PyMem_Free(parts);
    return failed;
}

/* Leave the innermost container. */
static int close_container(struct encoder *e, int is_complete)
{
    struct level *level = &e->stack[--e->depth];
    if (level->kind != CODEC_SET)
        return 0;
    int failed = is_complete && (PyErr_Occurred() || (level->size > 1 && codec_sort(e, level) < 0));
    Py_DECREF(level->object);
    PyMem_Free(level->marks);
    return failed ? -1 : 0;
}

static int encode(struct encoder *e, PyObject *item)
{
    if (e->room < 0)
        return refuse_size(e, 0);
    for (;;) {
        unsigned kind = container(item);
        if ((kind ? open_container(e, item, kind) : put_leaf(e, item)) < 0)
            return -1;
        do {
            if (!e->depth)
                return 0;
            item = next_item(e);
        } while (!item && close_container(e, 1) == 0);
        if (!item)
            return -1;
    }
}

PyObject *codec_encode(const struct known *known, PyObject *value, int64_t max_bytes, int is_extended)
{
    struct encoder e;
    e.known = known;
    e.max_bytes = max_bytes;
    e.room = max_bytes - 1;
    e.start = e.first;
    e.used = e.depth = 0;
    e.capacity = FIRST_BYTES;
    int failed = (is_extended ? codec_encode_extended(&e, value) : encode(&e, value)) < 0;
    while (e.depth)
        close_container(&e, 0);
    PyObject *bytes = failed ? NULL : PyBytes_FromStringAndSize((const char *)e.start, e.used);
    if (e.start != e.first)
        PyMem_Free(e.start);
    return bytes;
}
