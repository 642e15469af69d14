// SPDX-License-Identifier: MIT
// Arithmetic on sizes that somebody else wrote: in a file, in a tensor, in a message from another machine.
//
// checked_mul() tells of an overflow. The result of saturating_*() stays SIZE_MAX, which stands for "too large"
// in all that is computed from it, so one comparison with a limit at the end is enough.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

// Returns false when a * b does not fit; `product` is then of no use.
constexpr bool checked_mul(uint64_t a, uint64_t b, uint64_t& product) {
    return !__builtin_mul_overflow(a, b, &product);
}

constexpr size_t saturating_mul(size_t a, size_t b) {
    size_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? SIZE_MAX : product;
}

constexpr size_t saturating_add(size_t a, size_t b) {
    size_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? SIZE_MAX : sum;
}

}  // namespace rknpu2
