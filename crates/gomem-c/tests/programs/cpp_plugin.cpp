// A library in C++ for a program in C: loaded late, out of sight of what was loaded before, with the C++ library behind it.
#include <cstddef>
#include <new>
#include <string>
#include <vector>

static volatile std::size_t too_much = std::size_t(1) << 62;

extern "C" int cpp_plugin(void) {
    std::vector<std::string> lines;
    for (int i = 0; i < 1000; i++)
        lines.push_back(std::string(i, 'x'));
    int caught = 0;
    try {
        ::operator delete(::operator new(too_much));
    } catch (const std::bad_alloc &) {
        caught++;
    }
    if (::operator new(too_much, std::nothrow) == nullptr)
        caught++;
    return caught;
}
