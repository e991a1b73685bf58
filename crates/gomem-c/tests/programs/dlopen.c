// Libraries loaded and unloaded in a loop, by several threads, with thread-locals in each: the arguments are copies of plugin.c's library. More of them at once than
// the C library has room for at first, so that it allocates its tables of thread-locals anew, in whatever thread touches one.
#include "check.h"
#include <pthread.h>

enum { THREADS = 4, MOST = 64 };

static int count;
static char **paths;
static pthread_barrier_t loaded, unloaded;

typedef char *(*touch_fn)(size_t);
typedef void (*done_fn)(void);

static void *handles[MOST];

static void *toucher(void *argument) {
    for (int round = 0; round < 3; round++) {
        pthread_barrier_wait(&loaded);
        for (int i = 0; i < count; i++) {
            touch_fn touch = (touch_fn)dlsym(handles[i], "plugin_touch");
            char *block = touch(100 + (size_t)argument * (size_t)i);
            CHECK(block[0] == 1);
            free(malloc(30 * (size_t)i));
        }
        for (int i = 0; i < count; i++)
            ((done_fn)dlsym(handles[i], "plugin_done"))();
        pthread_barrier_wait(&unloaded);
    }
    return NULL;
}

int main(int argc, char **argv) {
    check_preloaded();
    count = argc - 1;
    paths = argv + 1;
    CHECK(count > 0 && count <= MOST);
    pthread_barrier_init(&loaded, NULL, THREADS + 1);
    pthread_barrier_init(&unloaded, NULL, THREADS + 1);
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, toucher, (void *)i) == 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < count; i++) {
            handles[i] = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
            CHECK(handles[i] != NULL);
        }
        pthread_barrier_wait(&loaded);
        pthread_barrier_wait(&unloaded);
        for (int i = 0; i < count; i++)
            CHECK(dlclose(handles[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (int round = 0; round < 300; round++) {
        void *handle = dlopen(paths[round % count], RTLD_NOW | RTLD_LOCAL);
        char *gift = ((char *(*)(void))dlsym(handle, "plugin_gift"))();
        CHECK(dlclose(handle) == 0);
        CHECK(strcmp(gift, "from a library that is gone") == 0);
        free(gift);
    }
    // The allocator itself, opened and closed as a plug-in's dependency would be, stays.
    for (int round = 0; round < 10; round++) {
        void *handle = dlopen("libgomem.so", RTLD_NOW);
        CHECK(handle != NULL && dlclose(handle) == 0);
        free(malloc(100));
    }
    return 0;
}
