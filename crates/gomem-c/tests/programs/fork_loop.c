// fork in a loop while four threads allocate. Parent and child go on: the child frees what it finds, allocates, starts a thread, forks in its turn.
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, SLOTS = 64, FORKS = 150 };

static atomic_int stop;
// Blocks go from thread to thread through these.
static _Atomic(char *) shared[SLOTS];

static size_t size_of(unsigned n) {
    unsigned kind = n * 2654435761u >> 24;
    return kind < 240 ? 1 + kind * 9 : kind < 252 ? 4000 + kind * 100 : 300000 + kind;
}

static void *churn(void *seed) {
    unsigned n = (unsigned)(size_t)seed;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        n = n * 1664525 + 1013904223;
        size_t size = size_of(n);
        char *block = malloc(size);
        CHECK(block != NULL);
        block[0] = block[size - 1] = 'x';
        free(atomic_exchange(&shared[n >> 20 & (SLOTS - 1)], block));
    }
    return NULL;
}

static void *briefly(void *unused) {
    (void)unused;
    for (unsigned n = 0; n < 300; n++) {
        char *block = malloc(size_of(n * 77));
        block[0] = 1;
        free(block);
    }
    return NULL;
}

static void child(int depth) {
    char *mine[200];
    for (unsigned n = 0; n < 200; n++) {
        mine[n] = malloc(size_of(n * 331));
        mine[n][0] = 1;
    }
    for (int i = 0; i < SLOTS; i++)
        free(atomic_exchange(&shared[i], NULL));
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, briefly, NULL) == 0);
    for (unsigned n = 0; n < 200; n++)
        free(mine[n]);
    CHECK(pthread_join(thread, NULL) == 0);
    if (depth == 0) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            child(1);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    // With the exit handlers, which allocate and free, too.
    if (depth == 0)
        exit(0);
    _exit(0);
}

int main(void) {
    check_preloaded();
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    for (int i = 0; i < FORKS; i++) {
        briefly(NULL);
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            // A child that hangs is killed by this.
            alarm(30);
            child(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int i = 0; i < SLOTS; i++)
        free(shared[i]);
    return 0;
}
