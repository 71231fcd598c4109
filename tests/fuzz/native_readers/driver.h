/* libFuzzer calls LLVMFuzzerTestOneInput. Without clang, `main` here does: it mutates the files that it is given, the same way
 * each time, under gcc's sanitizers.   READERS SECONDS FILE...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROMISE(holds)                                                   \
    do {                                                                 \
        if (!(holds)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds); \
            abort();                                                     \
        }                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef STANDALONE
static uint64_t state = 88172645463325252ULL;
static uint64_t next_number(void) { return state ^= state << 13, state ^= state >> 7, state ^= state << 17; }

static size_t changed(uint8_t *data, size_t size, size_t room) {
    static const char CHARS[] = "[]{}:,\"\\ \n0123456789-+.eEntfNIu\x00\x42\xff";
    for (uint64_t times = 1 + next_number() % 6; times--;) {
        size_t at = size ? next_number() % size : 0;
        size_t part = size ? 1 + next_number() % (size - at < 24 ? size - at : 24) : 0;
        switch (next_number() % 5) {
            case 0:
                if (size) data[at] = (uint8_t)CHARS[next_number() % (sizeof CHARS - 1)];
                break;
            case 1:
                if (size) data[at] ^= (uint8_t)(1u << next_number() % 8);
                break;
            case 2:
                memmove(data + at, data + at + part, size - at - part);
                size -= part;
                break;
            case 3:
                if (size + part <= room) {
                    memmove(data + at + part, data + at, size - at);
                    size += part;
                }
                break;
            default: size = at;
        }
    }
    return size;
}

int main(int count, char **names) {
    static uint8_t seeds[64][4096], data[8192];
    static size_t sizes[64];
    int known = 0;
    for (int i = 2; i < count && known < 64; i++) {
        FILE *file = fopen(names[i], "rb");
        if (!file) continue;
        sizes[known] = fread(seeds[known], 1, sizeof seeds[0], file);
        fclose(file);
        LLVMFuzzerTestOneInput(seeds[known], sizes[known]);
        known++;
    }
    long runs = 0;
    for (time_t until = time(NULL) + atol(names[1]); known && time(NULL) < until;)
        for (int i = 0; i < 1000; i++, runs++) {
            int from = (int)(next_number() % (uint64_t)known);
            memcpy(data, seeds[from], sizes[from]);
            LLVMFuzzerTestOneInput(data, changed(data, sizes[from], sizeof data));
        }
    printf("Done %ld runs\n", runs);
    return 0;
}
#endif
