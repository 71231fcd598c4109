/* BYTES between its forms: OIP's raw one (each element after its length as a little-endian uint32), a list of Python's
 * bytes, and protobuf's repeated field.
 *
 * As in jsontensors.c only the good case is handled here; None sends the caller to the path in Python, which words the
 * error. Every function is linear, and nothing is made before the elements are counted.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define PREFIX 4

static inline uint32_t prefix_at(const char *p) {
    uint32_t length;
    memcpy(&length, p, PREFIX); /* little-endian hosts only, see PyInit */
    return length;
}

/* The number of elements; -1 when lengths and size disagree. */
static Py_ssize_t count_elements(const char *p, const char *end) {
    Py_ssize_t count = 0;
    for (; p < end; count++) {
        if (end - p < PREFIX) return -1;
        uint32_t length = prefix_at(p);
        p += PREFIX;
        if ((size_t)(end - p) < length) return -1;
        p += length;
    }
    return count;
}

static PyObject *elements(PyObject *self, PyObject *args) {
    Py_buffer raw;
    Py_ssize_t count;
    PyObject *list = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*n", &raw, &count)) return NULL;
    const char *p = raw.buf, *end = p + raw.len;
    int good = count_elements(p, end) == count;
    if (good && (list = PyList_New(count)))
        for (Py_ssize_t i = 0; list && i < count; i++) {
            uint32_t length = prefix_at(p);
            PyObject *element = PyBytes_FromStringAndSize(p + PREFIX, length);
            if (!element)
                Py_CLEAR(list);
            else
                PyList_SET_ITEM(list, i, element);
            p += PREFIX + length;
        }
    PyBuffer_Release(&raw);
    if (PyErr_Occurred()) return NULL;
    if (list) return list;
    Py_RETURN_NONE;
}

static PyObject *joined(PyObject *self, PyObject *list) {
    (void)self;
    if (!PyList_Check(list)) {
        PyErr_SetString(PyExc_TypeError, "joined takes a list of bytes");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(list), size = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *element = PyList_GET_ITEM(list, i);
        if (!PyBytes_Check(element) || PyBytes_GET_SIZE(element) > (Py_ssize_t)UINT32_MAX) Py_RETURN_NONE;
        if (__builtin_add_overflow(size, PREFIX + PyBytes_GET_SIZE(element), &size)) return PyErr_NoMemory();
    }
    PyObject *raw = PyBytes_FromStringAndSize(NULL, size);
    if (!raw) return NULL;
    char *to = PyBytes_AS_STRING(raw);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *element = PyList_GET_ITEM(list, i);
        uint32_t length = (uint32_t)PyBytes_GET_SIZE(element);
        memcpy(to, &length, PREFIX);
        memcpy(to + PREFIX, PyBytes_AS_STRING(element), length);
        to += PREFIX + length;
    }
    return raw;
}

/* A varint of 64 bits at p; where it ends, or NULL. */
static inline const unsigned char *varint(const unsigned char *p, const unsigned char *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; p < end && shift < 64; shift += 7) {
        *value |= (uint64_t)(*p & 0x7f) << shift;
        if (*p++ < 0x80) return p;
    }
    return NULL;
}

/* Elements and bytes of a message that is one repeated field and nothing else; 0 when it holds anything else. */
static int measure(const unsigned char *p, const unsigned char *end, unsigned char tag, Py_ssize_t *count, size_t *size) {
    for (*count = 0, *size = 0; p < end; ++*count) {
        uint64_t length;
        if (*p++ != tag || !(p = varint(p, end, &length)) || length > (uint64_t)(end - p) || length > UINT32_MAX) return 0;
        *size += PREFIX + length;
        p += length;
    }
    return 1;
}

static void copy_repeated(const unsigned char *p, const unsigned char *end, char *to) {
    while (p < end) {
        uint64_t length = 0;
        p = varint(p + 1, end, &length);
        uint32_t prefix = (uint32_t)length;
        memcpy(to, &prefix, PREFIX);
        memcpy(to + PREFIX, p, prefix);
        to += PREFIX + prefix;
        p += prefix;
    }
}

static PyObject *from_repeated(PyObject *self, PyObject *args) {
    Py_buffer message;
    unsigned char tag;
    Py_ssize_t most, count = 0;
    size_t size = 0;
    PyObject *raw = NULL, *result = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*bn", &message, &tag, &most)) return NULL;
    const unsigned char *p = message.buf, *end = p + message.len;
    /* with the interpreter lock: copying relies on what was measured, so nobody may write to the buffer between them */
    int good = measure(p, end, tag, &count, &size);
    if (good && count > most)
        result = Py_BuildValue("nO", count, Py_None);
    else if (good && (raw = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size))) {
        copy_repeated(p, end, PyBytes_AS_STRING(raw));
        result = Py_BuildValue("nN", count, raw);
    }
    PyBuffer_Release(&message);
    if (PyErr_Occurred()) return NULL;
    if (result) return result;
    Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"elements", elements, METH_VARARGS,
     "elements(raw, count) -> list of bytes; None unless lengths, count and size agree exactly."},
    {"joined", joined, METH_O, "joined(list) -> bytes: the raw form of a list of bytes; None when it holds anything else."},
    {"from_repeated", from_repeated, METH_VARARGS,
     "from_repeated(message, tag, most) -> (count, raw): the raw form of a message that holds one repeated bytes field and\n"
     "nothing else; raw is None when there are more than `most` elements. None for any other message."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {.m_base = PyModuleDef_HEAD_INIT,
                                    .m_name = "_bytestensors",
                                    .m_doc = "BYTES between its forms.",
                                    .m_size = -1,
                                    .m_methods = METHODS};

PyMODINIT_FUNC PyInit__bytestensors(void) {
    const uint16_t probe = 1;
    if (*(const unsigned char *)&probe != 1) {
        PyErr_SetString(PyExc_ImportError, "this module is written for little-endian machines");
        return NULL;
    }
    return PyModule_Create(&MODULE);
}
