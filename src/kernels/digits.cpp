// SPDX-License-Identifier: MIT
#include "kernels/digits.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/lanes/generic.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kAtom = 32;   // elements of 16 bytes
constexpr size_t kGroup = 64;  // kernels of a group
constexpr size_t kMostAtoms = kSegmentK / kAtom;
static_assert(kAtom == atom_elements(DType::kInt4) && kGroup == kernel_group(DType::kInt4));

size_t kernel_offset(size_t n, size_t K_padded) {
    return (n / kGroup * K_padded * kGroup + n % kGroup * kAtom) / 2;
}

// How far sums of a row can go in either direction with digits of -8 .. 7, atom by atom.
struct Reach {
    int32_t up[kMostAtoms];
    int32_t down[kMostAtoms];
};

void reach_of(const int8_t* codes, size_t K, Reach& reach) {
    for (size_t k = 0; k < K; k += kAtom) {
        int32_t positive = 0;
        int32_t negative = 0;
        for (size_t i = k; i < std::min(k + kAtom, K); ++i) {
            positive += std::max<int32_t>(codes[i], 0);
            negative -= std::min<int32_t>(codes[i], 0);
        }
        reach.up[k / kAtom] = kMostWeight * positive - kLeastWeight * negative;
        reach.down[k / kAtom] = kMostWeight * negative - kLeastWeight * positive;
    }
}

bool fits(const Reach& reach, size_t atoms, size_t padded_atoms, size_t pieces) {
    for (size_t piece = 0; piece < pieces; ++piece) {
        int32_t up = 0;
        int32_t down = 0;
        const size_t end = std::min(atoms, piece_begin(padded_atoms, pieces, piece + 1));
        for (size_t atom = piece_begin(padded_atoms, pieces, piece); atom < end; ++atom) {
            up += reach.up[atom];
            down += reach.down[atom];
        }
        if (up > std::numeric_limits<int16_t>::max() || -down < std::numeric_limits<int16_t>::min())
            return false;
    }
    return true;
}

}  // namespace

float digit_scale(float absmax) {
    const float scale = absmax / kLargestCode;
    return scale < std::numeric_limits<float>::min() ? 0.0F : scale;
}

void quantise_rows_digits(const RowsToDigits& rows, float* scales, float* sums, const float* absmax) {
    for (size_t m = 0; m < rows.M; ++m) {
        const float* const x = rows.x + m * rows.row_stride;
        scales[m] = digit_scale(absmax != nullptr ? absmax[m] : row_absmax(x, rows.K));
        const int32_t total = generic::store_row_digits(rows, m, storing_factor(scales[m]));
        if (sums != nullptr) sums[m] += scales[m] * static_cast<float>(total);
    }
}

void pack_codes(const CodesToBlock& codes) {
    for (size_t i = 0; i < codes.n_count; ++i) {
        std::byte* atom = codes.native + kernel_offset(codes.n0 + i, codes.K_padded);
        generic::pack_row_codes(codes.codes + i * codes.row_stride, codes.K, codes.K_padded,
                                reinterpret_cast<uint8_t*>(atom));
    }
}

void zero_codes(size_t n_begin, size_t n_end, size_t K_padded, std::byte* native) {
    for (size_t n = n_begin; n < n_end; ++n) {
        std::byte* atom = native + kernel_offset(n, K_padded);
        for (size_t k = 0; k < K_padded; k += kAtom, atom += kGroup * kAtomBytes)
            std::memset(atom, 0, kAtomBytes);
    }
}

// Pieces of twice as many lie within pieces of the former, so what holds for one row and fewer pieces holds
// for the number that all rows need.
size_t pieces_that_fit(const CodesToBlock& codes, size_t pieces) {
    Reach reach;
    const size_t padded = codes.K_padded / kAtom;
    for (size_t i = 0; i < codes.n_count; ++i) {
        reach_of(codes.codes + i * codes.row_stride, codes.K, reach);
        while (!fits(reach, ceil_div(codes.K, kAtom), padded, pieces))
            pieces *= 2;
    }
    return pieces;
}

}  // namespace rknpu2
