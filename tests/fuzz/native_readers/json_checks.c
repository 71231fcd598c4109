/* The checks of protocol/native/jsonchecks.c, likewise: what one finds good the others walk through, and what they say lies
 * within the text.
 */
#include "jsonchecks.c"
#include "driver.h"

static void walk(const char *text, Py_ssize_t start, Py_ssize_t end, int levels) {
    for (Py_ssize_t most = 1; most < 64; most *= 8) {
        Pieces found = {NULL, 0, 0};
        Py_ssize_t before = start, shape[MAX_RANK + 1];
        PROMISE(cut(&found, text, text + start, text + end, most));
        for (Py_ssize_t i = 0; i < found.count; i++) {
            Piece piece = found.list[i];
            PROMISE(before < piece.start && piece.start <= piece.value && piece.value < piece.end && piece.end <= end);
            PROMISE(piece.count > 0 && (piece.count == 1 || piece.end - piece.start <= most));
            before = piece.end - 1;
            if (levels && most == 1 && (text[piece.value] == '[' || text[piece.value] == '{'))
                walk(text, piece.value, piece.end, levels - 1);
        }
        free(found.list);
        int rank = first_lengths(text + start, text + end, shape);
        PROMISE(0 <= rank && rank <= MAX_RANK + 1);
    }
    PROMISE(deepest(text + start, text + end) >= 0);
}

static void look(const char *text, Py_ssize_t start, Py_ssize_t end, int rank, Py_ssize_t columns) {
    for (int kind = F4; kind <= TEXT; kind++)
        for (int special = 0; special < 2; special++) {
            Elements elements = {.end = text + end, .kind = (Kind)kind, .special = special, .rank = rank};
            for (int axis = 0; axis < rank; axis++) elements.shape[axis] = columns;
            What what = what_is_wrong(&elements, text + start, columns);
            if (what == SPECIAL || what == TYPE || what == RANGE) {
                PROMISE(text + start < elements.wrong && elements.wrong < text + end);
                PROMISE(skip_value(elements.wrong, text + end) <= text + end);
            }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!C_LOCALE) C_LOCALE = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (size < 2) return 0;
    int rank = data[0] % 3;
    Py_ssize_t columns = 1 + data[1] % 7;
    size -= 2;
    char *text = malloc(size);
    memcpy(text, data + 2, size);
    for (int literals = 0; literals < 2; literals++) {
        Check check = {.begin = text, .end = text + size, .literals = literals};
        check_text(&check);
        if (check.verdict == GOOD) {
            PROMISE(text <= check.value && check.value < check.mark && check.mark <= text + size);
        } else if (check.verdict != NOT_UTF8) {
            leave_out(&check);
            PROMISE(text <= check.mark && check.mark <= check.from && check.from <= check.to && check.to <= check.fault);
            PROMISE(check.fault <= text + size && 0 <= check.depth && check.depth <= MAX_OPEN);
        }
    }
    for (Py_ssize_t start = 0; start < (Py_ssize_t)size; start++)
        if (text[start] == '[' || text[start] == '{') { /* of any bytes: they stay within the text */
            walk(text, start, (Py_ssize_t)size, 3);
            look(text, start, (Py_ssize_t)size, rank, columns);
            break;
        }
    free(text);
    return 0;
}
