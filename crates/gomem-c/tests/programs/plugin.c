// A library that is loaded and unloaded: allocates in its constructor, frees in its destructor, has thread-locals of its own.
#include <stdlib.h>
#include <string.h>

static char *mine;
static __thread char *per_thread;
static __thread char padding[300];

__attribute__((constructor)) static void loaded(void) {
    mine = malloc(5000);
    memset(mine, 1, 5000);
}

__attribute__((destructor)) static void unloaded(void) {
    free(mine);
}

// The first touch of a thread-local of a loaded library has the C library allocate, from within the thread's access.
char *plugin_touch(size_t size) {
    padding[7]++;
    free(per_thread);
    per_thread = malloc(size);
    memset(per_thread, 1, size);
    return per_thread;
}

void plugin_done(void) {
    free(per_thread);
    per_thread = NULL;
}

char *plugin_gift(void) {
    return strdup("from a library that is gone");
}
