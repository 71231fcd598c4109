/* Numbers of a JSON tensor straight into an array.
 *
 * Most of what a JSON tensor costs in Python is one float object a number. `split` walks a request body once, takes the
 * arrays of numbers under a "data" key out of it and leaves a short skeleton for an ordinary JSON parser; `read` turns
 * one of these arrays into machine numbers in a buffer that the caller gives.
 *
 * Only the good case is handled here. Whatever is unusual (a letter in the array, a number out of range, a nesting that
 * is not the shape) is answered with None or False, and the caller takes the path in Python, which words the error.
 * So this file decides no meaning, and a differential test against the standard library's json can hold it to that.
 *
 * Rounding: a decimal number is read as a double, correctly rounded, and float32 is rounded from that, which is what
 * json and numpy do one after the other. Up to 2^53 and 10^22 one division is exact (Clinger 1990); up to 19 digits and
 * 10^27 the x87 long double holds mantissa and power exactly and its 64-bit quotient is rounded again, which is wrong
 * only when it lies just half way between two doubles; that case, and all others, go to PyOS_string_to_double.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_RANK 32
#define MAX_NUMBER 400

static const double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#if LDBL_MANT_DIG == 64
static const long double LONG_POWERS[] = {1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,
                                          1e10L, 1e11L, 1e12L, 1e13L, 1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L,
                                          1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L, 1e27L};
#endif

typedef struct {
    int negative;
    int is_integer; /* no fraction and no exponent was written */
    int digits;     /* digits in mantissa, leading zeros partly counted: never too few */
    uint64_t mantissa;
    int exponent;
    const char *start, *end;
} Decimal;

static inline int is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static inline const char *skip_space(const char *p, const char *end) {
    while (p < end && is_space(*p)) p++;
    return p;
}

/* Eight digits at once (after D. Lemire, "Quickly parsing eight digits"): 1 when all eight bytes are digits. */
static inline int eight_digits(const char *p, uint64_t *value) {
    uint64_t bytes;
    memcpy(&bytes, p, 8);
    if (((bytes & 0xf0f0f0f0f0f0f0f0) | (((bytes + 0x0606060606060606) & 0xf0f0f0f0f0f0f0f0) >> 4)) != 0x3333333333333333)
        return 0;
    bytes -= 0x3030303030303030;
    bytes = bytes * 10 + (bytes >> 8);
    *value = (((bytes & 0x000000ff000000ff) * 0x000f424000000064) +
              (((bytes >> 16) & 0x000000ff000000ff) * 0x0000271000000001)) >> 32;
    *value &= 0xffffffff;
    return 1;
}

/* RFC 8259 number grammar. Returns 0 when there is no number at p. */
static inline int scan_number(const char *p, const char *end, Decimal *number) {
    number->start = p;
    number->negative = 0;
    number->is_integer = 1;
    number->exponent = 0;
    if (p < end && *p == '-') number->negative = 1, p++;
    if (p >= end || (unsigned)(*p - '0') > 9) return 0;
    uint64_t mantissa = 0;
    int digits = 0;
    if (*p == '0') {
        p++;
        if (p < end && (unsigned)(*p - '0') <= 9) return 0;
    } else {
        for (; p < end && (unsigned)(*p - '0') <= 9; p++, digits++) mantissa = mantissa * 10 + (uint64_t)(*p - '0');
    }
    if (p < end && *p == '.') {
        number->is_integer = 0;
        p++;
        const char *fraction = p;
        for (uint64_t eight; end - p >= 8 && eight_digits(p, &eight); p += 8, digits += 8)
            mantissa = mantissa * 100000000 + eight;
        for (; p < end && (unsigned)(*p - '0') <= 9; p++) {
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
            if (mantissa || digits) digits++;
        }
        if (p == fraction) return 0;
        number->exponent = -(int)(p - fraction < MAX_NUMBER ? p - fraction : MAX_NUMBER);
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        number->is_integer = 0;
        p++;
        int sign = 1, power = 0;
        if (p < end && (*p == '+' || *p == '-')) sign = *p++ == '-' ? -1 : 1;
        if (p >= end || (unsigned)(*p - '0') > 9) return 0;
        for (; p < end && (unsigned)(*p - '0') <= 9; p++)
            if (power < 10000) power = power * 10 + (*p - '0');
        number->exponent += sign * power;
    }
    number->digits = digits;
    number->mantissa = mantissa;
    number->end = p;
    return 1;
}

static int slow_double(const Decimal *number, double *value) {
    char text[MAX_NUMBER];
    size_t length = (size_t)(number->end - number->start);
    if (length >= sizeof text) return 0;
    memcpy(text, number->start, length);
    text[length] = 0;
    *value = PyOS_string_to_double(text, NULL, NULL);
    if (*value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

static inline int to_double(const Decimal *number, double *value) {
    int power = number->exponent;
    double magnitude;
    if (number->digits <= 19 && number->mantissa < (1ULL << 53) && power >= -22 && power <= 22) {
        magnitude = (double)number->mantissa;
        magnitude = power < 0 ? magnitude / POWERS[-power] : magnitude * POWERS[power];
    }
#if LDBL_MANT_DIG == 64
    else if (number->digits <= 19 && number->mantissa && power >= -27 && power <= 27) {
        long double wide = (long double)number->mantissa;
        wide = power < 0 ? wide / LONG_POWERS[-power] : wide * LONG_POWERS[power];
        uint64_t bits;
        memcpy(&bits, &wide, sizeof bits);
        if ((bits & 0x7ff) == 0x400) return slow_double(number, value);
        magnitude = (double)wide;
    }
#endif
    else
        return slow_double(number, value);
    /* json reads -0 as the integer 0, which has no sign */
    *value = number->negative && !(number->is_integer && !number->mantissa) ? -magnitude : magnitude;
    return 1;
}

/* What `read` writes: the kinds are numpy's one-letter codes with the item size. */
typedef enum { F4, F8, I1, I2, I4, I8, U1, U2, U4, U8 } Kind;

static const struct {
    const char *name;
    int size;
    int64_t low;
    uint64_t high;
} KINDS[] = {
    {"f4", 4, 0, 0},           {"f8", 8, 0, 0},
    {"i1", 1, INT8_MIN, INT8_MAX},   {"i2", 2, INT16_MIN, INT16_MAX},
    {"i4", 4, INT32_MIN, INT32_MAX}, {"i8", 8, INT64_MIN, INT64_MAX},
    {"u1", 1, 0, UINT8_MAX},   {"u2", 2, 0, UINT16_MAX},
    {"u4", 4, 0, UINT32_MAX},  {"u8", 8, 0, UINT64_MAX},
};

typedef struct {
    const char *p, *end;
    char *out, *out_end;
    Kind kind;
    int rank;
    Py_ssize_t shape[MAX_RANK];
} Reader;

static inline int store_integer(Reader *reader, const Decimal *number) {
    Kind kind = reader->kind;
    if (!number->is_integer || number->digits > 20) return 0;
    if (number->digits == 20 && (number->start[number->negative] != '1' || number->mantissa < 10000000000000000000ULL))
        return 0; /* more than 64 bits: the mantissa wrapped */
    uint64_t magnitude = number->mantissa;
    if (number->negative ? magnitude > (uint64_t)0 - (uint64_t)KINDS[kind].low : magnitude > KINDS[kind].high) return 0;
    uint64_t bits = number->negative ? (uint64_t)0 - magnitude : magnitude;
    memcpy(reader->out, &bits, (size_t)KINDS[kind].size); /* little-endian hosts only, see PyInit */
    return 1;
}

static inline int store(Reader *reader, const Decimal *number) {
    int size = KINDS[reader->kind].size;
    if (reader->out + size > reader->out_end) return 0;
    if (reader->kind <= F8) {
        double value;
        if (!to_double(number, &value)) return 0;
        if (reader->kind == F8)
            memcpy(reader->out, &value, 8);
        else {
            float narrow = (float)value;
            if (isinf(narrow)) return 0; /* a number of JSON is finite; what FP32 cannot hold is refused elsewhere */
            memcpy(reader->out, &narrow, 4);
        }
    } else if (!store_integer(reader, number))
        return 0;
    reader->out += size;
    return 1;
}

/* The elements of one array of numbers, p behind its '['; `count` < 0: any number of them. */
static int read_row(Reader *reader, Py_ssize_t count) {
    Decimal number;
    Py_ssize_t seen = 0;
    const char *p = skip_space(reader->p, reader->end);
    if (p < reader->end && *p == ']') {
        reader->p = p + 1;
        return count <= 0;
    }
    for (;;) {
        p = skip_space(p, reader->end);
        if (!scan_number(p, reader->end, &number) || !store(reader, &number)) return 0;
        seen++;
        p = skip_space(number.end, reader->end);
        if (p >= reader->end) return 0;
        if (*p == ']') break;
        if (*p++ != ',') return 0;
    }
    reader->p = p + 1;
    return count < 0 || seen == count;
}

/* An array nested exactly as the shape from `axis` on, p at its '['. */
static int read_nested(Reader *reader, int axis) {
    const char *p = skip_space(reader->p, reader->end);
    if (p >= reader->end || *p != '[') return 0;
    reader->p = p + 1;
    if (axis == reader->rank - 1) return read_row(reader, reader->shape[axis]);
    for (Py_ssize_t i = 0; i < reader->shape[axis]; i++) {
        if (i) {
            p = skip_space(reader->p, reader->end);
            if (p >= reader->end || *p != ',') return 0;
            reader->p = p + 1;
        }
        if (!read_nested(reader, axis + 1)) return 0;
    }
    p = skip_space(reader->p, reader->end);
    if (p >= reader->end || *p != ']') return 0;
    reader->p = p + 1;
    return 1;
}

static int read_array(Reader *reader) {
    const char *p = skip_space(reader->p, reader->end);
    if (p >= reader->end || *p != '[') return 0;
    const char *inner = skip_space(p + 1, reader->end);
    int nested = inner < reader->end && *inner == '[';
    if (nested) {
        if (reader->rank < 2) return 0;
        reader->p = p;
        if (!read_nested(reader, 0)) return 0;
    } else {
        reader->p = p + 1;
        if (!read_row(reader, -1)) return 0;
    }
    return skip_space(reader->p, reader->end) == reader->end && reader->out == reader->out_end;
}

static PyObject *read_numbers(PyObject *self, PyObject *args) {
    Py_buffer text, out;
    const char *name;
    Py_ssize_t start, end;
    PyObject *shape;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnsw*O!", &text, &start, &end, &name, &out, &PyTuple_Type, &shape)) return NULL;
    Reader reader = {(const char *)text.buf + start, (const char *)text.buf + end, out.buf, (char *)out.buf + out.len,
                     F4, (int)PyTuple_GET_SIZE(shape), {0}};
    int found = 0, good = 0;
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        if (!strcmp(KINDS[k].name, name)) reader.kind = (Kind)k, found = 1;
    if (found && 0 <= start && start <= end && end <= text.len && reader.rank <= MAX_RANK) {
        for (int i = 0; i < reader.rank; i++) reader.shape[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i));
        if (!PyErr_Occurred()) good = read_array(&reader);
    }
    PyBuffer_Release(&text);
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    return PyBool_FromLong(good);
}

/* Skips a string; p behind the opening quote. NULL at the end of the text. */
static inline const char *skip_string(const char *p, const char *end) {
    while (p < end) {
        if (*p == '"') return p + 1;
        p += *p == '\\' ? 2 : 1;
    }
    return NULL;
}

/* The end of an array that begins with a number and holds no string; NULL otherwise. What else is in it `read` sees. */
static inline const char *numeric_array(const char *p, const char *end) {
    const char *first = p;
    int depth = 0;
    do {
        if (++depth > MAX_RANK) return NULL;
        first = skip_space(first + 1, end);
    } while (first < end && *first == '[');
    if (first >= end || (*first != '-' && (unsigned)(*first - '0') > 9)) return NULL;
    for (const char *from = first; depth > 0;) {
        const char *close = memchr(from, ']', (size_t)(end - from));
        if (!close || memchr(from, '"', (size_t)(close - from))) return NULL;
        for (const char *open = from; (open = memchr(open, '[', (size_t)(close - open))); open++) depth++;
        if (--depth == 0) return close + 1;
        from = close + 1;
    }
    return NULL;
}

static PyObject *split(PyObject *self, PyObject *argument) {
    Py_buffer text;
    (void)self;
    if (PyObject_GetBuffer(argument, &text, PyBUF_SIMPLE)) return NULL;
    const char *begin = text.buf, *p = begin, *end = begin + text.len, *copied = begin;
    char *skeleton = PyMem_Malloc((size_t)text.len + 1), *to = skeleton;
    PyObject *spans = PyList_New(0), *result = NULL;
    if (!skeleton || !spans) goto done;
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (!quote) break;
        const char *after = skip_string(quote + 1, end);
        if (!after) break;
        p = after;
        if (after - quote != 6 || memcmp(quote, "\"data\"", 6)) continue;
        const char *value = skip_space(after, end);
        if (value >= end || *value != ':') continue;
        value = skip_space(value + 1, end);
        if (value >= end || *value != '[') continue;
        const char *stop = numeric_array(value, end);
        if (!stop || stop - value < 16) continue; /* the placeholder must fit into what it replaces */
        Py_ssize_t index = PyList_GET_SIZE(spans);
        PyObject *span = Py_BuildValue("(nn)", (Py_ssize_t)(value - begin), (Py_ssize_t)(stop - begin));
        if (!span || PyList_Append(spans, span)) {
            Py_XDECREF(span);
            goto done;
        }
        Py_DECREF(span);
        if (index > 99999999) goto done;
        memcpy(to, copied, (size_t)(value - copied));
        to += value - copied;
        to += sprintf(to, "[[%zd]]", index);
        copied = p = stop;
    }
    memcpy(to, copied, (size_t)(end - copied));
    to += end - copied;
    result = Py_BuildValue("y#O", skeleton, (Py_ssize_t)(to - skeleton), spans);
done:
    PyMem_Free(skeleton);
    Py_XDECREF(spans);
    PyBuffer_Release(&text);
    if (!result && !PyErr_Occurred()) PyErr_NoMemory();
    return result;
}

static PyMethodDef METHODS[] = {
    {"split", split, METH_O,
     "split(text) -> (skeleton, spans): each array of numbers under a \"data\" key, 16 bytes or more, is replaced by\n"
     "[[i]] and its (start, end) is spans[i]."},
    {"read", read_numbers, METH_VARARGS,
     "read(text, start, end, kind, out, shape) -> bool: fills the writable buffer `out` exactly with the numbers of the\n"
     "array text[start:end], flat or nested as `shape`; False when that is not possible. kind: f4 f8 i1..i8 u1..u8."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_jsonnumbers", "Numbers of a JSON tensor straight into an array.",
                                    -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__jsonnumbers(void) {
    const uint16_t probe = 1;
    if (*(const unsigned char *)&probe != 1) {
        PyErr_SetString(PyExc_ImportError, "this module is written for little-endian machines");
        return NULL;
    }
    return PyModule_Create(&MODULE);
}
