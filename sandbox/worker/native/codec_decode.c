/* See codecmodule.h: decode an encoding. */

#include "codecmodule.h"

#include <string.h>
#include <wchar.h>

#define SHORT_TEXT 256 /* bytes */
_Static_assert(sizeof(wchar_t) == 4, "a wchar_t fits any character");

/* A container that is being filled. */
struct level {
    PyObject *object, *key; /* key: of a dict, until its value comes; of a deque, whose object is a list, the deque */
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

/* A Counter, without running its constructor, which is Python code. */
static PyObject *make_counter(const struct known *known)
{
    PyObject *nothing = PyTuple_New(0);
    newfunc make = (newfunc)PyType_GetSlot(&PyDict_Type, Py_tp_new);
    PyObject *counter = nothing ? make((PyTypeObject *)known->counter, nothing, NULL) : NULL;
    Py_XDECREF(nothing);
    return counter;
}

/* A deque, and a list for its `n` items, if there are any. */
static PyObject *make_deque(const struct known *known, const uint8_t *maxlen, uint64_t n, struct level *level)
{
    PyObject *number = NULL, *deque = NULL, *items = NULL;
    if (*maxlen == CODEC_NONE)
        deque = PyObject_CallNoArgs(known->deque);
    else if ((number = make_int(maxlen + (*maxlen > CODEC_NONE), *maxlen > CODEC_NONE ? *maxlen & 0x0F : 1)))
        deque = PyObject_CallFunction(known->deque, "()O", number);
    Py_XDECREF(number);
    if (!deque || !n)
        return deque;
    if (!(items = PyList_New(n)))
        Py_CLEAR(deque);
    level->key = deque;
    return items;
}

/* Make the extended value whose second tag is here, and move `at` behind it, or to the items to come: see
   `make_value`. */
static PyObject *make_extended(const struct known *known, const uint8_t **at, const uint8_t *end, struct level *level)
{
    const uint8_t *start = *at, *body = start + 1;
    codec_extended_head(at, end, 0, 0, &level->kind, &level->size);
    uint64_t n = level->kind < CODEC_BYTES ? 0 : codec_length(&body, end, CODEC_STR | (*start & 0x0F));
    double parts[2];
    switch (level->kind) {
    case CODEC_COMPLEX:
        memcpy(parts, body, sizeof parts);
        return PyComplex_FromDoubles(parts[0], parts[1]);
    case CODEC_BYTES:
        return PyBytes_FromStringAndSize((const char *)body, n);
    case CODEC_BYTEARRAY:
        return PyByteArray_FromStringAndSize((const char *)body, n);
    case CODEC_FROZENSET:
        return PyFrozenSet_New(NULL);
    case CODEC_DEQUE:
        return make_deque(known, body, n, level);
    case CODEC_COUNTER:
        return make_counter(known);
    case CODEC_ORDEREDDICT:
        return PyObject_CallNoArgs(known->ordered_dict);
    case CODEC_DEFAULTDICT:
        return PyObject_CallFunctionObjArgs(known->default_dict, codec_factory(*body), NULL);
    case CODEC_DECIMAL:
        return codec_make_decimal(known, body, n);
    default: /* `restore` of sandbox/extended/decoding.py */
        return PyObject_CallFunction(known->restore, "y#", (const char *)start, (Py_ssize_t)(*at - start));
    }
}

/* Add a value to a container, which takes over the reference. */
static int add(struct level *level, PyObject *value)
{
    Py_ssize_t at = level->size - level->left--;
    if (level->kind == CODEC_LIST || level->kind == CODEC_DEQUE)
        return PyList_SetItem(level->object, at, value);
    if (level->kind == CODEC_TUPLE)
        return PyTuple_SetItem(level->object, at, value);
    int is_set = level->kind == CODEC_SET || level->kind == CODEC_FROZENSET;
    if (!is_set && !level->key) {
        level->key = value;
        return 0;
    }
    int failed = is_set ? PySet_Add(level->object, value)
        : level->kind == CODEC_ORDEREDDICT ? PyObject_SetItem(level->object, level->key, value)
        : PyDict_SetItem(level->object, level->key, value);
    Py_DECREF(value);
    Py_CLEAR(level->key);
    return failed;
}

static int has_equals(const struct level *level)
{
    switch (level->kind) {
    case CODEC_LIST:
    case CODEC_TUPLE:
    case CODEC_DEQUE:
        return 0;
    case CODEC_SET:
    case CODEC_FROZENSET:
        return (uint64_t)PySet_Size(level->object) < level->size;
    default:
        return (uint64_t)PyDict_Size(level->object) < level->size / 2;
    }
}

/* Make the value that begins at `at`, and move that behind it. A container is still empty: the level has the `size`
   that is to come. */
static PyObject *make_value(const struct known *known, const uint8_t **at, const uint8_t *end, struct level *level)
{
    uint8_t tag = *(*at)++;
    level->size = 0;
    level->key = NULL;
    if (tag < CODEC_NONE)
        return PyLong_FromLong(tag);
    if (tag < CODEC_FLOAT)
        return Py_NewRef(tag == CODEC_NONE ? Py_None : tag == CODEC_TRUE ? Py_True : Py_False);
    if (tag == CODEC_EXTENDED)
        return make_extended(known, at, end, level);
    uint64_t n = codec_length(at, end, tag);
    if (tag < CODEC_LIST) {
        *at += n;
        return make_leaf(tag, *at - n, n);
    }
    level->kind = tag & 0xF0;
    level->size = level->kind == CODEC_DICT ? 2 * n : n;
    return make_container(level->kind, n);
}

static void refuse_hash(const struct known *known)
{
    if (PyErr_ExceptionMatches(PyExc_TypeError)) { /* only a value of NumPy's can turn out to be so */
        PyErr_Clear();
        PyErr_SetString(known->malformed, "a set element or a key is not hashable");
    }
}

/* Return the container that is complete, with its reference. */
static PyObject *finish(const struct known *known, struct level *level)
{
    if (has_equals(level)) {
        PyErr_SetString(known->malformed, "equal elements in a set, or equal keys in a dict");
        return NULL;
    }
    if (level->kind != CODEC_DEQUE)
        return level->object;
    PyObject *deque = PySequence_InPlaceConcat(level->key, level->object);
    if (deque) {
        Py_DECREF(level->key);
        Py_DECREF(level->object);
    }
    return deque;
}

static PyObject *build(const struct known *known, const uint8_t *at, const uint8_t *end, struct level *stack,
    unsigned *depth)
{
    for (;;) {
        struct level inner;
        PyObject *value = make_value(known, &at, end, &inner);
        if (!value)
            return NULL;
        if (inner.size) {
            inner.object = value;
            inner.left = inner.size;
            stack[(*depth)++] = inner;
            continue;
        }
        for (;; --*depth) { /* a value may complete its container, and so on */
            if (!*depth)
                return value;
            struct level *level = &stack[*depth - 1];
            if (add(level, value) < 0) {
                refuse_hash(known);
                return NULL;
            }
            if (level->left)
                break;
            if (!(value = finish(known, level)))
                return NULL;
        }
    }
}

PyObject *codec_decode(const struct known *known, const uint8_t *data, uint64_t size)
{
    struct level stack[CODEC_MAX_DEPTH];
    unsigned depth = 0;
    PyObject *value = build(known, data, data + size, stack, &depth);
    while (depth--) {
        Py_DECREF(stack[depth].object);
        Py_XDECREF(stack[depth].key);
    }
    return value;
}
