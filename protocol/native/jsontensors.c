/* Elements of a JSON tensor straight into an array, or into the raw form of BYTES.
 *
 * Most of what a JSON tensor costs in Python is one object an element. `split` walks a request body once, takes the arrays
 * under a "data" key out of it and leaves a short skeleton for an ordinary JSON parser; `read` turns one of these arrays
 * into machine numbers in a buffer that the caller gives, `strings` one of text into length-prefixed bytes.
 *
 * Only the good case is handled here. Whatever is unusual (a mixed array, a number out of range, a nesting that is not
 * the shape) is answered with None or False; what is wrong then, jsonchecks.c finds in a long text, Python in a short one.
 *
 * For the next author, two rules. Every function is linear in its text whatever the text is: a scan that fails is gone on
 * with from where it failed, never from its beginning, and no search looks beyond the next quote. And what runs without
 * the interpreter lock (texts of UNLOCKED_FROM bytes and more) touches buffers alone: no Python object, no Python memory.
 */
#include "jsontext.h"

#define UNLOCKED_FROM (64 << 10)
#define SMALLEST_SPAN 16 /* the placeholder must fit into what it replaces */

typedef struct {
    const char *p, *end;
    char *out;
    Kind kind;
    int special; /* "NaN", "Infinity" and "-Infinity" are strings, null and the bare literals are none */
    int rank;
    Py_ssize_t left; /* elements that are still to come */
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
    if (reader->kind > F8) return store_integer(reader, number);
    double value = to_double(number);
    if (isinf(value)) return 0;
    if (reader->kind == F8) {
        memcpy(reader->out, &value, 8);
        return 1;
    }
    float narrow = (float)value;
    if (isinf(narrow)) return 0; /* a number of JSON is finite; what FP32 cannot hold is refused elsewhere */
    memcpy(reader->out, &narrow, 4);
    return 1;
}

/* null (kserve's NaN) and the bare literals of tritonclient, or strings, for floats; true and false, for BOOL. */
static const char *read_literal(Reader *reader, const char *p) {
    static const struct {
        const char *word;
        double value;
    } FLOATS[] = {{"null", NAN}, {"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    const char *after = NULL;
    double value = 0;
    if (reader->kind == B1) {
        int truth = *p == 't';
        if ((after = literal(p, reader->end, truth ? "true" : "false"))) *reader->out = (char)truth;
        return after;
    }
    if (reader->kind > F8) return NULL;
    if (reader->special) {
        if (*p == '"') after = special_word(p, reader->end, &value);
    } else
        for (size_t k = 0; !after && k < sizeof FLOATS / sizeof *FLOATS; k++)
            if ((after = literal(p, reader->end, FLOATS[k].word))) value = FLOATS[k].value;
    if (!after) return NULL;
    float narrow = (float)value;
    if (reader->kind == F8)
        memcpy(reader->out, &value, 8);
    else
        memcpy(reader->out, &narrow, 4);
    return after;
}

/* \uXXXX or a surrogate pair of them, p behind the first 'u'; NULL for half of a pair. */
static const char *read_unicode_escape(const char *p, const char *end, char **out) {
    long code = four_hex_digits(p, end);
    if (code < 0) return NULL;
    p += 4;
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u') return NULL;
        int low = four_hex_digits(p + 2, end);
        if (low < 0xdc00 || low >= 0xe000) return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    unsigned char *to = (unsigned char *)*out;
    if (code < 0x80)
        *to++ = (unsigned char)code;
    else {
        if (code < 0x800)
            *to++ = (unsigned char)(0xc0 | code >> 6);
        else {
            if (code < 0x10000)
                *to++ = (unsigned char)(0xe0 | code >> 12);
            else {
                *to++ = (unsigned char)(0xf0 | code >> 18);
                *to++ = (unsigned char)(0x80 | (code >> 12 & 0x3f));
            }
            *to++ = (unsigned char)(0x80 | (code >> 6 & 0x3f));
        }
        *to++ = (unsigned char)(0x80 | (code & 0x3f));
    }
    *out = (char *)to;
    return p;
}

static const char *read_escape(const char *p, const char *end, char **out) {
    static const char NAMES[] = "\"\\/bfnrt", VALUES[] = "\"\\/\b\f\n\r\t";
    if (p >= end) return NULL;
    if (*p == 'u') return read_unicode_escape(p + 1, end, out);
    const char *name = *p ? strchr(NAMES, *p) : NULL;
    if (!name) return NULL;
    *(*out)++ = VALUES[name - NAMES];
    return p + 1;
}

/* A string in the raw form of BYTES: its length as a little-endian uint32, and that many bytes. */
static const char *read_string(Reader *reader, const char *p) {
    const char *end = reader->end;
    if (*p++ != '"') return NULL;
    char *length_at = reader->out, *to = length_at + 4;
    for (;;) {
        for (; end - p >= 8 && eight_plain(p); p += 8, to += 8) memcpy(to, p, 8);
        if (p >= end) return NULL;
        unsigned char c = (unsigned char)*p;
        if (c == '"') break;
        if (c == '\\') {
            if (!(p = read_escape(p + 1, end, &to))) return NULL;
        } else if (c >= 0x80) {
            int length = utf8_length(p, end);
            if (!length) return NULL;
            for (int i = 0; i < length; i++) *to++ = *p++;
        } else if (c < 0x20)
            return NULL;
        else
            *to++ = *p++;
    }
    size_t length = (size_t)(to - length_at - 4);
    if (length > UINT32_MAX) return NULL;
    uint32_t prefix = (uint32_t)length;
    memcpy(length_at, &prefix, 4);
    reader->out = to;
    return p + 1;
}

/* One element at p; where it ends, or NULL. `numeric` is known where this is inlined. */
static inline const char *read_element(Reader *reader, const char *p, const int numeric) {
    Decimal number;
    if (p >= reader->end) return NULL;
    if (!numeric && reader->kind == TEXT) return read_string(reader, p);
    if (numeric && scan_number(p, reader->end, &number)) {
        if (!store(reader, &number)) return NULL;
        p = number.end;
    } else if (!(p = read_literal(reader, p)))
        return NULL;
    reader->out += KINDS[reader->kind].size;
    return p;
}

/* The elements of one array, p behind its '['; `count` < 0: any number of them. */
static inline int read_elements(Reader *reader, Py_ssize_t count, const int numeric) {
    Py_ssize_t left = reader->left;
    const char *p = skip_space(reader->p, reader->end);
    if (p < reader->end && *p == ']') {
        reader->p = p + 1;
        return count <= 0;
    }
    for (;;) {
        if (--left < 0) return 0;
        p = read_element(reader, skip_space(p, reader->end), numeric);
        if (!p) return 0;
        p = skip_space(p, reader->end);
        if (p >= reader->end) return 0;
        if (*p == ']') break;
        if (*p++ != ',') return 0;
    }
    Py_ssize_t seen = reader->left - left;
    reader->p = p + 1;
    reader->left = left;
    return count < 0 || seen == count;
}

static int read_row(Reader *reader, Py_ssize_t count) {
    return reader->kind < B1 ? read_elements(reader, count, 1) : read_elements(reader, count, 0);
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
    return skip_space(reader->p, reader->end) == reader->end && reader->left == 0;
}

/* As read_array, and without the interpreter lock where the text is long. */
static int read_unlocked(Reader *reader) {
    if (reader->end - reader->p < UNLOCKED_FROM) return read_array(reader);
    int good;
    Py_BEGIN_ALLOW_THREADS
    good = read_array(reader);
    Py_END_ALLOW_THREADS
    return good;
}

/* Takes over text[start:end] and the shape; 0 when there is no such text or no such shape. */
static int begin(Reader *reader, const Py_buffer *text, Py_ssize_t start, Py_ssize_t end, PyObject *shape) {
    reader->rank = (int)PyTuple_GET_SIZE(shape);
    if (start < 0 || start > end || end > text->len || reader->rank > MAX_RANK) return 0;
    reader->p = (const char *)text->buf + start;
    reader->end = (const char *)text->buf + end;
    reader->left = 1;
    for (int i = 0; i < reader->rank; i++) {
        Py_ssize_t dim = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i));
        if (dim < 0 || __builtin_mul_overflow(reader->left, dim, &reader->left)) return 0;
        reader->shape[i] = dim;
    }
    return reader->left <= end - start; /* an element has one byte at least, and a comma or bracket behind it */
}

static PyObject *read_numbers(PyObject *self, PyObject *args) {
    Py_buffer text, out;
    const char *name;
    Py_ssize_t start, end;
    PyObject *shape;
    int found = 0, good = 0, special = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnsw*O!|p", &text, &start, &end, &name, &out, &PyTuple_Type, &shape, &special)) return NULL;
    Reader reader = {.out = out.buf, .special = special};
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        if (!strcmp(KINDS[k].name, name)) reader.kind = (Kind)k, found = 1;
    if (found && begin(&reader, &text, start, end, shape) && out.len == reader.left * KINDS[reader.kind].size)
        good = read_unlocked(&reader);
    PyBuffer_Release(&text);
    PyBuffer_Release(&out);
    if (PyErr_Occurred()) return NULL;
    return PyBool_FromLong(good);
}

static PyObject *read_strings(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t start, end;
    PyObject *shape, *raw = NULL;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnO!", &text, &start, &end, &PyTuple_Type, &shape)) return NULL;
    Reader reader = {.kind = TEXT};
    int good = begin(&reader, &text, start, end, shape);
    /* two quotes and a comma become four bytes of length; escapes only shrink; eight are copied at a time */
    if (good && (raw = PyBytes_FromStringAndSize(NULL, end - start + reader.left + 16))) {
        reader.out = PyBytes_AS_STRING(raw);
        good = read_unlocked(&reader);
        if (good)
            _PyBytes_Resize(&raw, reader.out - PyBytes_AS_STRING(raw));
        else
            Py_CLEAR(raw);
    }
    PyBuffer_Release(&text);
    if (PyErr_Occurred()) return NULL;
    if (raw) return raw;
    Py_RETURN_NONE;
}

typedef struct {
    const char *stop; /* behind the array; NULL when it is not one to take out */
    const char *seen; /* up to here there is nothing to find, and no string is open; NULL: nothing more in this text */
} Scan;

/* An array of strings, `first` at the quote of the first and `depth` brackets before it. */
static Scan string_array(const char *first, const char *end, int depth) {
    for (const char *p = first; p < end;) {
        if (*p == '"') {
            if (!(p = skip_string(p + 1, end))) return (Scan){NULL, NULL};
        } else if (*p == ']') {
            p++;
            if (--depth == 0) return (Scan){p, p};
        } else if (*p == '[') {
            if (++depth > MAX_RANK) return (Scan){NULL, p};
            p++;
        } else if (*p == ',' || is_space(*p))
            p++;
        else
            return (Scan){NULL, p};
    }
    return (Scan){NULL, NULL};
}

/* An array without strings. Its brackets are looked for up to the next quote and no further. */
static Scan plain_array(const char *first, const char *end, int depth) {
    const char *quote = memchr(first, '"', (size_t)(end - first)), *limit = quote ? quote : end;
    for (const char *from = first;;) {
        const char *close = memchr(from, ']', (size_t)(limit - from));
        if (!close) return (Scan){NULL, limit};
        for (const char *open = from; (open = memchr(open, '[', (size_t)(close - open))); open++) depth++;
        if (--depth == 0) return (Scan){close + 1, close + 1};
        from = close + 1;
    }
}

/* The array at p's '[' if it begins with a string, a number or a literal. What else is in it the readers see. */
static Scan element_array(const char *p, const char *end) {
    int depth = 0;
    do {
        if (++depth > MAX_RANK) return (Scan){NULL, p};
        p = skip_space(p + 1, end);
    } while (p < end && *p == '[');
    if (p >= end) return (Scan){NULL, NULL};
    if (*p == '"') return string_array(p, end, depth);
    if (*p == '-' || (unsigned)(*p - '0') <= 9 || (*p && strchr("ntfNI", *p))) return plain_array(p, end, depth);
    return (Scan){NULL, p};
}

typedef struct {
    Py_ssize_t (*spans)[2];
    Py_ssize_t count, most;
    char *skeleton, *skeleton_end;
} Split;

/* 1 when all is well, 0 when memory ran out, -1 when there are more than `most` arrays. */
static int split_text(const char *begin, const char *end, Split *split, int any_key) {
    const char *p = begin, *copied = begin;
    char *to = split->skeleton;
    Py_ssize_t room = 0;
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (!quote) break;
        const char *after = skip_string(quote + 1, end);
        if (!after) break;
        p = after;
        if (!any_key && (after - quote != 6 || memcmp(quote, "\"data\"", 6))) continue;
        const char *value = skip_space(after, end);
        if (value >= end || *value != ':') continue;
        value = skip_space(value + 1, end);
        if (value >= end || *value != '[') continue;
        Scan array = element_array(value, end);
        if (!array.seen) break;
        p = array.seen;
        if (!array.stop || array.stop - value < SMALLEST_SPAN) continue;
        if (split->count == split->most) return -1;
        if (split->count == room) {
            room = room ? room * 2 : 16;
            void *larger = realloc(split->spans, (size_t)room * sizeof *split->spans);
            if (!larger) return 0;
            split->spans = larger;
        }
        split->spans[split->count][0] = value - begin;
        split->spans[split->count][1] = array.stop - begin;
        memcpy(to, copied, (size_t)(value - copied));
        to += value - copied;
        to += snprintf(to, SMALLEST_SPAN, "[[%lld]]", (long long)split->count++);
        copied = array.stop;
    }
    if (split->count) memcpy(to, copied, (size_t)(end - copied));
    split->skeleton_end = to + (end - copied);
    return 1;
}

static PyObject *span_list(const Split *split) {
    PyObject *list = PyList_New(split->count);
    for (Py_ssize_t i = 0; list && i < split->count; i++) {
        PyObject *span = Py_BuildValue("(nn)", split->spans[i][0], split->spans[i][1]);
        if (!span)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, span);
    }
    return list;
}

static PyObject *split(PyObject *self, PyObject *args) {
    Py_buffer text;
    Split parts = {.most = 0};
    PyObject *result = NULL;
    int good = 0, any_key = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*n|p", &text, &parts.most, &any_key)) return NULL;
    if (parts.most > 99999999) parts.most = 99999999; /* eight digits fit into the smallest placeholder */
    const char *begin = text.buf, *end = begin + text.len;
    if ((parts.skeleton = malloc((size_t)text.len + 1))) {
        if (text.len < UNLOCKED_FROM)
            good = split_text(begin, end, &parts, any_key);
        else {
            Py_BEGIN_ALLOW_THREADS
            good = split_text(begin, end, &parts, any_key);
            Py_END_ALLOW_THREADS
        }
    }
    if (good > 0 && parts.count) {
        PyObject *spans = span_list(&parts);
        if (spans) result = Py_BuildValue("y#N", parts.skeleton, (Py_ssize_t)(parts.skeleton_end - parts.skeleton), spans);
    } else if (good)
        result = Py_BuildValue("O[]", Py_None); /* a copy of a long text would be made with the interpreter held */
    free(parts.skeleton);
    free(parts.spans);
    PyBuffer_Release(&text);
    if (!result && !PyErr_Occurred()) PyErr_NoMemory();
    return result;
}

/* What a text would become: its punctuation outside strings, and its strings. Nothing is checked. */
static PyObject *survey(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t start, end, strings = 0, seen[256] = {0};
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nn", &text, &start, &end)) return NULL;
    if (start < 0 || start > end || end > text.len) start = end = 0;
    const char *p = (const char *)text.buf + start, *stop = (const char *)text.buf + end;
    Py_BEGIN_ALLOW_THREADS
    while (p && p < stop) {
        unsigned char c = (unsigned char)*p++;
        seen[c]++;
        if (c == '"') {
            strings++;
            p = skip_string(p, stop);
        }
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    return Py_BuildValue("(nnnnn)", seen[','], seen['['], seen['{'], seen[':'], strings);
}

static PyMethodDef METHODS[] = {
    {"split", split, METH_VARARGS,
     "split(text, most, any_key=False) -> (skeleton, spans): each array of elements under a \"data\" key, or any key, that\n"
     "has 16 bytes or more is replaced by [[i]] and its (start, end) is spans[i]. The skeleton is None when there are more\n"
     "than `most`, or none."},
    {"read", read_numbers, METH_VARARGS,
     "read(text, start, end, kind, out, shape, special=False) -> bool: fills the writable buffer `out` exactly with the\n"
     "elements of the array text[start:end], flat or nested as `shape`; False when that is not possible. kind: f4 f8 i1..i8\n"
     "u1..u8 b1. special: a float that is none is the string \"NaN\", \"Infinity\" or \"-Infinity\", not a literal or null."},
    {"strings", read_strings, METH_VARARGS,
     "strings(text, start, end, shape) -> bytes: the strings of the array text[start:end], flat or nested as `shape`, each\n"
     "as a little-endian uint32 length and its UTF-8; None when that is not possible."},
    {"survey", survey, METH_VARARGS,
     "survey(text, start, end) -> (commas, lists, objects, colons, strings) outside the strings of text[start:end]."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {.m_base = PyModuleDef_HEAD_INIT,
                                    .m_name = "_jsontensors",
                                    .m_doc = "Elements of a JSON tensor straight into an array or into raw bytes.",
                                    .m_size = -1,
                                    .m_methods = METHODS};

PyMODINIT_FUNC PyInit__jsontensors(void) {
    const uint16_t probe = 1;
    if (*(const unsigned char *)&probe != 1) {
        PyErr_SetString(PyExc_ImportError, "this module is written for little-endian machines");
        return NULL;
    }
    if (!C_LOCALE && !(C_LOCALE = newlocale(LC_ALL_MASK, "C", (locale_t)0))) {
        PyErr_SetString(PyExc_ImportError, "the C library has no \"C\" locale");
        return NULL;
    }
    return PyModule_Create(&MODULE);
}
