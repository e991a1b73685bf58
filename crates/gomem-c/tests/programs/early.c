// Allocates before anything is set up: in the program's own pre-initialisation, in constructors of every priority, in the resolver of an indirect function;
// and after everything was torn down: in exit handlers and in destructors.
#include "check.h"
#include <pthread.h>

static char *first, *second, *third;

static void preinit(int argc, char **argv, char **environment) {
    (void)argc, (void)argv, (void)environment;
    first = malloc(100);
    strcpy(first, "first");
}

__attribute__((section(".preinit_array"), used)) static void (*const at_preinit)(int, char **, char **) = preinit;

__attribute__((constructor(101))) static void early(void) {
    second = calloc(1, 70000);
    strcpy(second, "second");
    first = realloc(first, 100000);
}

static void *on_a_thread(void *block) {
    free(block);
    return strdup("from a thread");
}

__attribute__((constructor)) static void late(void) {
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, on_a_thread, malloc(100)) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(strcmp(result, "from a thread") == 0);
    free(result);
    third = strdup("third");
}

static int answer(void) {
    return 42;
}

static int (*resolve(void))(void) {
    return answer;
}

int indirect(void) __attribute__((ifunc("resolve")));

static void at_the_end(void) {
    free(second);
    free(malloc(1000000));
}

__attribute__((destructor(101))) static void last(void) {
    CHECK(strcmp(third, "third") == 0);
    free(third);
    free(calloc(3, 30));
}

int main(void) {
    check_preloaded();
    CHECK(strcmp(first, "first") == 0 && strcmp(second, "second") == 0 && strcmp(third, "third") == 0);
    CHECK(indirect() == 42);
    free(first);
    atexit(at_the_end);
    return 0;
}
