// Timers fire thousands of signals a second at four threads that allocate and free, and at one that makes system calls: nothing is lost, nothing hangs, and
// no block is given out twice.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

enum { THREADS = 4, SLOTS = 500 };

static atomic_long signals;
static atomic_int stop;

static void handler(int signal) {
    // Uses some stack and the thread's errno, as real handlers do.
    volatile char scratch[2000];
    for (size_t i = 0; i < sizeof scratch; i += 64)
        scratch[i] = (char)signal;
    atomic_fetch_add(&signals, 1);
}

static void *churn(void *argument) {
    unsigned n = (unsigned)(size_t)argument, id = n;
    unsigned *slots[SLOTS] = {0};
    size_t words[SLOTS];
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        n = n * 1664525 + 1013904223;
        unsigned at = (n >> 8) % SLOTS;
        if (slots[at] != NULL) {
            CHECK(slots[at][0] == (id << 16 | at) && slots[at][words[at] - 1] == (id << 16 | at));
            if (n >> 28 == 0) {
                size_t more = words[at] * 2;
                slots[at] = realloc(slots[at], more * sizeof(unsigned));
                words[at] = more > 100000 ? words[at] : more;
                slots[at][words[at] - 1] = id << 16 | at;
                continue;
            }
            free(slots[at]);
        }
        words[at] = 1 + (n >> 16) % (n >> 24 == 0 ? 20000 : 200);
        slots[at] = n & 1 << 5 ? malloc(words[at] * sizeof(unsigned)) : calloc(words[at], sizeof(unsigned));
        CHECK(slots[at] != NULL);
        slots[at][0] = slots[at][words[at] - 1] = id << 16 | at;
    }
    for (int i = 0; i < SLOTS; i++)
        free(slots[i]);
    return NULL;
}

static void fire(int timer, long microseconds) {
    struct itimerval often = {{0, microseconds}, {0, microseconds}};
    CHECK(setitimer(timer, &often, NULL) == 0);
}

int main(void) {
    check_preloaded();
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    sigaction(SIGVTALRM, &action, NULL);
    fire(ITIMER_REAL, 150);
    fire(ITIMER_PROF, 200);
    fire(ITIMER_VIRTUAL, 250);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) == 0);
    time_t end = time(NULL) + 3;
    while (time(NULL) < end) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
        free(malloc(3000000));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(signals > 100);
    return 0;
}
