// Counts calls of __tls_get_addr while it allocates: there must be none. This program's definition comes before the C library's in the order of lookup, so a
// library that reaches its thread-locals by a call would call it.
//
// Such a call is slow, and it allocates when the table of thread-locals has to grow: malloc would call itself.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

static atomic_long calls;

void *__tls_get_addr(void *where) {
    static void *(*real)(void *);
    atomic_fetch_add(&calls, 1);
    if (real == NULL)
        real = (void *(*)(void *))dlsym(RTLD_NEXT, "__tls_get_addr");
    return real(where);
}

static void *use(void *unused) {
    (void)unused;
    void *blocks[1000];
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < 1000; i++)
            blocks[i] = i % 3 == 0 ? malloc(i * 50) : i % 3 == 1 ? calloc(i, 9) : realloc(malloc(i), i * 2 + 1);
        for (int i = 0; i < 1000; i++)
            free(blocks[i]);
    }
    return NULL;
}

int main(void) {
    check_preloaded();
    long before = calls;
    use(NULL);
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, use, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    long made = calls - before;
    printf("%ld\n", made);
    CHECK(made == 0);
    return 0;
}
