// A program that replaces only the basic forms of operator new and delete, as the standard lets it: every other form is to go through them, and the ones that must
// not throw make null of what they throw. Blocks of the program's lie 64 bytes behind the start of one of malloc's, so one that went another way is freed wrongly.
#include "check.h"
#include <cstdint>
#include <cstdlib>
#include <new>

constexpr std::size_t before = 64;
static int allocated, freed, refused;
static bool refuse;

static void *take(std::size_t size, std::size_t align) {
    if (refuse) {
        ++refused;
        throw std::bad_alloc();
    }
    ++allocated;
    std::size_t gap = align > before ? align : before;
    char *block = static_cast<char *>(std::aligned_alloc(gap, gap + size));
    CHECK(block != nullptr);
    return block + gap;
}

static void give(void *block, std::size_t align) {
    if (block == nullptr)
        return;
    ++freed;
    std::free(static_cast<char *>(block) - (align > before ? align : before));
}

#ifndef ALIGNED
constexpr std::size_t align = 1;
void *operator new(std::size_t size) { return take(size, 1); }
void operator delete(void *block) noexcept { give(block, 1); }
#define ALIGN
#define COMMA
#else
constexpr std::size_t align = 256;
void *operator new(std::size_t size, std::align_val_t a) { return take(size, std::size_t(a)); }
void operator delete(void *block, std::align_val_t a) noexcept { give(block, std::size_t(a)); }
#define ALIGN std::align_val_t(align)
#define COMMA ,
#endif

template <typename New, typename Delete> static void goes_through(New allocate, Delete release) {
    int was = allocated, had = freed;
    void *block = allocate();
    CHECK(block != nullptr && std::uintptr_t(block) % align == 0 && allocated == was + 1);
    release(block);
    CHECK(freed == had + 1);
}

template <typename New> static void refuses(New allocate, bool throws) {
    refuse = true;
    int was = refused;
    bool caught = false;
    void *block = nullptr;
    try {
        block = allocate();
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(block == nullptr && caught == throws && refused == was + 1);
    refuse = false;
}

int main() {
    auto plain = [] { return operator new(100 COMMA ALIGN); };
    auto array = [] { return operator new[](100 COMMA ALIGN); };
    auto nothrow = [] { return operator new(100, ALIGN COMMA std::nothrow); };
    auto array_nothrow = [] { return operator new[](100, ALIGN COMMA std::nothrow); };
    for (int i = 0; i < 1000; ++i) {
        goes_through(plain, [](void *p) { operator delete(p COMMA ALIGN); });
        goes_through(plain, [](void *p) { operator delete(p, 100 COMMA ALIGN); });
        goes_through(array, [](void *p) { operator delete[](p COMMA ALIGN); });
        goes_through(array, [](void *p) { operator delete[](p, 100 COMMA ALIGN); });
        goes_through(nothrow, [](void *p) { operator delete(p, ALIGN COMMA std::nothrow); });
        goes_through(array_nothrow, [](void *p) { operator delete[](p, ALIGN COMMA std::nothrow); });
    }
    operator delete(nullptr COMMA ALIGN);
    operator delete[](nullptr COMMA ALIGN);
    refuses(plain, true);
    refuses(array, true);
    refuses(nothrow, false);
    refuses(array_nothrow, false);
    return 0;
}
