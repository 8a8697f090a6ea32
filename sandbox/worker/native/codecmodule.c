/* The extension module selftaught.sandbox._codec: the functions of sandbox/codec.py in C. */

#include "codecmodule.h"

static struct errors *errors_of(PyObject *module)
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

static int takes(const char *name, Py_ssize_t expected, Py_ssize_t given)
{
    if (given != expected)
        PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments, %zd given", name, expected, given);
    return given == expected;
}

/* Find the bytes of an encoding and check them. Raises Malformed, or TypeError if the object is not bytes. */
static int to_encoding(PyObject *module, PyObject *object, int64_t max_bytes, const uint8_t **data, uint64_t *size)
{
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &bytes, &length) < 0)
        return -1;
    if (length && length > max_bytes) {
        PyErr_Format(errors_of(module)->malformed, "%zd bytes are more than is allowed", length);
        return -1;
    }
    *data = (const uint8_t *)bytes;
    *size = length;
    const char *why = codec_check(*data, *size);
    if (why)
        PyErr_SetString(errors_of(module)->malformed, why);
    return why ? -1 : 0;
}

static PyObject *encode(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    int64_t max_bytes;
    if (!takes("encode", 2, count) || to_limit(arguments[1], &max_bytes) < 0)
        return NULL;
    int collects = PyGC_Disable();
    PyObject *bytes = codec_encode(errors_of(module), arguments[0], max_bytes);
    if (collects)
        PyGC_Enable();
    return bytes;
}

static PyObject *check(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    int64_t max_bytes;
    const uint8_t *data;
    uint64_t size;
    if (!takes("check", 2, count) || to_limit(arguments[1], &max_bytes) < 0)
        return NULL;
    return to_encoding(module, arguments[0], max_bytes, &data, &size) < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *decode(PyObject *module, PyObject *object)
{
    const uint8_t *data;
    uint64_t size;
    if (to_encoding(module, object, INT64_MAX, &data, &size) < 0)
        return NULL;
    int collects = PyGC_Disable(); /* a new value contains no garbage, and a collection takes longer than building it */
    PyObject *value = codec_decode(errors_of(module), data, size);
    if (collects)
        PyGC_Enable();
    return value;
}

static PyObject *raise_these(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (!takes("raise_these", 3, count))
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++)
        if (!PyExceptionClass_Check(arguments[i])) {
            PyErr_SetString(PyExc_TypeError, "not an exception class");
            return NULL;
        }
    struct errors *errors = errors_of(module), old = *errors;
    *errors = (struct errors){Py_NewRef(arguments[0]), Py_NewRef(arguments[1]), Py_NewRef(arguments[2])};
    Py_DECREF(old.not_plain);
    Py_DECREF(old.too_large);
    Py_DECREF(old.malformed);
    return Py_NewRef(Py_None);
}

static int start(PyObject *module)
{
    if (!(PyLong_AsNativeBytes && PyLong_FromNativeBytes)
        && !(_PyLong_NumBits && _PyLong_AsByteArray && _PyLong_FromByteArray)) {
        PyErr_SetString(PyExc_ImportError, "this interpreter has no known functions to convert ints to bytes");
        return -1;
    }
    PyObject *any = PyExc_ValueError; /* until `raise_these` */
    *errors_of(module) = (struct errors){Py_NewRef(any), Py_NewRef(any), Py_NewRef(any)};
    return PyModule_AddIntConstant(module, "MAX_DEPTH", CODEC_MAX_DEPTH);
}

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    struct errors *errors = errors_of(module);
    Py_VISIT(errors->not_plain);
    Py_VISIT(errors->too_large);
    Py_VISIT(errors->malformed);
    return 0;
}

static int clear(PyObject *module)
{
    struct errors *errors = errors_of(module);
    Py_CLEAR(errors->not_plain);
    Py_CLEAR(errors->too_large);
    Py_CLEAR(errors->malformed);
    return 0;
}

static void end(void *module)
{
    clear(module);
}

static PyMethodDef methods[] = {
    {"encode", (PyCFunction)(void (*)(void))encode, METH_FASTCALL,
     "encode($module, value, max_bytes, /)\n--\n\n"
     "Return the encoding of plain data. Raises NotPlain, or TooLarge if it takes more than `max_bytes`."},
    {"check", (PyCFunction)(void (*)(void))check, METH_FASTCALL,
     "check($module, data, max_bytes, /)\n--\n\n"
     "Raise Malformed unless `data` is the encoding of a value, in at most `max_bytes`.\n\n"
     "One thing is left to `decode`: set elements or keys that are equal, such as ``1`` and ``True``."},
    {"decode", decode, METH_O,
     "decode($module, data, /)\n--\n\nReturn the value whose encoding is `data`. Raises Malformed."},
    {"raise_these", (PyCFunction)(void (*)(void))raise_these, METH_FASTCALL,
     "raise_these($module, not_plain, too_large, malformed, /)\n--\n\n"
     "Raise these exceptions from now on: ``not_plain(text)``, ``too_large(size)``, ``malformed(text)``."},
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
    .m_size = sizeof(struct errors),
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
