// SPDX-License-Identifier: MIT
// What a plan must be for whatever support() accepts: every K and every N is covered once, no limit of the
// chip is passed, and its sizes are those of wider arithmetic.
#pragma once

#include <cmath>

#include "fuzz/check.hpp"
#include "plan/policy.hpp"
#include "plan/support.hpp"
#include "plan/weight_plan.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2::fuzz {

inline void check_plan(const WeightPlan& plan) {
    const DType type = operand_type(plan.recipe.arithmetic);
    size_t next = 0;
    for (const KSegment& segment : plan.segments) {
        FUZZ_CHECK(segment.k0 == next && segment.k_count > 0);
        FUZZ_CHECK(segment.K_padded >= segment.k_count &&
                   segment.K_padded < segment.k_count + rk3588::kAlignK);
        FUZZ_CHECK(segment.K_padded % rk3588::kAlignK == 0 && segment.K_padded <= rk3588::kMaxK);
        next += segment.k_count;
    }
    FUZZ_CHECK(next == plan.K);
    next = 0;
    for (const NTile& tile : plan.tiles) {
        FUZZ_CHECK(tile.n0 == next && tile.n_count > 0);
        FUZZ_CHECK(tile.N_padded >= tile.n_count && tile.N_padded < tile.n_count + rk3588::align_n(type));
        FUZZ_CHECK(tile.N_padded % rk3588::align_n(type) == 0 && tile.N_padded <= plan.most_columns);
        next += tile.n_count;
    }
    FUZZ_CHECK(next == plan.N);
    long double bytes = 0;
    for (const KSegment& segment : plan.segments) {
        for (const NTile& tile : plan.tiles) {
            const auto cell = static_cast<long double>(segment.K_padded) *
                              static_cast<long double>(tile.N_padded) * dtype_bits(type) / 8;
            FUZZ_CHECK(static_cast<long double>(plan.cell_bytes(segment, tile)) == cell);
            bytes += cell;
        }
    }
    FUZZ_CHECK(static_cast<long double>(plan.packed_bytes()) == bytes);
    for (const size_t s : {size_t{0}, plan.segments.size() - 1})
        FUZZ_CHECK(plan.core_of(s, plan.tiles.size() - 1) < static_cast<size_t>(plan.cores));
}

inline void check_rows(size_t M, size_t planes, size_t most) {
    std::vector<RowChunk> chunks;
    plan_rows(M, planes, most, chunks);
    size_t next = 0;
    for (const RowChunk& chunk : chunks) {
        FUZZ_CHECK(chunk.m0 == next && chunk.count > 0 && chunk.count * planes <= most);
        FUZZ_CHECK(row_buckets().at(chunk.bucket) >= chunk.count * planes);
        next += chunk.count;
    }
    FUZZ_CHECK(next == M);
}

// Checks what must hold for a problem that support() accepts.
inline void check_supported(const MatmulProblem& p, const Config& config) {
    FUZZ_CHECK(p.M > 0 && p.N > 0 && p.K > 0);
    const auto fits = [](size_t a, size_t b, size_t c) {
        return static_cast<long double>(a) * static_cast<long double>(b) * static_cast<long double>(c) <=
               static_cast<long double>(kMostOperandBytes);
    };
    FUZZ_CHECK(fits(p.M, p.K, sizeof(float)) && fits(p.M, p.N, sizeof(float)));
    FUZZ_CHECK(fits(p.N, p.K, sizeof(float)) && fits(p.N, p.K, p.experts));
    FUZZ_CHECK(p.operand_bytes <= kMostOperandBytes);
    if (config.precision == Precision::kReference) return;
    check_plan(plan_weight(p.N, p.K, recipe_of(config.precision), config.cores,
                           static_cast<size_t>(config.columns)));
    const Recipe recipe = recipe_of(config.precision);
    // Lists of chunks are made for rows that are there; a few million are enough to see.
    check_rows(std::min<size_t>(p.M, 1 << 20), recipe.planes, kMaxRows);
    check_rows(std::min<size_t>(p.M, 1000), recipe.planes,
               std::max<size_t>(1 + p.K % kMaxRows, recipe.planes));
}

inline void check_choice(const ExpertsCall& call, const Config& config) {
    const TargetChoice choice = experts_target(call, config);
    FUZZ_CHECK(std::isfinite(choice.npu_us) && choice.npu_us >= 0);
    FUZZ_CHECK(std::isfinite(choice.cpu_us) && choice.cpu_us >= 0);
}

}  // namespace rknpu2::fuzz
