// SPDX-License-Identifier: MIT
#include <algorithm>

#include "core/kernels/blocked.hpp"
#include "core/kernels/convert_output.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using rknpu2::kSegmentK;
using rknpu2::kTileK;

// A slice of A has 6 KiB, the tiles of two groups 4 KiB, their sums 12 KiB: together less than a cache of the
// first level, so that a second thread on the same core leaves enough of it.
constexpr size_t kRowsAtOnce = 48;
// More rows than that share tiles: those of 1024 k have 128 KiB, for a cache of the second level.
constexpr size_t kSlicesAtOnce = 32;
constexpr size_t kTileElements = kTileK * kFloatGroup;

// Tile of columns n .. n+15 and k .. k+31 in B native.
const uint16_t* tile_at(const Job& job, size_t n, size_t k) {
    const size_t first = k / kSegmentK * kSegmentK;
    const size_t depth = std::min(job.K - first, kSegmentK);
    return static_cast<const uint16_t*>(job.b) + first * job.N + n * depth + (k - first) * kFloatGroup;
}

// sums [groups][M][16] to C native.
void write_rows(const Job& job, size_t n, size_t groups, const double* sums) {
    const DType c_type = output_type(job.type);
    const size_t atom = rknpu2::atom_elements(c_type);
    for (size_t i = 0; i < groups * kFloatGroup; i += atom) {
        const double* from = sums + (i / kFloatGroup) * job.M * kFloatGroup + i % kFloatGroup;
        const size_t to = rknpu2::c_index_native(0, n + i, job.M, c_type);
        for (size_t m = 0; m < job.M; ++m) {
            for (size_t j = 0; j < atom; ++j) {
                const double sum = from[m * kFloatGroup + j];
                if (c_type == DType::kFloat32) {
                    static_cast<float*>(job.c)[to + m * atom + j] = round_to_float(sum);
                } else {
                    static_cast<uint16_t*>(job.c)[to + m * atom + j] = round_to_float16(sum);
                }
            }
        }
    }
}

}  // namespace

// To [M/48][K/32][48][32] fp32: the slices of a block of rows follow each other.
bool load_a_float(const FloatKernels& kernels, const Job& job, Scratch& scratch) {
    auto* to = scratch.get<float>(Scratch::kA, job.M * job.K);
    if (to == nullptr) return false;
    constexpr size_t kAtom = 8;
    const auto* from = static_cast<const uint16_t*>(job.a);
    for (size_t row = 0; row < job.M; row += kRowsAtOnce) {
        const size_t rows = std::min(kRowsAtOnce, job.M - row);
        float* block = to + row * job.K;
        for (size_t k = 0; k < job.K; k += kAtom) {
            float* column = block + (k / kTileK) * rows * kTileK + k % kTileK;
            for (size_t m = 0; m < rows; ++m)
                kernels.widen(from + (k * job.M + (row + m) * kAtom), kAtom, column + m * kTileK);
        }
    }
    return true;
}

bool multiply_float(const FloatKernels& kernels, const Job& job, Scratch& scratch) {
    const auto* a = scratch.held<float>(Scratch::kA);
    const size_t slices = job.K / kTileK;
    // With one block of rows every tile of B is used once, right after it is transposed.
    const size_t at_once = job.M <= kRowsAtOnce ? 1 : std::min(slices, kSlicesAtOnce);
    const size_t per_slice = kFloatGroupsAtOnce * kTileElements;
    const size_t sum_count = kFloatGroupsAtOnce * job.M * kFloatGroup;
    auto* tiles = scratch.get<float>(Scratch::kB, at_once * per_slice);
    auto* sums = scratch.get<double>(Scratch::kSums, sum_count);
    if (tiles == nullptr || sums == nullptr) return false;

    for (size_t n = 0; n < job.N; n += kFloatGroupsAtOnce * kFloatGroup) {
        const size_t groups = std::min(kFloatGroupsAtOnce, (job.N - n) / kFloatGroup);
        std::fill(sums, sums + sum_count, 0.0);
        for (size_t slice = 0; slice < slices; slice += at_once) {
            const size_t depth = std::min(at_once, slices - slice);
            for (size_t i = 0; i < depth * groups; ++i) {
                const size_t s = i / groups, g = i % groups;
                kernels.transpose_tile(tile_at(job, n + g * kFloatGroup, (slice + s) * kTileK),
                                       tiles + s * per_slice + g * kTileElements);
            }
            for (size_t row = 0; row < job.M; row += kRowsAtOnce) {
                const size_t rows = std::min(kRowsAtOnce, job.M - row);
                const float* from = a + row * job.K + slice * rows * kTileK;
                kernels.multiply({from, rows * kTileK, tiles, depth, groups}, rows, sums + row * kFloatGroup,
                                 job.M);
            }
        }
        write_rows(job, n, groups, sums);
    }
    return true;
}

}  // namespace rknnsim
