// SPDX-License-Identifier: MIT
// Arithmetic on sizes that somebody else wrote: in a file, in a tensor, in a message from another machine.
//
// Either the overflow is told (checked_mul), or the result stays at SIZE_MAX, which then stands for "too
// large" through all that is computed from it (saturating_*), so that one comparison with a limit at the end
// is enough.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

// False, and `product` is of no use, when a * b does not fit.
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
