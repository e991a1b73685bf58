// The recorder: a library for LD_PRELOAD that writes down every call of malloc and its kin.
//
// It answers from the C library's own malloc and writes a record of 32 bytes for each call to the file that RECORD_TO names, in the one process
// whose short name is RECORD_PROGRAM: a compiler driver starts others, which must not write into the same file. One lock is held around the
// call and its record, so that the order of the records is one in which the calls could have happened: a block is never handed out again
// before the record of its free. A forked child writes nothing. `bench`'s program `record` builds this, runs it, and makes a trace of what it wrote.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

// The same numbers stand in the program that reads them.
enum { ALLOC = 0, ZEROED = 1, ALIGNED = 2, REALLOC = 3, FREE = 4 };

struct record {
    uint32_t what;
    uint32_t thread;
    uint64_t old; // The block that goes, or the alignment.
    uint64_t new; // The block that comes.
    uint64_t size;
};

static struct record buffer[4096];
static size_t used;
static int file = -1;
static enum { UNKNOWN, YES, NO } wanted;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static uint32_t threads;
static __thread uint32_t thread __attribute__((tls_model("initial-exec")));

static void flush(void) {
    const char *at = (const char *)buffer;
    size_t left = used * sizeof *buffer;
    while (left > 0) {
        ssize_t n = write(file, at, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) abort();
        at += n;
        left -= (size_t)n;
    }
    used = 0;
}

static void in_child(void) {
    wanted = NO;
    atomic_flag_clear(&lock);
}

// Is this the process to record? Found out at the first call, which comes before any constructor of this library.
static void find_out(void) {
    const char *program = getenv("RECORD_PROGRAM"), *to = getenv("RECORD_TO");
    wanted = NO;
    if (program && to && strcmp(program, program_invocation_short_name) == 0) {
        file = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (file < 0) abort();
        wanted = YES;
    }
}

static void enter(void) {
    while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire)) {
    }
    if (wanted == UNKNOWN) find_out();
}

static void leave(void) { atomic_flag_clear_explicit(&lock, memory_order_release); }

static void note(uint32_t what, uint64_t old, void *new, size_t size) {
    if (wanted != YES) return;
    if (thread == 0) thread = ++threads;
    buffer[used++] = (struct record){what, thread - 1, old, (uintptr_t)new, size};
    if (used == sizeof buffer / sizeof *buffer) flush();
}

__attribute__((constructor)) static void begin(void) { pthread_atfork(NULL, NULL, in_child); }

__attribute__((destructor)) static void end(void) {
    enter();
    if (wanted == YES) flush();
    leave();
}

void *malloc(size_t size) {
    enter();
    void *new = __libc_malloc(size);
    if (new) note(ALLOC, 0, new, size);
    leave();
    return new;
}

void *calloc(size_t number, size_t each) {
    enter();
    void *new = __libc_calloc(number, each);
    if (new) note(ZEROED, 0, new, number * each);
    leave();
    return new;
}

void *realloc(void *old, size_t size) {
    enter();
    void *new = __libc_realloc(old, size);
    if (!old) {
        if (new) note(ALLOC, 0, new, size);
    } else if (new) {
        note(REALLOC, (uintptr_t)old, new, size);
    } else if (size == 0) {
        note(FREE, (uintptr_t)old, NULL, 0);
    }
    leave();
    return new;
}

void free(void *old) {
    if (!old) return;
    enter();
    note(FREE, (uintptr_t)old, NULL, 0);
    __libc_free(old);
    leave();
}

void *memalign(size_t align, size_t size) {
    enter();
    void *new = __libc_memalign(align, size);
    if (new) note(ALIGNED, align, new, size);
    leave();
    return new;
}

void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }

int posix_memalign(void **at, size_t align, size_t size) {
    void *new = memalign(align, size);
    if (!new) return ENOMEM;
    *at = new;
    return 0;
}

// A program that links another malloc has that one's answer otherwise, for a block that it does not know.
size_t malloc_usable_size(void *at) {
    static size_t (*theirs)(void *);
    if (!theirs) {
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        theirs = (size_t (*)(void *))dlsym(libc, "malloc_usable_size");
    }
    return theirs(at);
}
