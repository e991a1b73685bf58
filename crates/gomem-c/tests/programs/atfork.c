// Handlers of fork that allocate, registered by a library's constructor before the allocator's own could be; built into the program and into a
// library (-DLIBRARY), which the program is linked with.
#include "check.h"
#include <pthread.h>

static void *held[50];

static void before(void) {
    for (int i = 0; i < 50; i++)
        held[i] = malloc(20 + 1000 * (size_t)i);
}

static void after(void) {
    for (int i = 0; i < 50; i++)
        free(held[i]);
    free(malloc(100000));
}

__attribute__((constructor)) static void registers(void) {
    pthread_atfork(before, after, after);
}

#ifdef LIBRARY
int atfork_library(void) {
    return 1;
}
#else
#include <sys/wait.h>
#include <unistd.h>

int atfork_library(void);

int main(void) {
    check_preloaded();
    CHECK(atfork_library());
    alarm(30);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            alarm(30);
            free(malloc(500));
            exit(0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    return 0;
}
#endif
