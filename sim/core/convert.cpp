// SPDX-License-Identifier: MIT
#include "core/convert.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using rknpu2::kAtomBytes;
using rknpu2::kTileK;

const std::byte* bytes_of(const void* data) {
    return static_cast<const std::byte*>(data);
}
std::byte* bytes_of(void* data) {
    return static_cast<std::byte*>(data);
}

template <typename T>
void transpose_elements(DType type, size_t K, size_t N, const T* from, T* to) {
    for (size_t k0 = 0; k0 < K; k0 += kTileK) {
        for (size_t n = 0; n < N; ++n) {
            T* row = to + rknpu2::b_index_native(k0, n, K, N, type);
            for (size_t k = 0; k < kTileK; ++k)
                row[k] = from[rknpu2::b_index_normal(k0 + k, n, N)];
        }
    }
}

void transpose_int4(size_t K, size_t N, bool int4_bytes, const void* from, void* to) {
    const auto* bytes = static_cast<const uint8_t*>(from);
    for (size_t k = 0; k < K; ++k) {
        for (size_t n = 0; n < N; ++n) {
            const size_t at = rknpu2::b_index_normal(k, n, N);
            const int value = int4_bytes ? static_cast<int8_t>(bytes[at]) : rknpu2::int4_get(bytes, at);
            rknpu2::int4_set(static_cast<uint8_t*>(to), rknpu2::b_index_native(k, n, K, N, DType::kInt4),
                             value);
        }
    }
}

}  // namespace

void a_normal_to_native(DType type, size_t M, size_t K, const void* from, void* to) {
    const size_t row_bytes = rknpu2::dtype_bytes(type, K);
    const size_t atom = rknpu2::atom_elements(type);
    for (size_t m = 0; m < M; ++m) {
        for (size_t at = 0; at < row_bytes; at += kAtomBytes) {
            const size_t index = rknpu2::a_index_native(m, at / kAtomBytes * atom, M, type);
            std::memcpy(bytes_of(to) + rknpu2::dtype_bytes(type, index), bytes_of(from) + m * row_bytes + at,
                        kAtomBytes);
        }
    }
}

void c_native_to_normal(DType type, size_t M, size_t N, const void* from, void* to) {
    const size_t row_bytes = rknpu2::dtype_bytes(type, N);
    const size_t atom = rknpu2::atom_elements(type);
    for (size_t m = 0; m < M; ++m) {
        for (size_t at = 0; at < row_bytes; at += kAtomBytes) {
            const size_t index = rknpu2::c_index_native(m, at / kAtomBytes * atom, M, type);
            std::memcpy(bytes_of(to) + m * row_bytes + at, bytes_of(from) + rknpu2::dtype_bytes(type, index),
                        kAtomBytes);
        }
    }
}

void b_transposed_to_native(DType type, size_t K, size_t N, const void* from, void* to) {
    const size_t run = rknpu2::dtype_bytes(type, kTileK);
    for (size_t n = 0; n < N; ++n) {
        for (size_t k = 0; k < K; k += kTileK) {
            const size_t source = rknpu2::b_index_transposed(k, n, K);
            const size_t target = rknpu2::b_index_native(k, n, K, N, type);
            std::memcpy(bytes_of(to) + rknpu2::dtype_bytes(type, target),
                        bytes_of(from) + rknpu2::dtype_bytes(type, source), run);
        }
    }
}

void b_normal_to_native(DType type, size_t K, size_t N, bool int4_bytes, const void* from, void* to) {
    if (type == DType::kInt4) {
        transpose_int4(K, N, int4_bytes, from, to);
    } else if (type == DType::kInt8) {
        transpose_elements(type, K, N, static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to));
    } else {
        transpose_elements(type, K, N, static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to));
    }
}

}  // namespace rknnsim
