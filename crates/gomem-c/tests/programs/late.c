// Threads that come to the allocator for the first time when they exit: in the destructor of a key of thread-specific data, in each of its rounds, or that have freed
// blocks before and go on to free there. When they are gone their stacks are unmapped, with the words that they had; then the allocator looks for idle
// threads, as it does a few times a second.
#include "check.h"
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

enum { KEYS = 60, BLOCKS = 200, STACK = 256 * 1024 };

static pthread_key_t keys[KEYS];

// What a thread does, and when.
struct work {
    int key;
    // Rounds of destructors until it does it.
    int rounds;
    // Blocks that it frees before it exits.
    int early;
    // Blocks that it allocates in the destructor.
    int allocations;
    char *blocks[BLOCKS];
};

static void destroy(void *pointer) {
    struct work *work = pointer;
    if (--work->rounds > 0) {
        CHECK(pthread_setspecific(keys[work->key], work) == 0);
        return;
    }
    for (int i = work->early; i < BLOCKS; i++)
        free(work->blocks[i]);
    for (int i = 0; i < work->allocations; i++) {
        char *block = malloc(100 + (size_t)i);
        memset(block, 1, 100);
        free(block);
    }
}

static void *run(void *pointer) {
    struct work *work = pointer;
    for (int i = 0; i < work->early; i++)
        free(work->blocks[i]);
    CHECK(pthread_setspecific(keys[work->key], work) == 0);
    return NULL;
}

static void thread(int key, int rounds, int early, int late, int allocations) {
    struct work work = {key, rounds, early, allocations, {0}};
    for (int i = 0; i < early + late; i++)
        work.blocks[i] = malloc(40 + (size_t)i);
    void *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    pthread_attr_t attr;
    pthread_t id;
    CHECK(pthread_attr_init(&attr) == 0 && pthread_attr_setstack(&attr, stack, STACK) == 0);
    CHECK(pthread_create(&id, &attr, run, &work) == 0 && pthread_join(id, NULL) == 0);
    CHECK(munmap(stack, STACK) == 0);
    // Idle is who has done nothing from one look to the next.
    malloc_trim(0);
    malloc_trim(0);
}

int main(void) {
    check_preloaded();
    for (int key = 0; key < KEYS; key++)
        CHECK(pthread_key_create(&keys[key], destroy) == 0);
    for (int key = 0; key < KEYS; key += 5)
        for (int rounds = 1; rounds <= PTHREAD_DESTRUCTOR_ITERATIONS; rounds++) {
            thread(key, rounds, 0, 0, 1);
            thread(key, rounds, 0, 0, 100);
            thread(key, rounds, 0, 10, 0);
            thread(key, rounds, 0, 100, 0);
            thread(key, rounds, 40, 40, 0);
            thread(key, rounds, 100, 40, 0);
            thread(key, rounds, 63, 1, 10);
        }
    return 0;
}
