/* Shared by the parts of the extension module selftaught.sandbox._codec. Python's limited API of 3.11: one build serves
   every later version.

   Nothing static is written after the import: a snapshot process has the data of libraries read-only. */

#ifndef CODECMODULE_H
#define CODECMODULE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>

#include "codec.h"

/* What the module has references to: exception classes and functions of selftaught.sandbox.codec, classes of the
   standard library, and how the parts of a Fraction are read and set. Nothing but references. */
struct known {
    PyObject *not_plain, *too_large, *malformed, *encode_leaf, *restore;
    PyObject *counter, *ordered_dict, *default_dict, *deque, *decimal, *fraction, *numerator, *denominator;
};

/* codec_encode.c: return bytes, or NULL with an exception. */
PyObject *codec_encode(const struct known *known, PyObject *value, int64_t max_bytes, int is_extended);

/* codec_decode.c: return the value of an encoding that has passed the check, or NULL with an exception. */
PyObject *codec_decode(const struct known *known, const uint8_t *data, uint64_t size);

/* codec_encode_extended.c: return what a defaultdict with this number makes its values with, a borrowed reference. */
PyObject *codec_factory(unsigned number);

/* codec_numbers.c: return the Decimal with `n` digits whose form is at `at`. */
PyObject *codec_make_decimal(const struct known *known, const uint8_t *at, uint64_t n);

/* Ints as bytes, two's complement and little-endian, in time linear in them. Python 3.13 has public functions for that;
   the two versions before have private ones, which won't change any more. Those that the interpreter lacks are NULL. */
#pragma weak PyLong_AsNativeBytes
#pragma weak PyLong_FromNativeBytes
#pragma weak _PyLong_NumBits
#pragma weak _PyLong_AsByteArray
#pragma weak _PyLong_FromByteArray
#define LITTLE_ENDIAN_SIGNED 1 /* Py_ASNATIVEBYTES_LITTLE_ENDIAN */
extern Py_ssize_t PyLong_AsNativeBytes(PyObject *value, void *buffer, Py_ssize_t size, int flags);
extern PyObject *PyLong_FromNativeBytes(const void *buffer, size_t size, int flags);
extern size_t _PyLong_NumBits(PyObject *value);
extern int _PyLong_AsByteArray(PyObject *value, unsigned char *bytes, size_t size, int little_endian, int is_signed);
extern PyObject *_PyLong_FromByteArray(const unsigned char *bytes, size_t size, int little_endian, int is_signed);

#endif
