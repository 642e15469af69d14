// SPDX-License-Identifier: MIT
// Where an element of A, B or C lives in memory: the written specification of the NPU's layouts.
//
// C[M,N] = A[M,K] * B[K,N]. Besides the plain row-major forms the chip reads and writes "native" ones, in
// which every run of 16 bytes (an atom) belongs to one row of A or C, and B is cut into tiles of 32
// K-elements by one kernel group of N:
//
//   A native  [K/a, M, a]             a  = 16 bytes of elements: 32 int4, 16 int8, 8 fp16
//   B native  [N/g, K/32, g, 32]      g  = kernel group: 64 int4, 32 int8, 16 fp16; K runs fastest in a tile
//   C native  [N/c, M, c]             c  = 16 bytes of elements: 4 int32/fp32, 8 int16/fp16, 16 int8
//
// Dimensions are those *after* padding: K to a multiple of 32, N to a multiple of g. B with K over 8192 is a
// sequence of complete native blocks, one for each segment of 8192 K (the last one shorter).
//
// The packing kernels and the simulator share nothing but this file, so that a mistake in one cannot hide in
// the other. All functions return *element* indices; for int4, element i is the low nibble of byte i/2 when i
// is even, the high one otherwise.
//
// Source: Rockchip's matmul API header and user guide (SDK 2.3.2, table 3-5), agreeing with register streams
// captured on the chip; see docs/hardware.csv. C native int8 with an atom of 16 is an inference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace rknpu2 {

// Element types that the NPU's matrix unit and its runtime know.
enum class DType : uint8_t { kInt4, kInt8, kInt16, kInt32, kFloat16, kBFloat16, kFloat32 };

struct DTypeFacts {
    const char* name;
    int bits;
};
inline constexpr DTypeFacts kDTypes[] = {{"int4", 4},  {"int8", 8},  {"int16", 16}, {"int32", 32},
                                         {"fp16", 16}, {"bf16", 16}, {"fp32", 32}};

// Width of one element in bits: int4 is the only type below a byte.
constexpr int dtype_bits(DType type) {
    return kDTypes[static_cast<size_t>(type)].bits;
}

constexpr const char* dtype_name(DType type) {
    return kDTypes[static_cast<size_t>(type)].name;
}

// Bytes of `count` elements, rounded up to whole bytes.
constexpr size_t dtype_bytes(DType type, size_t count) {
    return (count * static_cast<size_t>(dtype_bits(type)) + 7) / 8;
}

// The one that a C++ type stands for; halves are uint16_t.
template <typename Element>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<Element, int8_t>) return DType::kInt8;
    if constexpr (std::is_same_v<Element, uint16_t>) return DType::kFloat16;
    if constexpr (std::is_same_v<Element, int32_t>) return DType::kInt32;
    if constexpr (std::is_same_v<Element, float>) return DType::kFloat32;
}

inline constexpr size_t kAtomBytes = 16;
inline constexpr size_t kTileK = 32;
inline constexpr size_t kSegmentK = 8192;

enum class Layout : uint8_t {
    kNormal,      // row-major: A [M,K], B [K,N], C [M,N]
    kNative,      // in blocks, as the table at the head of this file says
    kTransposed,  // B only: [N,K]
};

constexpr size_t ceil_div(size_t a, size_t b) {
    return (a + b - 1) / b;
}
constexpr size_t round_up(size_t a, size_t multiple) {
    return ceil_div(a, multiple) * multiple;
}

// Elements in one 16-byte atom: the `a` and `c` above.
constexpr size_t atom_elements(DType type) {
    return kAtomBytes * 8 / static_cast<size_t>(dtype_bits(type));
}

// Columns of B in one kernel group (the `g` above): 64, 32 or 16.
constexpr size_t kernel_group(DType type) {
    return kTileK * 8 / static_cast<size_t>(dtype_bits(type));
}

constexpr size_t a_index_normal(size_t m, size_t k, size_t K) {
    return m * K + k;
}

constexpr size_t a_index_native(size_t m, size_t k, size_t M, DType type) {
    const size_t a = atom_elements(type);
    return ((k / a) * M + m) * a + k % a;
}

constexpr size_t b_index_normal(size_t k, size_t n, size_t N) {
    return k * N + n;
}
constexpr size_t b_index_transposed(size_t k, size_t n, size_t K) {
    return n * K + k;
}

// K and N are padded; K may exceed one segment.
constexpr size_t b_index_native(size_t k, size_t n, size_t K, size_t N, DType type) {
    const size_t segment = k / kSegmentK;
    const size_t first = segment * kSegmentK;
    const size_t depth = (K - first < kSegmentK) ? K - first : kSegmentK;
    const size_t g = kernel_group(type);
    const size_t kk = k - first;
    const size_t in_segment = (((n / g) * (depth / kTileK) + kk / kTileK) * g + n % g) * kTileK + kk % kTileK;
    return first * N + in_segment;
}

constexpr size_t c_index_normal(size_t m, size_t n, size_t N) {
    return m * N + n;
}

constexpr size_t c_index_native(size_t m, size_t n, size_t M, DType type) {
    const size_t c = atom_elements(type);
    return ((n / c) * M + m) * c + n % c;
}

constexpr size_t a_index(size_t m, size_t k, size_t M, size_t K, DType type, Layout layout) {
    return layout == Layout::kNative ? a_index_native(m, k, M, type) : a_index_normal(m, k, K);
}

constexpr size_t b_index(size_t k, size_t n, size_t K, size_t N, DType type, Layout layout) {
    if (layout == Layout::kNative) return b_index_native(k, n, K, N, type);
    return layout == Layout::kTransposed ? b_index_transposed(k, n, K) : b_index_normal(k, n, N);
}

constexpr size_t c_index(size_t m, size_t n, size_t M, size_t N, DType type, Layout layout) {
    return layout == Layout::kNative ? c_index_native(m, n, M, type) : c_index_normal(m, n, N);
}

// Signed value of int4 element `index`.
constexpr int int4_get(const uint8_t* data, size_t index) {
    const int nibble = (data[index / 2] >> ((index % 2) * 4)) & 0xF;
    return nibble >= 8 ? nibble - 16 : nibble;
}

// `value` in [-8, 7].
constexpr void int4_set(uint8_t* data, size_t index, int value) {
    const unsigned shift = (index % 2) * 4;
    data[index / 2] = static_cast<uint8_t>((data[index / 2] & ~(0xFU << shift)) |
                                           ((static_cast<unsigned>(value) & 0xFU) << shift));
}

}  // namespace rknpu2
