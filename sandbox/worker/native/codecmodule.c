/* The extension module selftaught.sandbox._codec: the functions of sandbox/codec.py in C. */

#include "codecmodule.h"

static struct known *known_by(PyObject *module)
{
    return PyModule_GetState(module);
}

/* Convert an int of any size to the nearest number that fits. */
static int to_limit(PyObject *object, int64_t *limit)
{
    int overflow;
    *limit = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (*limit == -1 && !overflow && PyErr_Occurred())
        return -1;
    *limit = overflow > 0 ? INT64_MAX : *limit < 0 ? 0 : *limit;
    return 0;
}

/* Find the last argument, `extended`, which may be missing, behind `expected` others. */
static int takes_extended(const char *name, Py_ssize_t expected, PyObject *const *arguments, Py_ssize_t count,
    PyObject *names, int *is_extended)
{
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    if (count < expected || count + named > expected + 1
        || (named && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, 0), "extended"))) {
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments and `extended`", name, expected);
        return 0;
    }
    if (count + named > expected)
        *is_extended = PyObject_IsTrue(arguments[expected]);
    return *is_extended >= 0;
}

static int takes(const char *name, Py_ssize_t expected, Py_ssize_t given)
{
    if (given != expected)
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments, %zd given", name, expected, given);
    return given == expected;
}

/* Find the bytes of an encoding and check them. Raises Malformed, or TypeError if the object is not bytes. */
static int to_encoding(PyObject *module, PyObject *object, int64_t max_bytes, int is_extended, const uint8_t **data,
    uint64_t *size)
{
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &bytes, &length) < 0)
        return -1;
    if (length && length > max_bytes) {
        PyErr_Format(known_by(module)->malformed, "%zd bytes are more than is allowed", length);
        return -1;
    }
    *data = (const uint8_t *)bytes;
    *size = length;
    const char *why = is_extended ? codec_check_extended(*data, *size) : codec_check(*data, *size);
    if (why)
        PyErr_SetString(known_by(module)->malformed, why);
    return why ? -1 : 0;
}

static PyObject *encode(PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    int64_t max_bytes;
    int is_extended = 0;
    if (!takes_extended("encode", 2, arguments, count, names, &is_extended) || to_limit(arguments[1], &max_bytes) < 0)
        return NULL;
    int collects = PyGC_Disable();
    PyObject *bytes = codec_encode(known_by(module), arguments[0], max_bytes, is_extended);
    if (collects)
        PyGC_Enable();
    return bytes;
}

static PyObject *check(PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    int64_t max_bytes;
    int is_extended = 0;
    const uint8_t *data;
    uint64_t size;
    if (!takes_extended("check", 2, arguments, count, names, &is_extended) || to_limit(arguments[1], &max_bytes) < 0
        || to_encoding(module, arguments[0], max_bytes, is_extended, &data, &size) < 0)
        return NULL;
    return Py_NewRef(Py_None);
}

static PyObject *decode(PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    int is_extended = 1;
    const uint8_t *data;
    uint64_t size;
    if (!takes_extended("decode", 1, arguments, count, names, &is_extended)
        || to_encoding(module, arguments[0], INT64_MAX, is_extended, &data, &size) < 0)
        return NULL;
    int collects = PyGC_Disable(); /* a new value contains no garbage, and a collection takes longer than building it */
    PyObject *value = codec_decode(known_by(module), data, size);
    if (collects)
        PyGC_Enable();
    return value;
}

static PyObject *use_these(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (!takes("use_these", 5, count))
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        if (i < 3 ? !PyExceptionClass_Check(arguments[i]) : !PyCallable_Check(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, i < 3 ? "not an exception class" : "not a function");
            return NULL;
        }
    struct known *known = known_by(module), old = *known;
    known->not_plain = Py_NewRef(arguments[0]);
    known->too_large = Py_NewRef(arguments[1]);
    known->malformed = Py_NewRef(arguments[2]);
    known->encode_leaf = Py_NewRef(arguments[3]);
    known->restore = Py_NewRef(arguments[4]);
    Py_DECREF(old.not_plain);
    Py_DECREF(old.too_large);
    Py_DECREF(old.malformed);
    Py_DECREF(old.encode_leaf);
    Py_DECREF(old.restore);
    return Py_NewRef(Py_None);
}

/* Return an attribute of a module that is imported for it. */
static PyObject *import(const char *name, const char *attribute)
{
    PyObject *module = PyImport_ImportModule(name), *found = module ? PyObject_GetAttrString(module, attribute) : NULL;
    Py_XDECREF(module);
    return found;
}

static int import_all(struct known *known)
{
    return (known->counter = import("collections", "Counter"))
            && (known->ordered_dict = import("collections", "OrderedDict"))
            && (known->default_dict = import("collections", "defaultdict"))
            && (known->deque = import("collections", "deque"))
            && (known->decimal = import("decimal", "Decimal"))
            && (known->fraction = import("fractions", "Fraction"))
            && (known->numerator = PyObject_GetAttrString(known->fraction, "_numerator"))
            && (known->denominator = PyObject_GetAttrString(known->fraction, "_denominator")) ? 0 : -1;
}

static int start(PyObject *module)
{
    if (!(PyLong_AsNativeBytes && PyLong_FromNativeBytes)
        && !(_PyLong_NumBits && _PyLong_AsByteArray && _PyLong_FromByteArray)) {
        PyErr_SetString(PyExc_ImportError, "this interpreter has no known functions to convert ints to bytes");
        return -1;
    }
    struct known *known = known_by(module);
    PyObject *any = PyExc_ValueError; /* until `use_these` */
    known->not_plain = Py_NewRef(any);
    known->too_large = Py_NewRef(any);
    known->malformed = Py_NewRef(any);
    known->encode_leaf = Py_NewRef(Py_None);
    known->restore = Py_NewRef(Py_None);
    return import_all(known) < 0 ? -1 : PyModule_AddIntConstant(module, "MAX_DEPTH", CODEC_MAX_DEPTH);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    PyObject **references = PyModule_GetState(module);
    for (size_t i = 0; i < sizeof(struct known) / sizeof *references; i++)
        Py_VISIT(references[i]);
    return 0;
}

static int clear(PyObject *module)
{
    PyObject **references = PyModule_GetState(module);
    for (size_t i = 0; i < sizeof(struct known) / sizeof *references; i++)
        Py_CLEAR(references[i]);
    return 0;
}

static void end(void *module)
{
    clear(module);
}

static PyMethodDef methods[] = {
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL | METH_KEYWORDS,
     "encode($module, value, max_bytes, /, extended=False)\n--\n\n"
     "Return the encoding of plain data. Raises NotPlain, or TooLarge if it takes more than `max_bytes`."},
    {"check", (PyCFunction)(void (*)(void))check, METH_FASTCALL | METH_KEYWORDS,
     "check($module, data, max_bytes, /, extended=False)\n--\n\n"
     "Raise Malformed unless `data` is the encoding of a value, in at most `max_bytes`.\n\n"
     "What the bytes alone don't show is left to `decode`: set elements or keys that are equal, such as ``1`` and\n"
     "``True``, Fractions that are not in lowest terms."},
    {"decode", (PyCFunction)(void (*)(void))decode, METH_FASTCALL | METH_KEYWORDS,
     "decode($module, data, /, extended=True)\n--\n\nReturn the value whose encoding is `data`. Raises Malformed."},
    {"use_these", (PyCFunction)(void (*)(void))use_these, METH_FASTCALL,
     "use_these($module, not_plain, too_large, malformed, encode_leaf, restore, /)\n--\n\n"
     "Raise these exceptions from now on: ``not_plain(text)``, ``too_large(size)``, ``malformed(text)``.\n"
     "Call these functions for the rarer values of the extended kinds."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, start},
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "selftaught.sandbox._codec",
    .m_doc = "The answer codec in C: see `selftaught.sandbox.codec`.",
    .m_size = sizeof(struct known),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
    .m_free = end,
};

PyMODINIT_FUNC PyInit__codec(void)
{
    return PyModuleDef_Init(&definition);
}
