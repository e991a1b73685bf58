// Thousands of threads that come and go. Each leaves thread-specific values whose destructors allocate and free, in several rounds, after the allocator has
// taken the thread's cache back; blocks are freed by other threads than those that allocated them; memory does not grow.
#include "check.h"
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4000, KEYS = 40, AT_ONCE = 8 };

static pthread_key_t keys[KEYS];
static _Atomic(char *) handed_on[AT_ONCE];
static atomic_int destroyed;

// Sets its own value again twice, so that it is called in three rounds.
struct value {
    int key;
    int rounds;
    char *text;
};

static void destroy(void *pointer) {
    struct value *value = pointer;
    CHECK(strcmp(value->text, "text of a value") == 0);
    free(value->text);
    value->text = strdup("text of a value");
    free(malloc(200000));
    if (value->rounds-- > 0) {
        CHECK(pthread_setspecific(keys[value->key], value) == 0);
        return;
    }
    free(value->text);
    free(value);
    atomic_fetch_add(&destroyed, 1);
}

static void *work(void *argument) {
    size_t number = (size_t)argument;
    for (int key = 0; key < KEYS; key += 1 + (int)(number % 7)) {
        struct value *value = malloc(sizeof *value);
        *value = (struct value){key, 2, strdup("text of a value")};
        CHECK(pthread_setspecific(keys[key], value) == 0);
    }
    for (int i = 0; i < 50; i++) {
        size_t size = 1 + (number * 37 + (size_t)i * 131) % 3000;
        char *block = malloc(size);
        memset(block, 1, size);
        free(atomic_exchange(&handed_on[(number + (size_t)i) % AT_ONCE], block));
    }
    return strdup("result");
}

static void batch(size_t from, size_t to) {
    pthread_t threads[AT_ONCE];
    for (size_t number = from; number < to; number += AT_ONCE) {
        for (size_t i = 0; i < AT_ONCE; i++)
            CHECK(pthread_create(&threads[i], NULL, work, (void *)(number + i)) == 0);
        for (size_t i = 0; i < AT_ONCE; i++) {
            void *result;
            CHECK(pthread_join(threads[i], &result) == 0);
            CHECK(strcmp(result, "result") == 0);
            free(result);
        }
    }
}

int main(void) {
    check_preloaded();
    // The first keys live in the thread's record, later ones in a table that the C library allocates.
    for (int i = 0; i < KEYS; i++)
        CHECK(pthread_key_create(&keys[i], destroy) == 0);
    batch(0, THREADS / 4);
    struct mallinfo2 early = mallinfo2();
    batch(THREADS / 4, THREADS);
    struct mallinfo2 late = mallinfo2();
    CHECK(late.arena <= early.arena + early.arena / 2 + (4 << 20));
    CHECK(late.uordblks <= early.uordblks + early.uordblks / 2 + (1 << 20));
    CHECK(destroyed > THREADS);

    // Threads that nobody waits for: the C library frees what is theirs.
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int before = destroyed;
    for (size_t i = 0; i < 200; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, work, (void *)(i * 7)) == 0);
        while (i % 8 == 0 && destroyed == before)
            sched_yield();
    }
    return 0;
}
