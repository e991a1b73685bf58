// Four threads allocate two gigabytes together, each frees what another allocated, and then all sleep, as does the main thread. Ten seconds later the process has less than a
// twentieth of that memory, without a call of its own; what it took of the processor, in milliseconds, is little more than what the
// kernel takes for it.
#include "check.h"
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

enum { THREADS = 4, BLOCKS = 512 * 1024 };

static char *blocks[THREADS][BLOCKS];
static pthread_barrier_t full, freed, end;

static size_t resident(void) {
    char text[200];
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fgets(text, sizeof text, file) != NULL);
    fclose(file);
    return strtoul(strchr(text, ' '), NULL, 10) * 4096;
}

static double milliseconds(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return 1e3 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + 1e-3 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void *run(void *argument) {
    size_t mine = (size_t)argument, size = 16 + 97 * mine;
    for (int i = 0; i < BLOCKS; i++) {
        // 1 KiB on average.
        size = 16 + (size * 7 + 13) % 2033;
        char *block = malloc(size);
        CHECK(block != NULL);
        memset(block, 1, size);
        blocks[mine][i] = block;
    }
    pthread_barrier_wait(&full);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[(mine + 1) % THREADS][i]);
    pthread_barrier_wait(&freed);
    // Idle, with a cache.
    pthread_barrier_wait(&end);
    return NULL;
}

int main(void) {
    check_preloaded();
    pthread_t threads[THREADS];
    CHECK(pthread_barrier_init(&full, NULL, THREADS + 1) == 0);
    CHECK(pthread_barrier_init(&freed, NULL, THREADS + 1) == 0);
    CHECK(pthread_barrier_init(&end, NULL, THREADS + 1) == 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
    pthread_barrier_wait(&full);
    size_t peak = resident();
    pthread_barrier_wait(&freed);
    double before = milliseconds();
    sleep(10);
    double spent = milliseconds() - before;
    size_t after = resident();
    printf("%zu %zu %.0f\n", peak, after, spent);
    CHECK(peak > 2000000000 && after < peak / 20);
    // Half a microsecond for each page that the kernel takes back, and a hundredth of the time.
    CHECK(spent < 100 + 0.0005 * (double)(peak / 4096));
    pthread_barrier_wait(&end);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return 0;
}
