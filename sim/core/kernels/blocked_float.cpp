#include <algorithm>

#include "core/kernels/blocked.hpp"
#include "core/kernels/convert_output.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using rknpu2::kSegmentK;
using rknpu2::kTileK;

constexpr size_t kRowsAtOnce = 96;  // a slice of A: 12 KiB; sums of four groups: 48 KiB
constexpr size_t kTileElements = kTileK * kFloatGroup;

// Tile of columns n .. n+15 and k .. k+31 in B native.
const uint16_t* tile_at(const Job& job, size_t n, size_t k) {
    const size_t first = k / kSegmentK * kSegmentK;
    const size_t depth = std::min(job.K - first, kSegmentK);
    return static_cast<const uint16_t*>(job.b) + first * job.N + n * depth + (k - first) * kFloatGroup;
}

// sums [groups][stride][16] of rows row .. row+rows-1 to C native.
void write_rows(const Job& job, size_t n, size_t groups, size_t row, size_t rows, const double* sums,
                size_t stride) {
    const DType c_type = output_type(job.type);
    const size_t atom = rknpu2::atom_elements(c_type);
    for (size_t i = 0; i < groups * kFloatGroup; i += atom) {
        const double* from = sums + (i / kFloatGroup) * stride * kFloatGroup + i % kFloatGroup;
        const size_t to = rknpu2::c_index_native(row, n + i, job.M, c_type);
        for (size_t r = 0; r < rows; ++r) {
            for (size_t j = 0; j < atom; ++j) {
                const double sum = from[r * kFloatGroup + j];
                if (c_type == DType::kFloat32) {
                    static_cast<float*>(job.c)[to + r * atom + j] = round_to_float(sum);
                } else {
                    static_cast<uint16_t*>(job.c)[to + r * atom + j] = round_to_float16(sum);
                }
            }
        }
    }
}

}  // namespace

bool load_a_float(const FloatKernels& kernels, const Job& job, Scratch& scratch) {
    auto* to = scratch.get<float>(Scratch::kA, job.M * job.K);
    if (to == nullptr) return false;
    constexpr size_t kAtom = 8;
    const auto* from = static_cast<const uint16_t*>(job.a);
    for (size_t k = 0; k < job.K; k += kAtom) {
        float* column = to + (k / kTileK) * job.M * kTileK + k % kTileK;
        for (size_t m = 0; m < job.M; ++m)
            kernels.widen(from + (k * job.M + m * kAtom), kAtom, column + m * kTileK);
    }
    return true;
}

bool multiply_float(const FloatKernels& kernels, const Job& job, Scratch& scratch) {
    const auto* a = scratch.held<float>(Scratch::kA);
    // With one block of rows every tile of B is used once, right after it is transposed; with more, the tiles
    // of four groups over all of K are transposed first and kept.
    const size_t chunk = job.M <= kRowsAtOnce ? kTileK : job.K;
    const size_t per_k_group = kFloatGroupsAtOnce * kTileElements;
    auto* tiles = scratch.get<float>(Scratch::kB, chunk / kTileK * per_k_group);
    auto* sums = scratch.get<double>(Scratch::kSums, kFloatGroupsAtOnce * kRowsAtOnce * kFloatGroup);
    if (tiles == nullptr || sums == nullptr) return false;

    for (size_t n = 0; n < job.N; n += kFloatGroupsAtOnce * kFloatGroup) {
        const size_t groups = std::min(kFloatGroupsAtOnce, (job.N - n) / kFloatGroup);
        const auto transpose = [&](size_t k, float* to) {
            for (size_t g = 0; g < groups; ++g)
                kernels.transpose_tile(tile_at(job, n + g * kFloatGroup, k), to + g * kTileElements);
        };
        if (chunk == job.K) {
            for (size_t k = 0; k < job.K; k += kTileK)
                transpose(k, tiles + k / kTileK * per_k_group);
        }
        for (size_t row = 0; row < job.M; row += kRowsAtOnce) {
            const size_t rows = std::min(kRowsAtOnce, job.M - row);
            std::fill(sums, sums + kFloatGroupsAtOnce * kRowsAtOnce * kFloatGroup, 0.0);
            for (size_t k = 0; k < job.K; k += kTileK) {
                float* tile = tiles;
                if (chunk == job.K) {
                    tile += k / kTileK * per_k_group;
                } else {
                    transpose(k, tile);
                }
                kernels.multiply(a + (k / kTileK * job.M + row) * kTileK, rows, tile, groups, sums,
                                 kRowsAtOnce);
            }
            write_rows(job, n, groups, row, rows, sums, kRowsAtOnce);
        }
    }
    return true;
}

}  // namespace rknnsim
