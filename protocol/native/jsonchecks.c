/* Long JSON texts: whether they are JSON, where their parts are, and what is wrong in an array of elements.
 *
 * A text is checked once (`check`). Then it is read as far as it is needed: `pieces` says where the elements of an array or
 * the members of an object lie, so that what is short is given to an ordinary parser and what is long stays text; an array
 * that is to be a tensor is read by jsontensors.c, and where that cannot be, `wrong` says at which element and why.
 *
 * No sentence is written here. A fault in the grammar is answered with a text that has few bytes and the same fault, which
 * the ordinary parser names.
 *
 * The rules of jsontensors.c hold: all is linear in the text whatever it is, and without the interpreter lock only buffers
 * are touched. `pieces`, `shape`, `wrong` and `depth` expect what `check` has found good; of other texts they say nothing
 * that is true, but stay within them.
 */
#include "jsontext.h"

#define MAX_OPEN 1024 /* containers in containers, as in orjson */
#define BEYOND 64     /* bytes behind a fault that its parser may look at */

/* ---- the grammar ---- */

typedef enum { GOOD, BROKEN, TOO_DEEP, HALF_PAIR, NOT_UTF8 } Verdict;

typedef struct {
    const char *begin, *end;
    int literals; /* NaN, Infinity and -Infinity are values */
    Verdict verdict;
    const char *value;      /* where the text's value begins */
    const char *fault;      /* where a token begins, or has, what should not be there */
    const char *mark;       /* behind the last whole item of the innermost container, or behind its bracket */
    int is_first;           /* no item of it is whole yet */
    const char *from, *to;  /* what may be left out between mark and fault */
    int depth;
    char open[MAX_OPEN + 1];
} Check;

static const char *failed(Check *check, Verdict verdict, const char *at) {
    check->verdict = verdict;
    check->fault = at;
    return NULL;
}

static int is_utf8(const char *p, const char *end) {
    for (uint64_t eight; p < end;) {
        if (end - p >= 8 && (memcpy(&eight, p, 8), !(eight & EACH(0x80)))) {
            p += 8;
        } else if (*p & 0x80) {
            int length = utf8_length(p, end);
            if (!length) return 0;
            p += length;
        } else
            p++;
    }
    return 1;
}

/* Behind the escape at p's backslash. */
static const char *check_escape(Check *check, const char *p) {
    const char *end = check->end;
    if (end - p < 2 || !p[1] || !strchr("\"\\/bfnrtu", p[1])) return failed(check, BROKEN, p);
    if (p[1] != 'u') return p + 2;
    int code = four_hex_digits(p + 2, end);
    if (code < 0) return failed(check, BROKEN, p);
    if (code < 0xd800 || code >= 0xe000) return p + 6;
    if (code >= 0xdc00 || end - p < 12 || p[6] != '\\' || p[7] != 'u') return failed(check, HALF_PAIR, p);
    int low = four_hex_digits(p + 8, end);
    return low < 0xdc00 || low >= 0xe000 ? failed(check, low < 0 ? BROKEN : HALF_PAIR, p) : p + 12;
}

/* Behind the string at p's quote; its bytes are known to be UTF-8. */
static const char *check_string(Check *check, const char *p) {
    const char *end = check->end, *first = ++p;
    for (;;) {
        while (end - p >= 8 && eight_plain(p)) p += 8;
        if (p >= end) break;
        unsigned char c = (unsigned char)*p;
        if (c == '"') return p + 1;
        if (c < 0x20) break;
        const char *next = c == '\\' ? check_escape(check, p) : p + 1;
        if (!next) break;
        p = next;
    }
    check->from = first;
    check->to = p;
    return check->verdict == GOOD ? failed(check, BROKEN, p) : NULL;
}

/* Behind the number or literal at p. */
static const char *check_scalar(Check *check, const char *p) {
    static const char *const WORDS[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};
    Decimal number;
    if (scan_number(p, check->end, &number)) {
        Py_ssize_t length = number.end - p;
        int is_finite = length + number.exponent < 308 || !isinf(to_double(&number));
        return is_finite ? number.end : failed(check, BROKEN, number.end);
    }
    for (size_t k = 0; k < (check->literals ? 6 : 3); k++) {
        const char *after = literal(p, check->end, WORDS[k]);
        if (after) return after;
    }
    while (p < check->end && ((unsigned)(*p - '0') <= 9 || *p == '.' || *p == '+' || *p == '-' || (*p | 32) == 'e'))
        p++; /* a number that is none is named by its parser */
    return failed(check, BROKEN, p);
}

static void check_text(Check *check) {
    const char *p = check->begin, *end = check->end;
    if (!is_utf8(p, end)) {
        failed(check, NOT_UTF8, p);
        return;
    }
    check->mark = p;
    check->is_first = 1;
    check->value = skip_space(p, end);
value:
    p = skip_space(p, end);
    if (p >= end) goto broken;
    if (*p == '[' || *p == '{') {
        if (check->depth == MAX_OPEN) {
            failed(check, TOO_DEEP, p);
            return;
        }
        check->open[++check->depth] = *p++;
        check->mark = p;
        check->is_first = 1;
        const char *next = skip_space(p, end);
        if (next < end && *next == (p[-1] == '[' ? ']' : '}')) {
            p = next;
            goto close;
        }
        if (p[-1] == '[') goto value;
        goto key;
    }
    p = *p == '"' ? check_string(check, p) : check_scalar(check, p);
    if (!p) return;
item:
    check->mark = p;
    check->is_first = 0;
    p = skip_space(p, end);
    if (!check->depth) {
        if (p < end) goto broken;
        return;
    }
    if (p >= end) goto broken;
    if (*p == ',') {
        p++;
        if (check->open[check->depth] == '[') goto value;
        goto key;
    }
    if (*p != (check->open[check->depth] == '[' ? ']' : '}')) goto broken;
close:
    p++;
    check->depth--;
    goto item;
key:
    p = skip_space(p, end);
    if (p >= end || *p != '"') goto broken;
    if (!(p = check_string(check, p))) return;
    p = skip_space(p, end);
    if (p >= end || *p != ':') goto broken;
    p++;
    goto value;
broken:
    failed(check, BROKEN, p);
}

/* After a fault: what may be left out before it is blanks, where it is not a part of a string. */
static void leave_out(Check *check) {
    if (check->from) return;
    const char *p = check->to = check->fault;
    while (p > check->mark && is_space(p[-1])) p--;
    check->from = p + (p < check->fault); /* one blank stays */
}

static PyObject *check(PyObject *self, PyObject *args) {
    Py_buffer text;
    Check check = {.verdict = GOOD};
    int says_literals = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*p", &text, &check.literals)) return NULL;
    check.begin = text.buf;
    check.end = check.begin + text.len;
    const char *stop = NULL;
    Py_BEGIN_ALLOW_THREADS
    check_text(&check);
    if (check.verdict != GOOD) {
        leave_out(&check);
        says_literals = check.literals && (memmem(text.buf, (size_t)text.len, "NaN", 3) != NULL ||
                                           memmem(text.buf, (size_t)text.len, "Infinity", 8) != NULL);
        stop = check.end - check.fault > BEYOND ? check.fault + BEYOND : check.end;
        while (check.verdict != NOT_UTF8 && stop < check.end && (*stop & 0xc0) == 0x80) stop++; /* whole characters */
    }
    Py_END_ALLOW_THREADS
    PyObject *found = NULL;
    const char *begin = check.begin;
    if (check.verdict == GOOD)
        found = Py_BuildValue("(iiy#innnn)", GOOD, 0, "", (Py_ssize_t)0, 0, check.value - begin, check.mark - begin,
                              (Py_ssize_t)0, (Py_ssize_t)0);
    else
        found = Py_BuildValue("(iiy#innnn)", (int)check.verdict, says_literals, check.open + 1, (Py_ssize_t)check.depth,
                              check.is_first, check.mark - begin, check.from - begin, check.to - begin, stop - begin);
    PyBuffer_Release(&text);
    return found;
}

/* ---- where the parts are ---- */

/* Behind the closing bracket of the container at p, or the end. */
static const char *skip_container(const char *p, const char *end) {
    for (Py_ssize_t depth = 0; p < end;) {
        char c = *p++;
        if (c == '"') {
            if (!(p = skip_string(p, end))) return end;
        } else if (c == '[' || c == '{')
            depth++;
        else if ((c == ']' || c == '}') && --depth <= 0)
            return p;
    }
    return end;
}

static const uint8_t STRUCTURAL[256] = {['"'] = 1, [','] = 1, ['['] = 1, [']'] = 1, ['{'] = 1, ['}'] = 1};

/* The comma or bracket behind the value at p, or the end. */
static const char *skip_value(const char *p, const char *end) {
    for (Py_ssize_t depth = 0;; p++) {
        while (p < end && !STRUCTURAL[(uint8_t)*p]) p++;
        if (p >= end) return end;
        if (*p == '[' || *p == '{') {
            depth++;
        } else if (*p == '"') {
            if (!(p = skip_string(p + 1, end))) return end;
            p--;
        } else if (!depth)
            return p;
        else if (*p != ',')
            depth--;
    }
}

/* Where a value that was skipped ends, without the blanks behind it. */
static const char *value_end(const char *value, const char *behind) {
    while (behind > value && is_space(behind[-1])) behind--;
    return behind;
}

/* A walk over the elements of an array or the values of an object. */
typedef struct {
    const char *p, *end;
    const char *key;   /* of the member at hand, in an object */
    const char *value; /* where the value at hand begins */
    int is_object;
} Walk;

static Walk walk_of(const char *container, const char *end) {
    return (Walk){.p = container + 1, .end = end, .is_object = *container == '{'};
}

/* The next value: `walk->value`. 0 behind the last. The caller puts `walk->p` behind the value. */
static int next_value(Walk *walk) {
    const char *end = walk->end, *p = skip_space(walk->p, end);
    if (p < end && *p == ',') p = skip_space(p + 1, end);
    if (p >= end || *p == ']' || *p == '}') {
        walk->p = p < end ? p + 1 : end;
        return 0;
    }
    walk->key = p;
    if (walk->is_object) {
        if (*p != '"' || !(p = skip_string(p + 1, end))) return 0;
        p = skip_space(p, end);
        p = p < end ? skip_space(p + 1, end) : end;
        if (p >= end) return 0;
    }
    walk->value = p;
    return 1;
}

typedef struct {
    Py_ssize_t start, end, value, count;
} Piece;

typedef struct {
    Piece *list;
    Py_ssize_t count, room;
} Pieces;

/* Runs of elements or members of at most `most` bytes, or a single longer one. 0 when memory ran out. */
static int cut(Pieces *pieces, const char *begin, const char *container, const char *end, Py_ssize_t most) {
    Walk walk = walk_of(container, end);
    while (next_value(&walk)) {
        walk.p = skip_value(walk.value, end);
        if (walk.p == walk.value) break;
        const char *first = walk.key, *behind = value_end(walk.value, walk.p);
        Piece *last = pieces->count ? &pieces->list[pieces->count - 1] : NULL;
        if (last && behind - begin - last->start <= most) {
            last->end = behind - begin;
            last->count++;
            continue;
        }
        if (pieces->count == pieces->room) {
            pieces->room = pieces->room ? pieces->room * 2 : 64;
            Piece *larger = realloc(pieces->list, (size_t)pieces->room * sizeof *larger);
            if (!larger) return 0;
            pieces->list = larger;
        }
        pieces->list[pieces->count++] = (Piece){first - begin, behind - begin, walk.value - begin, 1};
    }
    return 1;
}

/* Takes over text[start:end]; 0 when there is no such text. */
static int is_within(const Py_buffer *text, Py_ssize_t start, Py_ssize_t end) {
    return 0 <= start && start < end && end <= text->len;
}

static PyObject *pieces(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t start, end, most;
    Pieces found = {NULL, 0, 0};
    int good = 1;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnn", &text, &start, &end, &most)) return NULL;
    const char *begin = text.buf;
    if (is_within(&text, start, end)) {
        Py_BEGIN_ALLOW_THREADS
        good = cut(&found, begin, begin + start, begin + end, most);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&text);
    PyObject *list = good ? PyList_New(found.count) : PyErr_NoMemory();
    for (Py_ssize_t i = 0; list && i < found.count; i++) {
        Piece *piece = &found.list[i];
        PyObject *item = Py_BuildValue("(nnnn)", piece->start, piece->end, piece->value, piece->count);
        if (!item)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, item);
    }
    free(found.list);
    return list;
}

/* Lengths of the first array of each depth, p at the outermost; how many, at most MAX_RANK + 1. */
static int first_lengths(const char *p, const char *end, Py_ssize_t lengths[MAX_RANK + 1]) {
    int rank = 0;
    while (p && p < end && *p == '[' && rank <= MAX_RANK) {
        Walk walk = walk_of(p, end);
        const char *first = NULL;
        Py_ssize_t count = 0;
        while (next_value(&walk)) {
            if (!count++) first = walk.value;
            const char *behind = skip_value(walk.value, end);
            if (behind == walk.value) break;
            walk.p = behind;
        }
        lengths[rank++] = count;
        p = first;
    }
    return rank;
}

static PyObject *shape(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t start, end, lengths[MAX_RANK + 1];
    int rank = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nn", &text, &start, &end)) return NULL;
    if (is_within(&text, start, end)) {
        Py_BEGIN_ALLOW_THREADS
        rank = first_lengths((const char *)text.buf + start, (const char *)text.buf + end, lengths);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&text);
    PyObject *found = PyTuple_New(rank);
    for (int i = 0; found && i < rank; i++) {
        PyObject *length = PyLong_FromSsize_t(lengths[i]);
        if (!length)
            Py_CLEAR(found);
        else
            PyTuple_SET_ITEM(found, i, length);
    }
    return found;
}

static Py_ssize_t deepest(const char *p, const char *end) {
    Py_ssize_t depth = 0, most = 0;
    while (p && p < end) {
        char c = *p++;
        if (c == '"')
            p = skip_string(p, end);
        else if (c == '[' || c == '{')
            most = ++depth > most ? depth : most;
        else if (c == ']' || c == '}')
            depth--;
    }
    return most;
}

static PyObject *depth(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t start, end, most = 0;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nn", &text, &start, &end)) return NULL;
    if (is_within(&text, start, end)) {
        Py_BEGIN_ALLOW_THREADS
        most = deepest((const char *)text.buf + start, (const char *)text.buf + end);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&text);
    return PyLong_FromSsize_t(most);
}

/* Line and column, from 1 and in characters, of the byte at `at`. */
static PyObject *position(PyObject *self, PyObject *args) {
    Py_buffer text;
    Py_ssize_t at, line = 1, column = 1;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*n", &text, &at)) return NULL;
    const char *p = text.buf, *stop = p + (at < 0 ? 0 : at < text.len ? at : text.len);
    Py_BEGIN_ALLOW_THREADS
    for (; p < stop; p++) {
        if (*p == '\n')
            line++, column = 1;
        else
            column += (*p & 0xc0) != 0x80;
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&text);
    return Py_BuildValue("(nn)", line, column);
}

/* ---- what is wrong in an array of elements ---- */

typedef enum { NOTHING, SPECIAL, COUNT, RAGGED, TYPE, RANGE } What;

typedef struct {
    const char *end;
    Kind kind;
    int special; /* as in jsontensors.c */
    int rank;
    Py_ssize_t shape[MAX_RANK];
    Py_ssize_t index; /* of the element at hand */
    int is_ragged;
    What found;
    Py_ssize_t at; /* the index of the first that is wrong */
    const char *wrong;
} Elements;

/* The first string that is no special one, or null, in lists at any depth; NULL where there is none. */
static const char *first_unspecial(const char *p, const char *end) {
    while (p < end) {
        if (*p == '{')
            p = skip_container(p, end);
        else if (*p == '"') {
            double value;
            const char *behind = special_word(p, end, &value);
            if (!behind) return p;
            p = behind;
        } else if (*p == 'n')
            return p;
        else
            p++;
    }
    return NULL;
}

/* Whether a number is an integer of Python's: one beyond 64 bits is read as a float. */
static int is_integer(const Decimal *number) {
    if (!number->is_integer || number->digits > 20) return 0;
    if (number->digits == 20 && (number->start[number->negative] != '1' || number->mantissa < 10000000000000000000ULL)) return 0;
    return !number->negative || number->mantissa <= (uint64_t)1 << 63;
}

/* Whether the datatype takes elements of this type. */
static int is_accepted(const Elements *elements, const char *p, Decimal *number) {
    if (elements->kind == TEXT) return *p == '"';
    if (elements->kind == B1) return *p == 't' || *p == 'f';
    if (scan_number(p, elements->end, number)) return elements->kind <= F8 || is_integer(number);
    if (elements->kind > F8) return 0;
    if (elements->special) return *p == '"';
    return *p == 'n' || *p == 'N' || *p == 'I' || *p == '-';
}

/* Whether the datatype holds the number. */
static int is_in_range(const Elements *elements, const Decimal *number) {
    Kind kind = elements->kind;
    if (kind <= F8) return kind == F8 || fabs(to_double(number)) <= (double)FLT_MAX;
    uint64_t magnitude = number->mantissa;
    return number->negative ? magnitude <= (uint64_t)0 - (uint64_t)KINDS[kind].low : magnitude <= KINDS[kind].high;
}

/* Behind the element at p. */
static const char *look_at(Elements *elements, const char *p) {
    Decimal number = {.end = NULL};
    What what = NOTHING;
    if (!is_accepted(elements, p, &number))
        what = TYPE;
    else if (number.end && !is_in_range(elements, &number))
        what = RANGE;
    if (what != NOTHING && (elements->found == NOTHING || (what == TYPE && elements->found == RANGE))) {
        elements->found = what;
        elements->at = elements->index;
        elements->wrong = p;
    }
    elements->index++;
    return number.end ? number.end : skip_value(p, elements->end);
}

/* The array at p, nested as the shape from `axis` on; behind it. */
static const char *look_nested(Elements *elements, const char *p, int axis) {
    const char *end = elements->end;
    Walk walk = walk_of(p, end);
    Py_ssize_t count = 0;
    for (int is_leaf = axis == elements->rank - 1; next_value(&walk); count++) {
        const char *value = walk.value;
        if (is_leaf) {
            if (!elements->index && *value == '[') elements->is_ragged = 1;
            walk.p = look_at(elements, value);
        } else if (*value == '[')
            walk.p = look_nested(elements, value, axis + 1);
        else {
            elements->is_ragged = 1;
            walk.p = skip_value(value, end);
        }
        if (walk.p == value) break;
    }
    if (count != elements->shape[axis]) elements->is_ragged = 1;
    return walk.p;
}

static void look_flat(Elements *elements, const char *p) {
    Walk walk = walk_of(p, elements->end);
    while (next_value(&walk)) {
        walk.p = look_at(elements, walk.value);
        if (walk.p == walk.value) break;
    }
}

/* What is wrong in the array at p; in `elements` which element. */
static What what_is_wrong(Elements *elements, const char *p, Py_ssize_t count) {
    if (elements->special && elements->kind <= F8 && (elements->wrong = first_unspecial(p, elements->end))) return SPECIAL;
    const char *first = skip_space(p + 1, elements->end);
    if (first >= elements->end || *first != '[') {
        look_flat(elements, p);
        if (elements->index != count) {
            elements->at = elements->index;
            return COUNT;
        }
        return elements->found;
    }
    if (!elements->rank) return RAGGED;
    look_nested(elements, p, 0);
    return elements->is_ragged ? RAGGED : elements->found;
}

static PyObject *wrong(PyObject *self, PyObject *args) {
    static const char *const NAMES[] = {"", "special", "count", "ragged", "type", "range"};
    Py_buffer text;
    const char *name;
    Py_ssize_t start, end, count = 1;
    PyObject *shape;
    Elements elements = {.kind = TEXT};
    What what = NOTHING;
    (void)self;
    if (!PyArg_ParseTuple(args, "y*nnsO!p", &text, &start, &end, &name, &PyTuple_Type, &shape, &elements.special)) return NULL;
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        if (!strcmp(KINDS[k].name, name)) elements.kind = (Kind)k;
    int good = is_within(&text, start, end) && PyTuple_GET_SIZE(shape) <= MAX_RANK;
    elements.rank = good ? (int)PyTuple_GET_SIZE(shape) : 0;
    for (int i = 0; i < elements.rank; i++) {
        elements.shape[i] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i));
        if (elements.shape[i] < 0 || __builtin_mul_overflow(count, elements.shape[i], &count)) good = 0;
    }
    const char *begin = text.buf, *behind = begin;
    if (good && begin[start] == '[') {
        elements.end = begin + end;
        Py_BEGIN_ALLOW_THREADS
        what = what_is_wrong(&elements, begin + start, count);
        if (elements.wrong) behind = value_end(elements.wrong, skip_value(elements.wrong, elements.end));
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&text);
    if (PyErr_Occurred()) return NULL;
    Py_ssize_t from = elements.wrong ? elements.wrong - begin : 0;
    return Py_BuildValue("(snnn)", NAMES[what], elements.at, from, behind - begin);
}

static PyMethodDef METHODS[] = {
    {"check", check, METH_VARARGS,
     "check(text, literals) -> (verdict, says_literals, open, is_first, mark, left, right, stop): verdict 0 when the text is\n"
     "JSON, text[mark:left] without blanks, with NaN, Infinity and -Infinity as values where `literals` says so. 2 when it nests\n"
     "too deeply, 4 when it is no UTF-8. Otherwise (1, and 3 for half of a surrogate pair) text[mark:left] + text[right:stop]\n"
     "has the fault, where it stands in the containers `open`, behind an item unless it `is_first`."},
    {"pieces", pieces, METH_VARARGS,
     "pieces(text, start, end, most) -> [(start, end, value, count)]: runs of elements or members of the container text[start:end]\n"
     "of `most` bytes or one; `value` is where the first value begins."},
    {"shape", shape, METH_VARARGS,
     "shape(text, start, end) -> tuple: how many elements the first array of each depth has in the array text[start:end]; 33 for\n"
     "one that nests deeper than 64."},
    {"depth", depth, METH_VARARGS, "depth(text, start, end) -> how deep containers nest."},
    {"position", position, METH_VARARGS, "position(text, at) -> (line, column) of a byte, from 1 and in characters."},
    {"wrong", wrong, METH_VARARGS,
     "wrong(text, start, end, kind, shape, special) -> (what, index, from, to): why the array text[start:end] is no tensor. what:\n"
     "special, count (index: how many there are), ragged, type, range; empty where nothing is wrong. kind as in `read`, other\n"
     "names for text."},
    {NULL, NULL, 0, NULL}};

static struct PyModuleDef MODULE = {.m_base = PyModuleDef_HEAD_INIT,
                                    .m_name = "_jsonchecks",
                                    .m_doc = "What is wrong in a long JSON text, and where its parts are.",
                                    .m_size = -1,
                                    .m_methods = METHODS};

PyMODINIT_FUNC PyInit__jsonchecks(void) {
    if (!C_LOCALE && !(C_LOCALE = newlocale(LC_ALL_MASK, "C", (locale_t)0))) {
        PyErr_SetString(PyExc_ImportError, "the C library has no \"C\" locale");
        return NULL;
    }
    return PyModule_Create(&MODULE);
}
