// SPDX-License-Identifier: MIT
#include "runtime/cache_lines.hpp"

#include <dlfcn.h>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

#if defined(__aarch64__)
constexpr bool kInstructions = true;

// The smallest line of all data caches: CTR_EL0 holds the logarithm of its length in words.
uintptr_t line_bytes() {
    uint64_t type = 0;
    asm("mrs %0, ctr_el0" : "=r"(type));
    return uintptr_t{4} << ((type >> 16) & 15);
}

void apply_here(CacheLines::Operation operation, const void* address, size_t bytes) {
    static const uintptr_t line = line_bytes();
    const auto begin = reinterpret_cast<uintptr_t>(address);
    for (uintptr_t at = begin & ~(line - 1); at < begin + bytes; at += line) {
        if (operation == CacheLines::Operation::kClean) {
            asm volatile("dc cvac, %0" : : "r"(at) : "memory");
        } else {
            asm volatile("dc civac, %0" : : "r"(at) : "memory");
        }
    }
    asm volatile("dsb sy" : : : "memory");
}
#else
constexpr bool kInstructions = false;

void apply_here(CacheLines::Operation, const void*, size_t) {}
#endif

}  // namespace

CacheLines::CacheLines(void* library)
    : simulated_(
          reinterpret_cast<int (*)(const void*, uint64_t, int)>(dlsym(library, "rknnsim_cache_lines"))) {}

bool CacheLines::available() const {
    return simulated_ != nullptr || kInstructions;
}

Status CacheLines::apply(Operation operation, const void* address, size_t bytes) const {
    if (!available()) return {StatusCode::kUnsupported, "this CPU has no cache maintenance for programs"};
    if (simulated_ == nullptr) {
        apply_here(operation, address, bytes);
        return {};
    }
    const int code = simulated_(address, bytes, static_cast<int>(operation));
    if (code == 0) return {};
    return {StatusCode::kDeviceError,
            format("rknnsim_cache_lines: the runtime answered %d for %zu bytes", code, bytes)};
}

}  // namespace rknpu2
