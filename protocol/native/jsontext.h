/* The words of JSON text (RFC 8259): blanks, numbers, strings, and what a number becomes. Shared by the readers beside it.
 *
 * Rounding: a decimal number is read as a double, correctly rounded, and float32 is rounded from that, which is what
 * json and numpy do one after the other. Up to 2^53 and 10^22 one division is exact (Clinger 1990); up to 19 digits and
 * 10^27 the x87 long double holds mantissa and power exactly and its 64-bit quotient is rounded again, which is wrong
 * only when it lies just half way between two doubles; that case, and all others, go to the C library's strtod, which
 * rounds correctly (IEEE 754, glibc since 2.17) and, unlike Python's, needs no interpreter lock. It gets a long number's
 * first digits: behind the 780th only zero or not counts, as no point half way between two doubles has more than 767.
 */
#pragma once
#define _GNU_SOURCE /* strtod_l, newlocale */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

#define MAX_RANK 64 /* as in tensors.py */
#define MAX_NUMBER 400
#define EACH(byte) (0x0101010101010101ULL * (byte))
#define MOST_DIGITS 780
#define MOST_POWER 1000000000000

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
    int digits;     /* digits in mantissa, those of a fraction with its leading zeros: never too few */
    uint64_t mantissa;
    int exponent;
    const char *start, *end;
} Decimal;

static inline int is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

static inline const char *skip_space(const char *p, const char *end) {
    while (p < end && (unsigned char)*p <= ' ' && is_space(*p)) p++;
    return p;
}

static const uint64_t TENS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

/* How many of the eight bytes are digits before the first that is none; the text's first byte is the lowest. */
static inline int leading_digits(uint64_t bytes) {
    uint64_t no_digit = ((bytes & EACH(0xf0)) ^ EACH(0x30)) | (((bytes + EACH(0x06)) & EACH(0xf0)) ^ EACH(0x30));
    return no_digit ? __builtin_ctzll(no_digit) / 8 : 8; /* carries of the sum only reach bytes behind the first one */
}

/* Up to eight digits at once, however many there are, as branches on their number are what a CPU foretells worst (after
 * D. Lemire, "Quickly parsing eight digits"): how many they are. `mantissa` goes on with them. */
static inline int take_digits(const char *p, uint64_t *mantissa) {
    uint64_t bytes;
    memcpy(&bytes, p, 8);
    int count = leading_digits(bytes);
    if (!count) return 0;
    bytes = (bytes - EACH(0x30)) << (64 - 8 * count); /* zeros before them */
    bytes = bytes * 10 + (bytes >> 8);
    uint64_t value = (((bytes & 0x000000ff000000ff) * 0x000f424000000064) +
                      (((bytes >> 16) & 0x000000ff000000ff) * 0x0000271000000001)) >> 32;
    *mantissa = *mantissa * TENS[count] + (value & 0xffffffff);
    return count;
}

/* Digits at p, none of them perhaps; where they end. */
static inline const char *scan_digits(const char *p, const char *end, uint64_t *mantissa) {
    while (end - p >= 8) {
        int count = take_digits(p, mantissa);
        p += count;
        if (count < 8) return p;
    }
    for (; p < end && (unsigned)(*p - '0') <= 9; p++) *mantissa = *mantissa * 10 + (uint64_t)(*p - '0');
    return p;
}

/* RFC 8259 number grammar. Returns 0 when there is no number at p. */
static inline int scan_number(const char *p, const char *end, Decimal *number) {
    number->start = p;
    number->is_integer = 1;
    number->exponent = 0;
    number->negative = p < end && *p == '-';
    p += number->negative;
    if (p >= end || (unsigned)(*p - '0') > 9) return 0;
    uint64_t mantissa = 0;
    const char *first = p;
    if (*p == '0') {
        first = ++p;
        if (p < end && (unsigned)(*p - '0') <= 9) return 0;
    } else
        p = scan_digits(p, end, &mantissa);
    Py_ssize_t digits = p - first;
    if (p < end && *p == '.') {
        number->is_integer = 0;
        const char *fraction = ++p;
        p = scan_digits(p, end, &mantissa);
        if (p == fraction) return 0;
        digits += p - fraction;
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
    number->digits = digits < MAX_NUMBER ? (int)digits : MAX_NUMBER;
    number->mantissa = mantissa;
    number->end = p;
    return 1;
}

static locale_t C_LOCALE; /* decimal points are points, whatever LC_NUMERIC says */

/* A number of any length as text that strtod_l reads: its first digits, and one more where what follows them is not zero. */
static double longest_double(const char *p, const char *end) {
    char text[MOST_DIGITS + 40], *to = text;
    int64_t exponent = 0, power = 0;
    int digits = 0, is_fraction = 0, is_more = 0, is_small = 0;
    if (*p == '-') *to++ = *p++;
    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            is_fraction = 1;
        } else if (digits < MOST_DIGITS) {
            if (digits || *p != '0') *to++ = *p, digits++;
            exponent -= is_fraction;
        } else {
            is_more |= *p != '0';
            exponent += !is_fraction;
        }
    }
    if (p < end && (*++p == '+' || *p == '-')) is_small = *p++ == '-';
    for (; p < end; p++)
        if (power < MOST_POWER) power = power * 10 + (*p - '0');
    if (is_more || !digits) *to++ = (char)('0' + is_more), exponent -= is_more;
    exponent += is_small ? -power : power;
    if (exponent > MOST_POWER) exponent = MOST_POWER;
    if (exponent < -MOST_POWER) exponent = -MOST_POWER;
    snprintf(to, 24, "e%lld", (long long)exponent);
    return strtod_l(text, NULL, C_LOCALE);
}

static double slow_double(const Decimal *number) {
    char text[MAX_NUMBER];
    size_t length = (size_t)(number->end - number->start);
    if (length >= sizeof text) return longest_double(number->start, number->end);
    memcpy(text, number->start, length);
    text[length] = 0;
    return strtod_l(text, NULL, C_LOCALE);
}

static inline double to_double(const Decimal *number) {
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
        if ((bits & 0x7ff) == 0x400) return slow_double(number);
        magnitude = (double)wide;
    }
#endif
    else
        return slow_double(number);
    /* json reads -0 as the integer 0, which has no sign */
    return number->negative && !(number->is_integer && !number->mantissa) ? -magnitude : magnitude;
}

/* What `read` writes: the kinds are numpy's one-letter codes with the item size. */
typedef enum { F4, F8, I1, I2, I4, I8, U1, U2, U4, U8, B1, TEXT } Kind;

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
    {"b1", 1, 0, 1},
};

static inline const char *literal(const char *p, const char *end, const char *word) {
    size_t length = strlen(word);
    return (size_t)(end - p) >= length && !memcmp(p, word, length) ? p + length : NULL;
}

static inline int hex_digit(char c) {
    if ((unsigned)(c - '0') <= 9) return c - '0';
    return (unsigned)((c | 32) - 'a') <= 5 ? (c | 32) - 'a' + 10 : -1;
}

static inline int four_hex_digits(const char *p, const char *end) {
    if (end - p < 4) return -1;
    int a = hex_digit(p[0]), b = hex_digit(p[1]), c = hex_digit(p[2]), d = hex_digit(p[3]);
    return (a | b | c | d) < 0 ? -1 : a << 12 | b << 8 | c << 4 | d;
}

/* Behind the string at p that stands for a float which is no number, and that float; NULL for any other string. */
static inline const char *special_word(const char *p, const char *end, double *value) {
    static const struct {
        const char *word;
        double value;
    } WORDS[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    char said[16];
    size_t length = 0;
    for (p++; p < end && *p != '"' && length < sizeof said - 1; length++) {
        int code = end - p > 6 && p[0] == '\\' && p[1] == 'u' ? four_hex_digits(p + 2, end) : (unsigned char)*p;
        p += *p == '\\' ? 6 : 1;
        if (code <= 0 || code >= 0x80) return NULL;
        said[length] = (char)code;
    }
    if (p >= end || *p != '"') return NULL;
    said[length] = 0;
    for (size_t k = 0; k < sizeof WORDS / sizeof *WORDS; k++) {
        if (strcmp(said, WORDS[k].word)) continue;
        *value = WORDS[k].value;
        return p + 1;
    }
    return NULL;
}

/* Bytes of the UTF-8 sequence at p, which begins with no ASCII; 0 when it is not one (RFC 3629). */
static inline int utf8_length(const char *p, const char *end) {
    const unsigned char *u = (const unsigned char *)p;
    int length = u[0] < 0xc2 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf5 ? 4 : 0;
    if (!length || end - p < length) return 0;
    for (int i = 1; i < length; i++)
        if ((u[i] & 0xc0) != 0x80) return 0;
    if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f) || (u[0] == 0xf0 && u[1] < 0x90) ||
        (u[0] == 0xf4 && u[1] > 0x8f))
        return 0;
    return length;
}

/* Eight bytes of text that mean themselves: ASCII, no control character, no quote, no backslash. */
static inline int eight_plain(const char *p) {
    uint64_t b, quote, slash;
    memcpy(&b, p, 8);
    quote = b ^ EACH('"');
    slash = b ^ EACH('\\');
    return !((b | (b - EACH(0x20)) | (quote - EACH(1)) | (slash - EACH(1))) & EACH(0x80));
}

/* Behind the closing quote of a string, p behind the opening one; NULL at the end of the text. Both searches only go
 * forward: a quote that is found is kept until an escape has passed it. */
static inline const char *skip_string(const char *p, const char *end) {
    for (int i = 0; i < 16 && p < end; i++) { /* most strings are short */
        if (*p == '"') return p + 1;
        p += *p == '\\' ? 2 : 1;
    }
    for (const char *quote = NULL; p < end;) {
        if (!quote || quote < p) quote = memchr(p, '"', (size_t)(end - p));
        if (!quote) return NULL;
        const char *slash = memchr(p, '\\', (size_t)(quote - p));
        if (!slash) return quote + 1;
        p = slash + 2;
    }
    return NULL;
}
