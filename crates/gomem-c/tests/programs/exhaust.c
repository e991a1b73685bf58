// A process that may have no more address space: every size is refused sooner or later, with the right error, and what was given back can be had again. By
// several threads, one of which begins when nothing is left.
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

struct block {
    struct block *next;
    size_t size;
};

static struct block *fill(size_t size, size_t *got) {
    struct block *all = NULL;
    for (;;) {
        errno = 0;
        struct block *block = malloc(size);
        if (block == NULL) {
            CHECK(errno == ENOMEM);
            return all;
        }
        block->next = all;
        block->size = size;
        // To its end, so that a block that is not there is noticed.
        ((char *)block)[size - 1] = 1;
        all = block;
        *got += size;
    }
}

static void give_back(struct block *all) {
    while (all != NULL) {
        struct block *next = all->next;
        CHECK(all->size != 0);
        free(all);
        all = next;
    }
}

static pthread_barrier_t full, done;

static void *late(void *unused) {
    (void)unused;
    pthread_barrier_wait(&full);
    // May succeed or not, but must not crash. This thread has not allocated before.
    for (size_t size = 16; size < 100000; size *= 2) {
        char *block = malloc(size);
        if (block != NULL)
            block[size - 1] = 1;
        free(block);
        free(calloc(size, 10));
    }
    pthread_barrier_wait(&done);
    return NULL;
}

int main(int argc, char **argv) {
    check_preloaded();
    struct rlimit tight = {700ul << 20, 700ul << 20};
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    if (argc == 1) {
        // Once as a process that came to be under the limit, and before that as one that had reserved more when it came.
        size_t some = 0;
        give_back(fill(100000, &some));
        CHECK(some > 10ul << 20);
        execv("/proc/self/exe", (char *[]){argv[0], "again", NULL});
        abort();
    }
    pthread_barrier_init(&full, NULL, 2);
    pthread_barrier_init(&done, NULL, 2);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, late, NULL) == 0);
    size_t first = 0;
    struct block *large = fill(5000000, &first);
    CHECK(first > 200ul << 20);
    struct block *small = fill(64, &first);
    struct block *middle = fill(10000, &first);
    pthread_barrier_wait(&full);
    pthread_barrier_wait(&done);
    give_back(large);
    give_back(middle);
    give_back(small);
    for (int round = 0; round < 3; round++) {
        size_t again = 0;
        give_back(fill(round == 0 ? 5000000 : round == 1 ? 3000 : 100, &again));
        CHECK(again > first / 2);
    }
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
