/* The readers of protocol/native/bytestensors.c, likewise. */
#include <stdlib.h>
#include "bytestensors.c"
#include "driver.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *raw = malloc(size);
    memcpy(raw, data, size);
    Py_ssize_t count = count_elements(raw, raw + size);
    PROMISE(count >= -1 && count <= (Py_ssize_t)(size / PREFIX));
    size_t room = 0;
    const unsigned char *message = (const unsigned char *)raw;
    if (measure(message, message + size, 0x42, &count, &room)) {
        char *to = malloc(room);
        copy_repeated(message, message + size, to);
        PROMISE(count_elements(to, to + room) == count);
        free(to);
    }
    free(raw);
    return 0;
}
