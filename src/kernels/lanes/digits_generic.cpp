// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "kernels/lanes/generic.hpp"
#include "kernels/lanes/lanes.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

constexpr size_t kAtom = atom_elements(DType::kInt4);
constexpr size_t kGroup = kernel_group(DType::kInt4);
constexpr size_t kColumns = atom_elements(DType::kInt16);
constexpr size_t kWideColumns = atom_elements(DType::kInt32);

// Two neighbours are read as one number of 16 bits: no vector has to be taken apart.
[[gnu::always_inline]] inline void low_nibbles(const int8_t* __restrict codes, size_t count,
                                               uint8_t* __restrict out) {
    for (size_t i = 0; i < count / 2; ++i) {
        uint16_t pair;
        std::memcpy(&pair, codes + 2 * i, sizeof pair);
        out[i] = static_cast<uint8_t>((pair & 0x0FU) | ((pair >> 4U) & 0xF0U));
    }
}

// a = 16 * high + low with low in -8 .. 7: high is (a + 8) / 16, rounded down. The sum of a code and 8 stays
// within a byte, and its upper half is the digit.
[[gnu::always_inline]] inline void high_nibbles(const int8_t* __restrict codes, size_t count,
                                                uint8_t* __restrict out) {
    int8_t raised[kRun];
    for (size_t i = 0; i < count; ++i)
        raised[i] = static_cast<int8_t>(codes[i] + 8);
    for (size_t i = 0; i < count / 2; ++i) {
        uint16_t pair;
        std::memcpy(&pair, raised + 2 * i, sizeof pair);
        out[i] = static_cast<uint8_t>(((pair >> 4U) & 0x0FU) | ((pair >> 8U) & 0xF0U));
    }
}

[[gnu::always_inline]] inline int32_t total_of(const int8_t* codes, size_t count) {
    int32_t total = 0;
    for (size_t i = 0; i < count; ++i)
        total += codes[i];
    return total;
}

// One atom of a row, in all planes.
[[gnu::always_inline]] inline void store_atom(const RowsToDigits& rows, size_t piece, const uint8_t* high,
                                              const uint8_t* low, std::byte* column) {
    for (size_t p = 0; p < rows.pieces; ++p) {
        std::byte* const high_row = column + 2 * p * rows.plane_rows * kAtomBytes;
        std::byte* const low_row = high_row + rows.plane_rows * kAtomBytes;
        if (p == piece) {
            std::memcpy(high_row, high, kAtomBytes);
            std::memcpy(low_row, low, kAtomBytes);
        } else {
            std::memset(high_row, 0, kAtomBytes);
            std::memset(low_row, 0, kAtomBytes);
        }
    }
}

}  // namespace

RKNPU2_CLONES int32_t store_row_digits(const RowsToDigits& rows, size_t m, float factor) {
    int8_t codes[kRun];
    uint8_t high[kRun / 2];
    uint8_t low[kRun / 2];
    const size_t atoms = rows.K_padded / kAtom;
    std::byte* column = rows.native + (rows.m0 + m) * kAtomBytes;
    size_t piece = 0;
    int32_t total = 0;
    for (size_t k = 0; k < rows.K_padded; k += kRun) {
        const size_t count = std::min(kRun, rows.K_padded - k);
        convert_run<Int8Lanes>(rows.x + m * rows.row_stride, factor, rows.K, k, count, codes);
        total += total_of(codes, count);
        high_nibbles(codes, count, high);
        low_nibbles(codes, count, low);
        for (size_t i = 0; i < count; i += kAtom, column += rows.M_total * kAtomBytes) {
            while ((k + i) / kAtom >= piece_begin(atoms, rows.pieces, piece + 1))
                ++piece;
            store_atom(rows, piece, high + i / 2, low + i / 2, column);
        }
    }
    return total;
}

RKNPU2_CLONES void pack_row_codes(const int8_t* codes, size_t K, size_t K_padded, uint8_t* native) {
    for (size_t k = 0; k < K_padded; k += kAtom, native += kGroup * kAtomBytes) {
        int8_t run[kAtom] = {};
        if (k < K) std::memcpy(run, codes + k, std::min(kAtom, K - k));
        low_nibbles(run, kAtom, native);
    }
}

}  // namespace rknpu2::generic

namespace rknpu2 {

RKNPU2_CLONES void join_digits(const DigitSums& sums, int32_t* out) {
    using namespace generic;
    const size_t plane = sums.plane_rows * kColumns;
    for (size_t n = 0; n < sums.N; n += kColumns) {
        const int16_t* const column = sums.native + (n * sums.M_total + sums.m0 * kColumns);
        int32_t* const first = out + n * sums.M;
        int32_t* const second = first + kWideColumns * sums.M;
        for (size_t m = 0; m < sums.M; ++m) {
            int32_t joined[kColumns] = {};
            const int16_t* digits = column + m * kColumns;
            for (size_t piece = 0; piece < sums.pieces; ++piece, digits += 2 * plane)
                for (size_t i = 0; i < kColumns; ++i)
                    joined[i] += 16 * digits[i] + digits[plane + i];
            std::memcpy(first + m * kWideColumns, joined, sizeof joined / 2);
            std::memcpy(second + m * kWideColumns, joined + kWideColumns, sizeof joined / 2);
        }
    }
}

}  // namespace rknpu2
