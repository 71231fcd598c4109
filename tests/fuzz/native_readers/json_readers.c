/* The readers of protocol/native/jsontensors.c on texts and buffers of exactly their size, so that a sanitizer sees each byte
 * beyond an end. Python is not there: what needs it is not called (driver.h).
 */
#include "jsontensors.c"
#include "driver.h"

static void read_span(const char *text, size_t size, Kind kind, int rank, Py_ssize_t columns) {
    Py_ssize_t commas = 0;
    for (size_t i = 0; i < size; i++) commas += text[i] == ',';
    Reader reader = {.p = text, .end = text + size, .kind = kind, .rank = rank, .left = rank ? commas + 1 : 1};
    if (rank == 1) reader.shape[0] = reader.left;
    if (rank == 2) {
        reader.shape[0] = reader.left / columns;
        reader.shape[1] = columns;
        reader.left = reader.shape[0] * columns;
    }
    if (reader.left > (Py_ssize_t)size) return; /* as `begin` says */
    size_t room = kind == TEXT ? size + (size_t)reader.left + 16 : (size_t)reader.left * (size_t)KINDS[kind].size;
    char *out = malloc(room);
    reader.out = out;
    if (read_array(&reader)) {
        PROMISE(reader.left == 0 && reader.out <= out + room);
        if (kind != TEXT) PROMISE(reader.out == out + room);
    }
    free(out);
}

static void split_and_read(const char *text, size_t size, int any_key, int rank, Py_ssize_t columns) {
    Split parts = {.most = 8, .skeleton = malloc(size + 1)};
    if (split_text(text, text + size, &parts, any_key) == 1) {
        PROMISE(parts.skeleton_end >= parts.skeleton && (size_t)(parts.skeleton_end - parts.skeleton) <= size);
        Py_ssize_t before = 0;
        for (Py_ssize_t i = 0; i < parts.count; i++) {
            Py_ssize_t start = parts.spans[i][0], end = parts.spans[i][1];
            PROMISE(before <= start && start < end && end <= (Py_ssize_t)size && text[start] == '[' && text[end - 1] == ']');
            before = end;
            char *span = malloc((size_t)(end - start));
            memcpy(span, text + start, (size_t)(end - start));
            for (int kind = F4; kind <= TEXT; kind++) read_span(span, (size_t)(end - start), (Kind)kind, rank, columns);
            free(span);
        }
    }
    free(parts.skeleton);
    free(parts.spans);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!C_LOCALE) C_LOCALE = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (size < 2) return 0;
    int rank = data[0] % 3;
    Py_ssize_t columns = 1 + data[1] % 7;
    size -= 2;
    char *text = malloc(size);
    memcpy(text, data + 2, size);
    for (int any_key = 0; any_key < 2; any_key++) split_and_read(text, size, any_key, rank, columns);
    for (int kind = F4; kind <= TEXT; kind++) read_span(text, size, (Kind)kind, rank, columns);
    for (const char *p = text; p && p < text + size;) p = *p++ == '"' ? skip_string(p, text + size) : p;
    free(text);
    return 0;
}
