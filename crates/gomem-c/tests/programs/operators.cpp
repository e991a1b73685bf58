// operator new and delete in every form, and what happens when memory is out: the handler, the exception, the null pointer.
#include "check.h"
#include <cstdint>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

static int calls;
static volatile std::size_t too_much = std::size_t(1) << 62;

// Gives up after three calls.
static void gives_up() {
    if (++calls == 3)
        std::set_new_handler(nullptr);
}

static void throws() {
    ++calls;
    throw std::bad_alloc();
}

static void throws_something_else() {
    ++calls;
    throw std::runtime_error("from the handler");
}

static void is_aligned(void *block, std::size_t align) {
    CHECK(block != nullptr && std::uintptr_t(block) % align == 0);
    std::memset(block, 1, 100);
}

template <typename Allocate> static void refuses(Allocate allocate) {
    calls = 0;
    std::set_new_handler(nullptr);
    bool caught = false;
    try {
        allocate(too_much);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught && calls == 0);

    std::set_new_handler(gives_up);
    caught = false;
    try {
        allocate(too_much);
    } catch (const std::bad_alloc &) {
        caught = true;
    }
    CHECK(caught && calls == 3);

    calls = 0;
    caught = false;
    std::set_new_handler(throws_something_else);
    try {
        allocate(too_much);
    } catch (const std::runtime_error &) {
        caught = true;
    }
    CHECK(caught && calls == 1);
    std::set_new_handler(nullptr);
}

template <typename Allocate> static void gives_null(Allocate allocate) {
    calls = 0;
    std::set_new_handler(nullptr);
    CHECK(allocate(too_much) == nullptr && calls == 0);
    std::set_new_handler(gives_up);
    CHECK(allocate(too_much) == nullptr && calls == 3);
    calls = 0;
    std::set_new_handler(throws);
    CHECK(allocate(too_much) == nullptr && calls == 1);
    std::set_new_handler(nullptr);
}

struct alignas(256) Wide {
    char bytes[256];
};

int main() {
    check_preloaded();
    const std::align_val_t wide{1024};

    void *block;
    is_aligned(block = ::operator new(100), 16);
    ::operator delete(block);
    is_aligned(block = ::operator new(100), 16);
    ::operator delete(block, std::size_t(100));
    is_aligned(block = ::operator new(100, std::nothrow), 16);
    ::operator delete(block, std::nothrow);
    is_aligned(block = ::operator new[](100), 16);
    ::operator delete[](block);
    is_aligned(block = ::operator new[](100), 16);
    ::operator delete[](block, std::size_t(100));
    is_aligned(block = ::operator new[](100, std::nothrow), 16);
    ::operator delete[](block, std::nothrow);
    is_aligned(block = ::operator new(100, wide), 1024);
    ::operator delete(block, wide);
    is_aligned(block = ::operator new(100, wide), 1024);
    ::operator delete(block, std::size_t(100), wide);
    is_aligned(block = ::operator new(100, wide, std::nothrow), 1024);
    ::operator delete(block, wide, std::nothrow);
    is_aligned(block = ::operator new[](100, wide), 1024);
    ::operator delete[](block, wide);
    is_aligned(block = ::operator new[](100, wide), 1024);
    ::operator delete[](block, std::size_t(100), wide);
    is_aligned(block = ::operator new[](100, wide, std::nothrow), 1024);
    ::operator delete[](block, wide, std::nothrow);
    ::operator delete(nullptr);
    ::operator delete[](nullptr, std::size_t(0), wide);
    void *one = ::operator new(0), *other = ::operator new(0);
    CHECK(one && other && one != other);
    ::operator delete(one);
    ::operator delete(other);

    refuses([](std::size_t size) { return ::operator new(size); });
    refuses([](std::size_t size) { return ::operator new[](size); });
    refuses([&](std::size_t size) { return ::operator new(size, wide); });
    refuses([&](std::size_t size) { return ::operator new[](size, wide); });
    gives_null([](std::size_t size) { return ::operator new(size, std::nothrow); });
    gives_null([](std::size_t size) { return ::operator new[](size, std::nothrow); });
    gives_null([&](std::size_t size) { return ::operator new(size, wide, std::nothrow); });
    gives_null([&](std::size_t size) { return ::operator new[](size, wide, std::nothrow); });

    // A container that asks for too much, as programs meet it; and ordinary use.
    bool caught = false;
    try {
        std::vector<char> all(too_much);
    } catch (const std::bad_alloc &) {
        caught = true;
    } catch (const std::length_error &) {
        caught = true;
    }
    CHECK(caught);
    std::vector<std::string> lines;
    for (int i = 0; i < 100000; i++)
        lines.push_back(std::to_string(i) + std::string(i % 100, 'x'));
    CHECK(lines[99999].substr(0, 5) == "99999");
    std::vector<Wide> wides(1000);
    CHECK(std::uintptr_t(wides.data()) % 256 == 0);
    delete new Wide;
    delete[] new Wide[10];
    return 0;
}
