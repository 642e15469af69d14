// SPDX-License-Identifier: MIT
#include "kernels/lanes/generic.hpp"

namespace rknpu2::generic {
namespace {

constexpr size_t kLanes = 16;  // sixteen neighbours of every block are one step: they stay in registers

// The blocks whose numbers are `first`, first + distance, ...: p of them, reflected.
template <size_t kP>
[[gnu::always_inline]] inline void reflect(float* row, size_t step) {
    float taken[kP][kLanes];
    float sum[kLanes] = {};
    for (size_t lane = 0; lane < kLanes; ++lane)
        sum[lane] = taken[0][lane] = row[lane];
    for (size_t b = 1; b < kP; ++b) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
            taken[b][lane] = row[b * step + lane];
            sum[lane] += taken[b][lane];
        }
    }
    for (size_t lane = 0; lane < kLanes; ++lane)
        sum[lane] *= 2.0F / static_cast<float>(kP);
    for (size_t b = 0; b < kP; ++b)
        for (size_t lane = 0; lane < kLanes; ++lane)
            row[b * step + lane] = taken[b][lane] - sum[lane];
}

template <size_t kP>
[[gnu::always_inline]] inline void reflect_row(float* row, size_t K, size_t step) {
    for (size_t first = 0; first < K; first += kP * step)
        for (size_t i = 0; i < step; i += kLanes)
            reflect<kP>(row + first + i, step);
}

}  // namespace

RKNPU2_CLONES void reflect_blocks(float* rows, size_t M, size_t K, size_t p, size_t step) {
    for (size_t m = 0; m < M; ++m) {
        float* const row = rows + m * K;
        if (p == 3) reflect_row<3>(row, K, step);
        if (p == 5) reflect_row<5>(row, K, step);
        if (p == 7) reflect_row<7>(row, K, step);
    }
}

}  // namespace rknpu2::generic
