// A program without C++ that calls the operator anyway: told so and aborted, not crashed.
#include "check.h"
#include <signal.h>
#include <stdint.h>

void *_Znwm(size_t) __attribute__((weak));
void *_ZnwmRKSt9nothrow_t(size_t, const void *) __attribute__((weak));

int main(void) {
    check_preloaded();
    volatile size_t too_much = PTRDIFF_MAX;
    free(_Znwm(10));
    char tag;
    CHECK(_ZnwmRKSt9nothrow_t(too_much, &tag) == NULL);
    _Znwm(too_much);
    return 0;
}
