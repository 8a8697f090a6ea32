/* See codec_encoder.h: encode values of the extended kinds. The same steps as sandbox/extended/encoding.py.

   For the rarer ones it calls Python's code of that file. The interpreter may then do anything: handle a signal, switch
   to another thread. So the items of a container are copied first: in its level, `object` is a tuple of
   them, and of an OrderedDict `value` is the dict itself.

   Py_DecRef is called for what may be None or a type of Python's own. Later versions don't count references to those,
   as the macros of 3.11 that this is built with do. */

#include "codec_encoder.h"

#include <string.h>

static PyObject *const factories[] = { /* as in sandbox/extended/kinds.py */
    Py_None, (PyObject *)&PyLong_Type, (PyObject *)&PyFloat_Type, (PyObject *)&PyUnicode_Type, (PyObject *)&PyBool_Type,
    (PyObject *)&PyList_Type, (PyObject *)&PyTuple_Type, (PyObject *)&PySet_Type, (PyObject *)&PyDict_Type,
    (PyObject *)&PyBytes_Type, (PyObject *)&PyComplex_Type, (PyObject *)&PyFrozenSet_Type,
};

PyObject *codec_factory(unsigned number)
{
    return factories[number];
}

static int refuse(const struct encoder *e, const char *why)
{
    PyErr_SetString(e->known->not_plain, why);
    return -1;
}

/* Return the tag if this is a container, the second one if it is extended, else 0. */
static unsigned container(const struct encoder *e, PyTypeObject *type)
{
    const struct known *known = e->known;
    return type == &PyTuple_Type ? CODEC_TUPLE
        : type == &PyList_Type ? CODEC_LIST
        : type == &PyDict_Type ? CODEC_DICT
        : type == &PySet_Type ? CODEC_SET
        : type == &PyFrozenSet_Type ? CODEC_FROZENSET
        : (PyObject *)type == known->counter ? CODEC_COUNTER
        : (PyObject *)type == known->default_dict ? CODEC_DEFAULTDICT
        : (PyObject *)type == known->deque ? CODEC_DEQUE
        : (PyObject *)type == known->ordered_dict ? CODEC_ORDEREDDICT : 0;
}

static int is_dict(unsigned kind)
{
    return kind == CODEC_DICT || (kind >= CODEC_COUNTER && kind <= CODEC_DEFAULTDICT);
}

static PyObject *flatten_dict(PyObject *dict, Py_ssize_t size)
{
    PyObject *items = PyTuple_New(2 * size), *key, *value;
    Py_ssize_t position = 0, at = 0;
    while (items && at < 2 * size && PyDict_Next(dict, &position, &key, &value)) {
        PyTuple_SetItem(items, at++, Py_NewRef(key));
        PyTuple_SetItem(items, at++, Py_NewRef(value));
    }
    return items;
}

static PyObject *flatten(PyObject *value, unsigned kind, Py_ssize_t size)
{
    return kind == CODEC_TUPLE ? Py_NewRef(value)
        : kind == CODEC_LIST ? PyList_AsTuple(value)
        : is_dict(kind) ? flatten_dict(value, size) : PySequence_Tuple(value);
}

/* Append the head of a defaultdict. */
static int put_default_dict(struct encoder *e, PyObject *value, Py_ssize_t size)
{
    PyObject *factory = PyObject_GetAttrString(value, "default_factory");
    unsigned number = 0;
    if (!factory)
        return -1;
    Py_DecRef(factory); /* the defaultdict has a reference too */
    while (factories[number] != factory)
        if (++number == sizeof factories / sizeof *factories)
            return refuse(e, "a defaultdict with a factory other than None and some builtin types is not plain data");
    e->room--;
    uint8_t *at = put_head(e, CODEC_DEFAULTDICT, size, 2 * size, 1);
    if (!at)
        return -1;
    *at = number;
    return 0;
}

/* Append the head of a deque. */
static int put_deque(struct encoder *e, PyObject *value, Py_ssize_t size)
{
    PyObject *maxlen = PyObject_GetAttrString(value, "maxlen");
    uint8_t bytes[CODEC_MAX_HEAD] = {CODEC_NONE};
    unsigned length = maxlen && maxlen != Py_None ? codec_int(PyLong_AsLongLong(maxlen), bytes) : 1;
    Py_DecRef(maxlen);
    e->room -= length;
    uint8_t *at = maxlen ? put_head(e, CODEC_DEQUE, size, size, length) : NULL;
    if (!at)
        return -1;
    memcpy(at, bytes, length);
    return 0;
}

static int put_container_head(struct encoder *e, PyObject *value, unsigned kind, Py_ssize_t size)
{
    if (kind >= CODEC_LIST)
        return put_head(e, kind, size, kind == CODEC_DICT ? 2 * size : size, 0) ? 0 : -1;
    if (put_byte(e, CODEC_EXTENDED) < 0)
        return -1;
    e->room--;
    if (kind == CODEC_DEFAULTDICT)
        return put_default_dict(e, value, size);
    if (kind == CODEC_DEQUE)
        return put_deque(e, value, size);
    return put_head(e, kind, size, is_dict(kind) ? 2 * size : size, 0) ? 0 : -1;
}

static int open_flat(struct encoder *e, PyObject *value, unsigned kind)
{
    if (e->depth == CODEC_MAX_DEPTH)
        return codec_refuse_depth(e);
    Py_ssize_t size = kind == CODEC_SET || kind == CODEC_FROZENSET ? PySet_Size(value)
        : is_dict(kind) ? PyDict_Size(value) : PyObject_Size(value);
    if (size > e->room)
        return refuse_size(e, size);
    struct level level = {flatten(value, kind, size), NULL, 0, 0, NULL, kind};
    int failed = !level.object || put_container_head(e, value, kind, size) < 0;
    if (!failed) {
        level.size = PyTuple_Size(level.object);
        if (kind == CODEC_ORDEREDDICT)
            level.value = value;
        if (kind == CODEC_SET || kind == CODEC_FROZENSET || kind == CODEC_ORDEREDDICT) {
            failed = !(level.marks = PyMem_Malloc((level.size + 1) * sizeof *level.marks));
            if (failed)
                PyErr_NoMemory();
        }
    }
    if (failed) {
        Py_XDECREF(level.object);
        return -1;
    }
    e->stack[e->depth++] = level;
    return 0;
}

/* Fill `parts` with the pairs of an OrderedDict in the order of these keys. Return 0 if they are not its keys. */
static int find_parts(const struct encoder *e, const struct level *level, PyObject *keys, PyObject *places,
    struct part *parts)
{
    for (Py_ssize_t i = 0; i < level->size / 2; i++) {
        PyObject *address = PyLong_FromVoidPtr(PyList_GetItem(keys, i));
        PyObject *place = address ? PyDict_GetItemWithError(places, address) : NULL;
        Py_XDECREF(address);
        if (!place)
            return 0;
        const size_t *marks = level->marks + 2 * PyLong_AsSsize_t(place);
        parts[i] = (struct part){e->start + marks[0], marks[2] - marks[0]};
    }
    return 1;
}

/* Return a dict of the places of keys by their addresses. */
static PyObject *find_places(PyObject *items)
{
    PyObject *places = PyDict_New();
    Py_ssize_t size = PyTuple_Size(items);
    for (Py_ssize_t i = 0; places && i < size; i += 2) {
        PyObject *address = PyLong_FromVoidPtr(PyTuple_GetItem(items, i)), *place = PyLong_FromSsize_t(i / 2);
        if (!address || !place || PyDict_SetItem(places, address, place) < 0)
            Py_CLEAR(places);
        Py_XDECREF(address);
        Py_XDECREF(place);
    }
    return places;
}

static int have_changed_order(PyObject *items, PyObject *keys)
{
    for (Py_ssize_t i = PyList_Size(keys); i--;)
        if (PyList_GetItem(keys, i) != PyTuple_GetItem(items, 2 * i))
            return 1;
    return 0;
}

/* See `reorder` in sandbox/extended/encoding.py. */
static int reorder(struct encoder *e, const struct level *level)
{
    static const char lost[] = "an OrderedDict that has lost its order is not plain data";
    PyObject *keys = PySequence_List(level->value);
    if (!keys) {
        if (!PyErr_ExceptionMatches(PyExc_KeyError) && !PyErr_ExceptionMatches(PyExc_RuntimeError))
            return -1;
        PyErr_Clear();
        return refuse(e, lost);
    }
    int failed = 0;
    if (2 * PyList_Size(keys) != level->size) {
        failed = refuse(e, lost);
    } else if (have_changed_order(level->object, keys)) {
        PyObject *places = find_places(level->object);
        struct part *parts = PyMem_Malloc(level->size / 2 * sizeof *parts);
        if (!places || !parts)
            failed = -1;
        else if (!find_parts(e, level, keys, places, parts))
            failed = PyErr_Occurred() ? -1 : refuse(e, lost);
        else
            failed = codec_put_in_order(e, parts, level->size / 2);
        if (!parts)
            PyErr_NoMemory();
        PyMem_Free(parts);
        Py_XDECREF(places);
    }
    Py_DECREF(keys);
    return failed;
}

/* Return a borrowed reference to the next item of the innermost container; NULL if there is none. */
static PyObject *next_item(struct encoder *e)
{
    struct level *level = &e->stack[e->depth - 1];
    if (level->marks)
        level->marks[level->at] = e->used;
    return level->at < level->size ? PyTuple_GetItem(level->object, level->at++) : NULL;
}

/* Leave the innermost container. */
static int close_flat(struct encoder *e, int is_complete)
{
    struct level *level = &e->stack[--e->depth];
    int failed = 0;
    if (is_complete && level->marks && level->size > 1)
        failed = level->value ? reorder(e, level) : codec_sort(e, level);
    Py_DECREF(level->object);
    PyMem_Free(level->marks);
    return failed;
}

static int put_bytes(struct encoder *e, unsigned kind, const char *bytes, Py_ssize_t size)
{
    if (size > e->room)
        return refuse_size(e, size);
    if (put_byte(e, CODEC_EXTENDED) < 0)
        return -1;
    e->room--;
    uint8_t *at = put_head(e, kind, size, size, size);
    if (!at)
        return -1;
    memcpy(at, bytes, size);
    return 0;
}

static int put_complex(struct encoder *e, PyObject *value)
{
    uint8_t bytes[18] = {CODEC_EXTENDED, CODEC_COMPLEX};
    double parts[] = {PyComplex_RealAsDouble(value), PyComplex_ImagAsDouble(value)};
    memcpy(bytes + 2, parts, sizeof parts);
    return put_encoded(e, bytes, sizeof bytes);
}

/* Call `encode_leaf` of sandbox/extended/encoding.py. */
static int put_by_python(struct encoder *e, PyObject *value)
{
    PyObject *encoded = PyObject_CallFunction(e->known->encode_leaf, "OOLL", value, (PyObject *)Py_TYPE(value),
        (long long)e->room, (long long)e->max_bytes);
    char *bytes;
    Py_ssize_t size;
    if (!encoded)
        return -1;
    int failed = encoded == Py_None ? codec_refuse_type(e, value)
        : PyBytes_AsStringAndSize(encoded, &bytes, &size) < 0 ? -1 : put_encoded(e, bytes, size);
    Py_DecRef(encoded);
    return failed;
}

/* Append a value, or open the container that it is. */
static int put_value(struct encoder *e, PyObject *value)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyLong_Type || type == &PyUnicode_Type || type == &PyFloat_Type || type == &PyBool_Type
        || value == Py_None)
        return codec_put_any_leaf(e, value);
    unsigned kind = container(e, type);
    if (kind)
        return open_flat(e, value, kind);
    if (type == &PyBytes_Type)
        return put_bytes(e, CODEC_BYTES, PyBytes_AsString(value), PyBytes_Size(value));
    if (type == &PyByteArray_Type)
        return put_bytes(e, CODEC_BYTEARRAY, PyByteArray_AsString(value), PyByteArray_Size(value));
    if (type == &PyComplex_Type)
        return put_complex(e, value);
    if ((PyObject *)type == e->known->decimal)
        return codec_put_decimal(e, value);
    int is_done = 0, failed = (PyObject *)type == e->known->fraction ? codec_put_fraction(e, value, &is_done) : 0;
    return is_done ? failed : put_by_python(e, value);
}

int codec_encode_extended(struct encoder *e, PyObject *value)
{
    int failed = e->room < 0 ? refuse_size(e, 0) : put_value(e, value);
    while (!failed && e->depth) {
        PyObject *item = next_item(e);
        failed = item ? put_value(e, item) : close_flat(e, 1);
    }
    while (e->depth)
        close_flat(e, 0);
    return failed;
}
