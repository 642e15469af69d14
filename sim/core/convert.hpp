// SPDX-License-Identifier: MIT
// Between the layouts: what the runtime does on the CPU when a context does not use native layouts.
//
// All shapes are aligned. A atoms and C atoms are 16 bytes of one row whatever the type, so those conversions
// move atoms; the same holds for a row of 32 k of transposed B. Only B in [K, N] order needs single elements.
#pragma once

#include <cstddef>

#include "core/types.hpp"

namespace rknnsim {

void a_normal_to_native(DType type, size_t M, size_t K, const void* from, void* to);
void c_native_to_normal(DType type, size_t M, size_t N, const void* from, void* to);
void b_transposed_to_native(DType type, size_t K, size_t N, const void* from, void* to);

// int4 in [K, N] order packs two neighbours in n into one byte, the lower n in the low nibble; with
// `int4_bytes` it is one byte an element instead.
void b_normal_to_native(DType type, size_t K, size_t N, bool int4_bytes, const void* from, void* to);

}  // namespace rknnsim
