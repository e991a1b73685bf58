// Loads the library in C++ that is its argument: exceptions of operator new get to it although the C++ library was not there at the start.
#include "check.h"

int main(int argc, char **argv) {
    check_preloaded();
    CHECK(argc == 2);
    CHECK(dlsym(RTLD_DEFAULT, "__cxa_throw") == NULL);
    void *handle = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(handle != NULL);
    int (*plugin)(void) = (int (*)(void))dlsym(handle, "cpp_plugin");
    CHECK(plugin() == 2);
    return 0;
}
