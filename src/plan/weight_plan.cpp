// SPDX-License-Identifier: MIT
#include "plan/weight_plan.hpp"

#include <algorithm>
#include <iterator>

#include "kernels/rotate.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

static_assert(kMaxRows <= rk3588::kMaxM);
// A row of two planes of the widest run, and one of digits with as many pieces as codes of -8 can ask for.
static_assert(2 * rk3588::kMaxN * sizeof(float) <= kMostResultBytes);
static_assert(64 * kMostDigitK / kMostPieces < 32768);
static_assert(2 * kMostPieces * rk3588::kMaxN * sizeof(int16_t) <= kMostResultBytes);

std::vector<KSegment> cut_k(size_t K, size_t count) {
    // Whole rotation blocks, so that a segment never has smaller ones than the row would.
    const size_t align = count > 1 ? kLargestRotation : rk3588::kAlignK;
    const size_t depth = round_up(ceil_div(K, count), align);
    std::vector<KSegment> segments;
    for (size_t k0 = 0; k0 < K; k0 += depth) {
        const size_t k_count = std::min(depth, K - k0);
        segments.push_back({k0, k_count, round_up(k_count, rk3588::kAlignK)});
    }
    return segments;
}

// Equal tiles as far as kernel groups allow: few distinct shapes mean few contexts, and the cores finish
// together.
std::vector<NTile> cut_n(size_t N, size_t group, size_t count) {
    const size_t tile_groups = ceil_div(ceil_div(N, group), count);
    const size_t width = tile_groups * group;
    std::vector<NTile> tiles;
    for (size_t n0 = 0; n0 < N; n0 += width) {
        const size_t n_count = std::min(width, N - n0);
        tiles.push_back({n0, n_count, round_up(n_count, group)});
    }
    return tiles;
}

}  // namespace

size_t WeightPlan::cell_bytes(const KSegment& segment, const NTile& tile) const {
    return dtype_bytes(operand_type(recipe.arithmetic), segment.K_padded * tile.N_padded);
}

WeightPlan WeightPlan::with_rotation(bool rotate) const {
    WeightPlan plan = *this;
    plan.recipe.rotate = rotate;
    return plan;
}

size_t WeightPlan::packed_bytes() const {
    size_t bytes = 0;
    for (const KSegment& segment : segments)
        for (const NTile& tile : tiles)
            bytes += cell_bytes(segment, tile);
    return bytes;
}

size_t WeightPlan::longest_segment() const {
    size_t longest = 0;
    for (const KSegment& segment : segments)
        longest = std::max(longest, segment.K_padded);
    return longest;
}

size_t tile_count(size_t N, size_t segments, int cores, size_t most_columns) {
    const auto core_count = static_cast<size_t>(cores);
    const size_t shared = core_count * ceil_div(N, most_columns * core_count);
    const size_t fewest = ceil_div(N, most_columns);
    const bool dealt = segments * fewest % core_count == 0;
    return dealt ? fewest : shared;
}

std::vector<KSegment> segments_of(size_t K, NpuArithmetic arithmetic) {
    return cut_k(K, best_segments(kBoardRates, arithmetic, K));
}

WeightPlan plan_weight(size_t N, size_t K, const Recipe& recipe, int cores, size_t most_columns) {
    WeightPlan plan;
    plan.N = N;
    plan.K = K;
    plan.recipe = recipe;
    plan.cores = cores;
    plan.most_columns = most_columns;
    plan.segments = segments_of(K, recipe.arithmetic);
    if (recipe.arithmetic == NpuArithmetic::kInt4)
        plan.recipe.planes = planes_of_digits(plan.longest_segment());
    const size_t tiles = tile_count(N, plan.segments.size(), cores, most_columns);
    plan.tiles = cut_n(N, rk3588::align_n(operand_type(recipe.arithmetic)), tiles);
    return plan;
}

Recipe recipe_of(Precision precision, bool float_activations) {
    constexpr Recipe kFloats = {.arithmetic = NpuArithmetic::kFloat16};
    // By Precision.
    constexpr Recipe kRecipes[] = {{.rotate = true, .planes = 2},
                                   {.rotate = true},
                                   kFloats,
                                   kFloats,
                                   {.one_scale_per_tensor = true},
                                   {.arithmetic = NpuArithmetic::kInt4, .rotate = true, .planes = 2}};
    if (float_activations && precision != Precision::kNaive) return kFloats;
    return kRecipes[static_cast<size_t>(precision)];
}

Recipe recipe_of_expert(Precision precision, bool float_activations) {
    return recipe_of(precision == Precision::kCompact ? Precision::kBalanced : precision, float_activations);
}

const std::vector<size_t>& row_buckets() {
    // Steps of at most a quarter above 8 rows: padding wastes little, and a context has few shapes to hold.
    // Never destroyed: a thread may be multiplying while another one ends the process.
    static const auto* const buckets = new std::vector<size_t>{
        1,  2,  3,  4,  5,  6,  7,   8,   10,  12,  14,  16,       20,  24,  28,  32,
        40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, kMaxRows, 320, 384, 448, kMaxDigitRows};
    static_assert(kMaxRows == 256 && kMaxDigitRows == 512);
    return *buckets;
}

size_t bucket_count(NpuArithmetic arithmetic) {
    return arithmetic == NpuArithmetic::kInt4 ? row_buckets().size() : bucket_for(kMaxRows) + 1;
}

size_t bucket_for(size_t rows) {
    const std::vector<size_t>& buckets = row_buckets();
    return static_cast<size_t>(std::lower_bound(buckets.begin(), buckets.end(), rows) - buckets.begin());
}

size_t WeightPlan::strips() const {
    return ceil_div(tiles.size(), static_cast<size_t>(cores));
}

size_t bucket_rows(size_t rows) {
    return row_buckets()[bucket_for(rows)];
}

size_t most_result_rows(size_t columns) {
    const size_t rows = std::min(kMaxRows, kMostResultBytes / (columns * sizeof(float)));
    const std::vector<size_t>& buckets = row_buckets();
    return *std::prev(std::upper_bound(buckets.begin(), buckets.end(), rows));
}

void plan_rows(size_t M, size_t planes, size_t most, std::vector<RowChunk>& chunks) {
    const size_t rows = most / planes;
    chunks.clear();
    for (size_t m0 = 0; m0 < M; m0 += rows) {
        const size_t count = std::min(rows, M - m0);
        chunks.push_back({m0, count, bucket_for(count * planes)});
    }
}

}  // namespace rknpu2
