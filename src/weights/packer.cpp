// SPDX-License-Identifier: MIT
#include "weights/packer.hpp"

#include <algorithm>
#include <cmath>

#include "base/aligned_buffer.hpp"
#include "base/log.hpp"
#include "kernels/far.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "weights/four_bit_packer.hpp"

namespace rknpu2 {
namespace {

// Rows that a thread converts at a time: a few hundred KiB of floats, which stay in its cache.
constexpr size_t kRowsPerTask = 32;

struct Task {
    size_t tile;
    size_t first;  // row within the tile
    size_t count;
};

std::vector<Task> cut_rows(const WeightPlan& plan) {
    std::vector<Task> tasks;
    for (size_t t = 0; t < plan.tiles.size(); ++t) {
        for (size_t first = 0; first < plan.tiles[t].n_count; first += kRowsPerTask)
            tasks.push_back({t, first, std::min(kRowsPerTask, plan.tiles[t].n_count - first)});
    }
    return tasks;
}

// Calls body(task, float rows [count, K], room for the rotated rows of one segment) for every task.
template <typename Body>
Status for_each_task(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool, const Body& body) {
    const std::vector<Task> tasks = cut_rows(plan);
    std::mutex mutex;
    std::vector<AlignedBuffer> idle;  // scratch of tasks that are done: as many as there are threads
    return pool.parallel_try(tasks.size(), [&](size_t index) {
        const Task& task = tasks[index];
        const size_t plain = task.count * source.K;
        const size_t rotated = plan.recipe.rotate ? task.count * plan.longest_segment() : 0;
        AlignedBuffer scratch;
        if (const std::lock_guard lock(mutex); !idle.empty()) {
            scratch = std::move(idle.back());
            idle.pop_back();
        }
        RKNPU2_RETURN_IF_ERROR(scratch.grow((plain + rotated) * sizeof(float)));
        auto* const rows = scratch.as<float>();
        const size_t n0 = plan.tiles[task.tile].n0 + task.first;
        for (size_t i = 0; i < task.count; ++i)
            source.dequantise(source.row(n0 + i), rows + i * source.K, static_cast<int64_t>(source.K));
        body(task, rows, rows + plain);
        const std::lock_guard lock(mutex);
        idle.push_back(std::move(scratch));
        return Status();
    });
}

float channel_scale(NpuArithmetic arithmetic, const float* row, size_t K) {
    const float absmax = row_absmax(row, K);
    return arithmetic == NpuArithmetic::kInt8 ? int8_scale(absmax) : fp16_scale(absmax);
}

// Means of very large activations can ask for a correction that no float holds; then there is none.
float finite(double correction) {
    const auto value = static_cast<float>(correction);
    return std::isfinite(value) ? value : 0.0F;
}

// What the statistics say, in the form that packing a row needs.
struct Correction {
    std::vector<float> inverse_factors;  // [K], for the weights
    // [segment][K_padded], of the activations as they are stored; each of a segment's divided by its unit.
    std::vector<std::vector<float>> rotated_means;
    std::vector<double> units;  // [segment]

    const float* factors_from(size_t k0) const {
        return inverse_factors.empty() ? nullptr : inverse_factors.data() + k0;
    }
};

Correction correction_of(const ActivationStats& stats, const WeightPlan& plan,
                         const std::vector<float>& factors) {
    Correction correction;
    for (const float factor : factors)
        correction.inverse_factors.push_back(1.0F / factor);
    for (const KSegment& segment : plan.segments) {
        std::vector<float> means(stats.mean.begin() + static_cast<ptrdiff_t>(segment.k0),
                                 stats.mean.begin() + static_cast<ptrdiff_t>(segment.k0 + segment.k_count));
        correction.units.push_back(bring_near(means.data(), means.size()));
        std::vector<float>& rotated = correction.rotated_means.emplace_back(segment.K_padded);
        rotate({segment, means.data(), means.size(), rotated.data(), nullptr, nullptr,
                factors.empty() ? nullptr : factors.data() + segment.k0},
               0, 1);
    }
    return correction;
}

// Moves the values so that the largest and the smallest are as far from zero. Returns what was taken off: 0
// for a row that is not finite.
float centre(float* row, size_t K) {
    float least = row[0];
    float most = row[0];
    for (size_t k = 0; k < K; ++k) {
        least = std::min(least, row[k]);
        most = std::max(most, row[k]);
    }
    const float middle = 0.5F * least + 0.5F * most;
    if (!std::isfinite(middle)) return 0.0F;
    for (size_t k = 0; k < K; ++k)
        row[k] -= middle;
    return middle;
}

// The row of a segment as it is to be stored, and its scale before the rotation's factor is taken off.
float prepare_row(const Recipe& recipe, const SegmentRows& rows, size_t i) {
    const size_t K_padded = rows.segment.K_padded;
    if (!recipe.rotate)
        return channel_scale(recipe.arithmetic, rows.values + i * rows.stride, rows.segment.k_count);
    float* const row = rows.rotated + i * K_padded;
    rows.offsets[i] = centre(row, K_padded);
    return channel_scale(recipe.arithmetic, row, K_padded);
}

// Scales of the rows, as they are to be stored, and the units by which far ones were divided; 1 for others.
// `common_scale` may be nullptr.
void prepare_rows(const Recipe& recipe, const SegmentRows& rows, size_t count, const float* common_scale,
                  double* units) {
    if (recipe.rotate) rotate(rows, 0, count);
    for (size_t i = 0; i < count; ++i) {
        units[i] = 1;
        float* const row = rows.values + i * rows.stride;
        if (common_scale != nullptr) {
            const float largest = row_absmax(row, rows.segment.k_count);
            if (is_far(*common_scale)) {
                units[i] = unit_of(scale_value(*common_scale));
                divide_by_unit(row, rows.segment.k_count, units[i], row);
            }
            const auto scale = static_cast<float>(scale_value(*common_scale) / units[i]);
            rows.scales[i] = std::isnan(largest) ? largest : scale;
            continue;
        }
        rows.scales[i] = prepare_row(recipe, rows, i);
        if (is_near(rows.scales[i])) continue;
        units[i] = bring_near(row, rows.segment.k_count);
        if (units[i] == 1) continue;
        if (recipe.rotate) rotate(rows, i, 1);
        rows.scales[i] = prepare_row(recipe, rows, i);
    }
}

void store_rows(const WeightPlan& plan, const Task& task, const SegmentRows& rows, std::byte* cell) {
    const NTile& tile = plan.tiles[task.tile];
    const size_t K_padded = rows.segment.K_padded;
    const bool rotates = plan.recipe.rotate;
    const bool last = task.first + task.count == tile.n_count;
    const auto store = [&]<typename Element>(Element* native) {
        pack_rows(RowsToBlock<Element>{.rows = rotates ? rows.rotated : rows.values,
                                       .row_stride = rotates ? K_padded : rows.stride,
                                       .n0 = task.first,
                                       .n_count = task.count,
                                       .k0 = 0,
                                       .k_count = rotates ? K_padded : rows.segment.k_count,
                                       .K_padded = K_padded,
                                       .N_padded = tile.N_padded,
                                       .native = native},
                  rows.scales);
        if (last) zero_kernels(tile.n_count, tile.N_padded, K_padded, tile.N_padded, native);
    };
    if (plan.recipe.arithmetic == NpuArithmetic::kInt8) {
        store(reinterpret_cast<int8_t*>(cell));
    } else {
        store(reinterpret_cast<uint16_t*>(cell));
    }
}

// The rotation's factor is taken off: the product of two rotated rows is `block` times the plain one; a power
// of two, so nothing is rounded. A far channel whose rotated weights are all alike has nothing but an offset,
// and some scale.
void finish_scale(double unit, float block, float& scale, float* offset) {
    if (unit == 1 || std::isnan(scale)) {
        scale /= block;
        if (offset != nullptr) *offset /= block;
        return;
    }
    const double factor = unit / static_cast<double>(block);
    scale = far_scale(scale == 0.0F ? factor : static_cast<double>(scale) * factor);
    if (offset != nullptr) *offset = static_cast<float>(*offset * factor / -static_cast<double>(scale));
}

// What packing a weight needs besides its rows.
struct Packing {
    const float* common_scale = nullptr;  // of the naive precision
    Correction correction;
    FourBitPacker* four_bits = nullptr;
};

// `rotated` has room for the task's rows of the longest segment.
void pack_task(PackedWeight& packed, const Task& task, float* values, float* rotated,
               const Packing& packing) {
    const Correction& correction = packing.correction;
    const WeightPlan& plan = packed.plan;
    const bool rotates = plan.recipe.rotate;
    const size_t n0 = plan.tiles[task.tile].n0 + task.first;
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        const KSegment& segment = plan.segments[s];
        const SegmentRows in{segment,
                             values + segment.k0,
                             plan.K,
                             rotated,
                             packed.channel_scales[s].data() + n0,
                             rotates ? packed.channel_offsets[s].data() + n0 : nullptr,
                             correction.factors_from(segment.k0)};
        double units[kRowsPerTask];
        double errors[kRowsPerTask];
        std::byte* const cell = (*packed.cells)[s][task.tile].data();
        const float* const means = packed.bias.empty() ? nullptr : correction.rotated_means[s].data();
        if (packing.four_bits != nullptr) {
            packing.four_bits->pack(s, in, {cell, plan.tiles[task.tile], task.first, task.count}, units,
                                    means, errors);
        } else {
            prepare_rows(plan.recipe, in, task.count, packing.common_scale, units);
            store_rows(plan, task, in, cell);
            for (size_t i = 0; means != nullptr && i < task.count; ++i)
                errors[i] = rounding_error_int8(rotated + i * segment.K_padded, segment.K_padded,
                                                in.scales[i], means);
        }
        const float block = rotates ? static_cast<float>(rotation_block(segment.K_padded)) : 1.0F;
        for (size_t i = 0; i < task.count; ++i) {
            if (means != nullptr) {
                float& bias = packed.bias[n0 + i];
                bias = finite(bias + finite(errors[i] * units[i] * correction.units[s] / block));
            }
            finish_scale(units[i], block, in.scales[i], rotates ? in.offsets + i : nullptr);
        }
    }
}

// Channels that are not finite are left out: they become NaN by themselves.
Result<float> scale_of_tensor(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool) {
    std::mutex mutex;
    float largest = 0.0F;
    const Status status = for_each_task(source, plan, pool, [&](const Task& task, const float* rows, float*) {
        float here = 0.0F;
        for (size_t i = 0; i < task.count; ++i) {
            const float of_row = row_absmax(rows + i * source.K, source.K);
            here = of_row > here ? of_row : here;
        }
        const std::lock_guard lock(mutex);
        largest = std::max(largest, here);
    });
    RKNPU2_RETURN_IF_ERROR(status);
    return int8_tensor_scale(largest);
}

const SecondMoments* moments_of(const ReservedWeight& reserved) {
    return reserved.stats == nullptr ? nullptr : reserved.stats->moments.get();
}

constexpr std::chrono::seconds kInterval{2};

}  // namespace

Result<PackedWeight> pack_weight(const ReservedWeight& reserved, ThreadPool& pool) {
    const WeightSource& source = reserved.source;
    bool rotate = reserved.plan.recipe.rotate;
    if (rotate && reserved.stats == nullptr) {
        const double cost = RKNPU2_TAKE(cost_of_rotation(source));
        rotate = cost <= kRotationMayCost;
    }
    PackedWeight packed(reserved, rotate);
    const WeightPlan& plan = packed.plan;
    float common_scale = 0.0F;
    const bool one_scale = plan.recipe.one_scale_per_tensor;
    if (one_scale) common_scale = RKNPU2_TAKE(scale_of_tensor(source, plan, pool));
    Packing packing{.common_scale = one_scale ? &common_scale : nullptr};
    if (reserved.stats != nullptr) {
        if (PackedWeight::smooths(reserved)) packed.input_factors = smoothing_factors(*reserved.stats);
        packing.correction = correction_of(*reserved.stats, plan, packed.input_factors);
    }
    std::optional<FourBitPacker> four_bits;
    if (plan.recipe.arithmetic == NpuArithmetic::kInt4)
        packing.four_bits = &four_bits.emplace(plan, moments_of(reserved));
    const auto pack = [&](const Task& task, float* rows, float* rotated) {
        pack_task(packed, task, rows, rotated, packing);
    };
    RKNPU2_RETURN_IF_ERROR(for_each_task(source, plan, pool, pack));
    if (four_bits) packed.planes = four_bits->planes();
    return packed;
}

void separate_far_channels(PackedWeight& packed) {
    for (size_t s = 0; s < packed.channel_scales.size(); ++s) {
        std::vector<float>& scales = packed.channel_scales[s];
        for (size_t n = 0; n < scales.size(); ++n) {
            if (!is_far(scales[n])) continue;
            if (packed.far_channels.empty()) packed.far_channels.resize(packed.channel_scales.size());
            float* const offset = packed.channel_offsets.empty() ? nullptr : &packed.channel_offsets[s][n];
            packed.far_channels[s].push_back({n, scales[n], offset == nullptr ? 0.0F : *offset});
            scales[n] = 0.0F;
            if (offset != nullptr) *offset = 0.0F;
        }
    }
}

void PackingProgress::add(size_t packed_bytes) {
    const std::lock_guard lock(mutex_);
    const Clock::time_point now = Clock::now();
    if (now - last_done_ > kInterval) {
        weights_ = 0;
        bytes_ = 0;
        last_line_ = now;
    }
    last_done_ = now;
    ++weights_;
    bytes_ += packed_bytes;
    if (now - last_line_ < kInterval) return;
    last_line_ = now;
    log(LogLevel::kInfo, "%s: %zu so far, %zu MiB", doing_, weights_, bytes_ >> 20);
}

Result<double> cost_of_rotation(const WeightSource& weight) {
    constexpr size_t kRows = 32;  // looked at, evenly spaced
    const size_t K_padded = round_up(weight.K, rk3588::kAlignK);
    const AlignedBuffer buffer = RKNPU2_TAKE(AlignedBuffer::allocate((weight.K + K_padded) * sizeof(float)));
    auto* const row = buffer.as<float>();
    float* const rotated = row + weight.K;
    const size_t rows = std::min(kRows, weight.N);
    double before = 0;
    double after = 0;
    for (size_t i = 0; i < rows; ++i) {
        weight.dequantise(weight.row(i * weight.N / rows), row, static_cast<int64_t>(weight.K));
        const double unit = bring_near(row, weight.K);
        rotate_rows(
            {.x = row, .row_stride = weight.K, .M = 1, .K = weight.K, .K_padded = K_padded, .out = rotated});
        mix_blocks(rotated, 1, K_padded);
        const double largest = unit * static_cast<double>(row_absmax(row, weight.K));
        const double largest_rotated = unit * static_cast<double>(row_absmax(rotated, K_padded));
        before += largest * largest;
        after += largest_rotated * largest_rotated / static_cast<double>(rotation_block(K_padded));
    }
    const double cost = after / before;
    return std::isfinite(cost) ? cost : 1.0;
}

}  // namespace rknpu2
