// Every function of the family, with the sizes and alignments at the edges, and what each says when it cannot.
#include "check.h"
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>

// Too new for the C library that the program is linked with.
void free_sized(void *, size_t) __attribute__((weak));
void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));

static volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;

static int aligned_to(void *block, size_t align) {
    return block != NULL && (uintptr_t)block % align == 0;
}

static void sizes(void) {
    for (size_t size = 0; size < 5000; size++) {
        unsigned char *block = malloc(size);
        CHECK(aligned_to(block, 16));
        CHECK(malloc_usable_size(block) >= size);
        memset(block, 0xa5, malloc_usable_size(block));
        free(block);
        block = calloc(1, size);
        CHECK(aligned_to(block, 16));
        for (size_t i = 0; i < size; i++)
            CHECK(block[i] == 0);
        free(block);
    }
    void *one = malloc(0), *other = malloc(0);
    CHECK(one != NULL && other != NULL && one != other);
    free(one);
    free_sized(other, 0);
    free(NULL);
    free_sized(NULL, 0);
    CHECK(malloc_usable_size(NULL) == 0);
    // Large ones, and one that was used before.
    for (int i = 0; i < 3; i++) {
        unsigned char *block = calloc(1000, 10000);
        CHECK(block[0] == 0 && block[5000000] == 0 && block[9999999] == 0);
        memset(block, 1, 10000000);
        free(block);
    }
}

static void refusals(void) {
    errno = 0;
    CHECK(malloc(too_much) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(malloc(PTRDIFF_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(malloc(SIZE_MAX) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(malloc(PTRDIFF_MAX - 16) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(too_much, 2) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(calloc(SIZE_MAX / 4, 5) == NULL && errno == ENOMEM);
    char *block = malloc(10);
    strcpy(block, "still");
    errno = 0;
    CHECK(realloc(block, too_much) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(realloc(block, (size_t)1 << 62) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(reallocarray(block, SIZE_MAX / 2, 3) == NULL && errno == ENOMEM);
    CHECK(strcmp(block, "still") == 0);
    free(block);
    errno = 0;
    CHECK(aligned_alloc(3, 8) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(aligned_alloc(16, too_much) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(aligned_alloc((size_t)1 << 62, 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign(((size_t)1 << 63) + 1, 1) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(memalign((size_t)1 << 63, 1) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(memalign((size_t)1 << 46, (size_t)1 << 46) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(valloc(too_much) == NULL && errno == ENOMEM);
    errno = 0;
    CHECK(pvalloc(SIZE_MAX) == NULL && errno == ENOMEM);
    // This one leaves both its result and errno alone.
    void *result = &result;
    errno = 7;
    CHECK(posix_memalign(&result, 24, 8) == EINVAL);
    CHECK(posix_memalign(&result, 4, 8) == EINVAL);
    CHECK(posix_memalign(&result, 0, 8) == EINVAL);
    CHECK(posix_memalign(&result, 64, too_much) == ENOMEM);
    CHECK(posix_memalign(&result, (size_t)1 << 63, 8) == ENOMEM);
    CHECK(result == &result && errno == 7);
}

static void errno_stays(void) {
    void *small = malloc(100), *large = malloc(1 << 20), *huge = malloc(200 << 20);
    memset(huge, 1, 200 << 20);
    errno = 42;
    free(small);
    free(large);
    free(huge);
    CHECK(errno == 42);
    CHECK(realloc(malloc(9), 0) == NULL && errno == 42);
    malloc_trim(0);
    CHECK(errno == 42);
}

static void growing(void) {
    unsigned char *block = realloc(NULL, 1);
    block[0] = 0;
    size_t size = 1;
    for (; size < 20000000; size += 1 + size / 3) {
        block = realloc(block, size);
        CHECK(aligned_to(block, 16) && malloc_usable_size(block) >= size);
        block[size - 1] = (unsigned char)size;
        block[0] = 7;
    }
    for (; size > 1; size -= 1 + size / 3) {
        block = realloc(block, size);
        CHECK(aligned_to(block, 16) && malloc_usable_size(block) >= size);
        CHECK(block[0] == 7);
    }
    block = reallocarray(block, 30, 50);
    CHECK(block[0] == 7 && malloc_usable_size(block) >= 1500);
    CHECK(realloc(block, 0) == NULL);
    CHECK(reallocarray(malloc(5), 0, 8) == NULL);
    // An aligned block moves to one that is aligned as any other.
    block = aligned_alloc(4096, 100);
    memset(block, 3, 100);
    block = realloc(block, 9000);
    CHECK(block[0] == 3 && block[99] == 3);
    block = realloc(block, 10);
    CHECK(block[0] == 3 && block[9] == 3);
    free(block);
}

static void alignments(void) {
    static const size_t wanted[] = {0, 1, 100, 4095, 4096, 5000, 33000, 100000, 3000000};
    for (int shift = 0; shift <= 30; shift++) {
        size_t align = (size_t)1 << shift;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
            size_t size = wanted[i];
            char *block = aligned_alloc(align, size);
            CHECK(aligned_to(block, align) && aligned_to(block, 16));
            CHECK(malloc_usable_size(block) >= size);
            if (size != 0)
                block[0] = block[size - 1] = 1;
            free_aligned_sized(block, align, size);
            block = memalign(align, size);
            CHECK(aligned_to(block, align));
            free(block);
            if (align >= sizeof(void *)) {
                void *result;
                CHECK(posix_memalign(&result, align, size) == 0);
                CHECK(aligned_to(result, align));
                free(result);
            }
        }
    }
    // Several at once, so that none gets what another has.
    char *blocks[4];
    for (int i = 0; i < 4; i++) {
        blocks[i] = aligned_alloc((size_t)1 << 28, 100000);
        CHECK(aligned_to(blocks[i], (size_t)1 << 28));
        memset(blocks[i], i, 100000);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(blocks[i][0] == i && blocks[i][99999] == i);
        free(blocks[i]);
    }
    // Rounded up, as the C library has it.
    char *block = memalign(48, 10);
    CHECK(aligned_to(block, 64));
    free(block);
    block = memalign(0, 10);
    CHECK(aligned_to(block, 16));
    free(block);
    block = valloc(10);
    CHECK(aligned_to(block, 4096));
    free(block);
    block = pvalloc(4097);
    CHECK(aligned_to(block, 4096) && malloc_usable_size(block) >= 8192);
    free(block);
    block = pvalloc(0);
    CHECK(aligned_to(block, 4096));
    free(block);
}

static void accounts(void) {
    enum { BYTES = 64 << 20, BLOCKS = 1000 };
    // So that there is something left when all that is free is gone.
    char *kept = malloc(100);
    struct mallinfo2 before = mallinfo2();
    char *block = malloc(BYTES);
    memset(block, 1, BYTES);
    struct mallinfo2 during = mallinfo2();
    CHECK(during.hblks == before.hblks + 1);
    CHECK(during.hblkhd == before.hblkhd + malloc_usable_size(block));
    CHECK(during.uordblks == before.uordblks);
    CHECK(during.arena == during.uordblks + during.fordblks);
    free(block);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.hblks == before.hblks && after.hblkhd == before.hblkhd);
    CHECK(after.uordblks == before.uordblks && after.keepcost <= after.fordblks);
    struct mallinfo2 trimmed = after;
    // In quarantine the block has no memory that could be trimmed.
    if (getenv("GOMEM_OPTIONS") == NULL) {
        CHECK(after.keepcost >= BYTES);
        CHECK(malloc_trim(0) == 1);
        trimmed = mallinfo2();
        CHECK(trimmed.arena + BYTES <= after.arena);
        CHECK(trimmed.keepcost + BYTES <= after.keepcost);
    }
    // To the byte: what is in the program's hands, not what lies in its thread's cache.
    static char *blocks[BLOCKS];
    size_t bytes = 0;
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(1 + i * 7 % 3000);
        bytes += malloc_usable_size(blocks[i]);
    }
    struct mallinfo2 full = mallinfo2();
    CHECK(full.uordblks == trimmed.uordblks + bytes);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    struct mallinfo2 empty = mallinfo2();
    CHECK(empty.uordblks == trimmed.uordblks);
    CHECK(empty.ordblks > 0 && empty.fordblks >= bytes);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    struct mallinfo narrow = mallinfo();
    CHECK(narrow.arena > 0 && narrow.arena == narrow.uordblks + narrow.fordblks);
    free(kept);
    CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);

    char text[16384] = "";
    FILE *stream = fmemopen(text, sizeof text, "w");
    CHECK(malloc_info(1, stream) == EINVAL);
    CHECK(malloc_info(0, stream) == 0);
    fclose(stream);
    fputs(text, stdout);
    malloc_stats();
}

int main(void) {
    check_preloaded();
    sizes();
    refusals();
    errno_stays();
    growing();
    alignments();
    accounts();
    return 0;
}
