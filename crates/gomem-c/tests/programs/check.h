// What the test programs share: a check that is never compiled away, and whose malloc this is.
#ifndef CHECK_H
#define CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(holds)                                                             \
    do {                                                                         \
        if (!(holds)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #holds);  \
            abort();                                                             \
        }                                                                        \
    } while (0)

// The allocator under test is the one that answers. Without this a test of a library that was not loaded would pass.
static inline void check_preloaded(void) {
    Dl_info info;
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info));
    CHECK(strstr(info.dli_fname, "libgomem") != NULL);
}

#endif
