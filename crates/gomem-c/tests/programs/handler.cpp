// A new-handler that finds memory: lifts the limit on address space that made the allocation fail. The allocation succeeds then.
#include "check.h"
#include <new>
#include <sys/resource.h>

static int calls;
static struct rlimit before;

static void lifts_the_limit() {
    calls++;
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
}

int main() {
    check_preloaded();
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    struct rlimit tight = before;
    tight.rlim_cur = 3ul << 30;
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    std::set_new_handler(lifts_the_limit);
    const std::size_t size = 4ul << 30;
    char *block = new char[size];
    CHECK(calls == 1);
    block[0] = block[size - 1] = 1;
    delete[] block;
    return 0;
}
