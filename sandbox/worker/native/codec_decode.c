/* See codecmodule.h: decode an encoding. */

#include "codecmodule.h"

#include <string.h>
#include <wchar.h>

#define SHORT_TEXT 256 /* bytes */
_Static_assert(sizeof(wchar_t) == 4, "a wchar_t fits any character");

/* A container that is being filled. */
struct level {
    PyObject *object, *key; /* key: of a dict, until its value comes */
    uint64_t size, left;    /* values: of a dict twice as many as keys */
    unsigned kind;
};

static PyObject *make_int(const uint8_t *bytes, uint64_t size)
{
    if (size > sizeof(int64_t))
        return PyLong_FromNativeBytes ? PyLong_FromNativeBytes(bytes, size, LITTLE_ENDIAN_SIGNED)
            : _PyLong_FromByteArray(bytes, size, 1, 1);
    uint64_t bits = bytes[size - 1] > 127 ? UINT64_MAX : 0;
    while (size--)
        bits = bits << 8 | bytes[size];
    return PyLong_FromLongLong((int64_t)bits);
}

static PyObject *make_float(const uint8_t *bytes)
{
    uint64_t bits = 0;
    double number;
    for (unsigned i = sizeof bits; i--;)
        bits = bits << 8 | bytes[i];
    memcpy(&number, &bits, sizeof bits);
    return PyFloat_FromDouble(number);
}

static int has_surrogates(const uint8_t *bytes, uint64_t size)
{
    const uint8_t *end = bytes + size;
    while ((bytes = memchr(bytes, 0xED, end - bytes)))
        if (*++bytes >= 0xA0)
            return 1;
    return 0;
}

/* A text with lone surrogates, or a short one. Python's own decoder calls a handler for each surrogate, which takes 100
   times as long. */
static PyObject *make_wide_text(const uint8_t *bytes, uint64_t size)
{
    wchar_t few[SHORT_TEXT], *characters = few;
    uint64_t length = 0;
    if (size > SHORT_TEXT) {
        for (uint64_t i = 0; i < size; i++)
            length += !CODEC_CONTINUES(bytes[i]);
        if (!(characters = PyMem_Malloc(length * sizeof *characters)))
            return PyErr_NoMemory();
    }
    length = 0;
    for (const uint8_t *end = bytes + size; bytes < end; length++) {
        uint8_t lead = *bytes++;
        int more = (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0);
        wchar_t character = more ? lead & 0x3F >> more : lead;
        while (more--)
            character = character << 6 | (*bytes++ & 0x3F);
        characters[length] = character;
    }
    PyObject *text = PyUnicode_FromWideChar(characters, length);
    if (characters != few)
        PyMem_Free(characters);
    return text;
}

static PyObject *make_text(const uint8_t *bytes, uint64_t size)
{
    if (codec_is_ascii(bytes, size) || (size > SHORT_TEXT && !has_surrogates(bytes, size)))
        return PyUnicode_FromStringAndSize((const char *)bytes, size);
    return make_wide_text(bytes, size);
}

static PyObject *make_leaf(uint8_t tag, const uint8_t *bytes, uint64_t size)
{
    if (tag >= CODEC_STR)
        return make_text(bytes, size);
    return tag == CODEC_FLOAT ? make_float(bytes) : make_int(bytes, size);
}

static PyObject *make_container(unsigned kind, uint64_t n)
{
    return kind == CODEC_LIST ? PyList_New(n)
        : kind == CODEC_TUPLE ? PyTuple_New(n)
        : kind == CODEC_SET ? PySet_New(NULL) : PyDict_New();
}

/* Add a value to a container, which takes over the reference. */
static int add(struct level *level, PyObject *value)
{
    Py_ssize_t at = level->size - level->left--;
    if (level->kind == CODEC_LIST)
        return PyList_SetItem(level->object, at, value);
    if (level->kind == CODEC_TUPLE)
        return PyTuple_SetItem(level->object, at, value);
    if (level->kind == CODEC_DICT && !level->key) {
        level->key = value;
        return 0;
    }
    int failed = level->kind == CODEC_SET ? PySet_Add(level->object, value)
        : PyDict_SetItem(level->object, level->key, value);
    Py_DECREF(value);
    Py_CLEAR(level->key);
    return failed;
}

static int has_equals(const struct level *level)
{
    return level->kind == CODEC_SET ? (uint64_t)PySet_Size(level->object) < level->size
        : level->kind == CODEC_DICT ? (uint64_t)PyDict_Size(level->object) < level->size / 2 : 0;
}

/* Make the value that begins at `at`, and move that behind it. A container is still empty: `awaited` values are to
   come. */
static PyObject *make_value(const uint8_t **at, const uint8_t *end, unsigned *kind, uint64_t *awaited)
{
    uint8_t tag = *(*at)++;
    *awaited = 0;
    if (tag < CODEC_NONE)
        return PyLong_FromLong(tag);
    if (tag < CODEC_FLOAT)
        return Py_NewRef(tag == CODEC_NONE ? Py_None : tag == CODEC_TRUE ? Py_True : Py_False);
    uint64_t n = codec_length(at, end, tag);
    if (tag < CODEC_LIST) {
        *at += n;
        return make_leaf(tag, *at - n, n);
    }
    *kind = tag & 0xF0;
    *awaited = *kind == CODEC_DICT ? 2 * n : n;
    return make_container(*kind, n);
}

static PyObject *build(const struct errors *errors, const uint8_t *at, const uint8_t *end, struct level *stack,
    unsigned *depth)
{
    for (;;) {
        unsigned kind = 0;
        uint64_t awaited;
        PyObject *value = make_value(&at, end, &kind, &awaited);
        if (!value)
            return NULL;
        if (awaited) {
            stack[(*depth)++] = (struct level){value, NULL, awaited, awaited, kind};
            continue;
        }
        for (;; --*depth) { /* a value may complete its container, and so on */
            if (!*depth)
                return value;
            struct level *level = &stack[*depth - 1];
            if (add(level, value) < 0)
                return NULL;
            if (level->left)
                break;
            if (has_equals(level)) {
                PyErr_SetString(errors->malformed, "equal elements in a set, or equal keys in a dict");
                return NULL;
            }
            value = level->object;
        }
    }
}

PyObject *codec_decode(const struct errors *errors, const uint8_t *data, uint64_t size)
{
    struct level stack[CODEC_MAX_DEPTH];
    unsigned depth = 0;
    PyObject *value = build(errors, data, data + size, stack, &depth);
    while (depth--) {
        Py_DECREF(stack[depth].object);
        Py_XDECREF(stack[depth].key);
    }
    return value;
}
