#include "matmul/packer.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/aligned_buffer.hpp"
#include "kernels/mix.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "kernels/scale.hpp"
#include "matmul/smoothing.hpp"

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
        for (size_t first = 0; first < plan.tiles[t].n_count; first += kRowsPerTask) {
            tasks.push_back({t, first, std::min(kRowsPerTask, plan.tiles[t].n_count - first)});
        }
    }
    return tasks;
}

// The first failure of several threads.
class FirstFailure {
  public:
    void note(Status status) {
        if (status.ok()) return;
        const std::lock_guard lock(mutex_);
        if (first_.ok()) first_ = std::move(status);
    }
    Status take() { return std::move(first_); }

  private:
    std::mutex mutex_;
    Status first_;
};

// Calls body(task, float rows [count, K], room for the rows of one segment when the plan rotates) for every
// task.
template <typename Body>
Status for_each_task(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool, const Body& body) {
    const std::vector<Task> tasks = cut_rows(plan);
    FirstFailure failure;
    pool.parallel_for(tasks.size(), [&](size_t index) {
        const Task& task = tasks[index];
        const size_t plain = task.count * source.K;
        const size_t rotated = plan.recipe.rotate ? task.count * plan.longest_segment() : 0;
        Result<AlignedBuffer> scratch = AlignedBuffer::allocate((plain + rotated) * sizeof(float));
        if (!scratch.ok()) return failure.note(scratch.status());
        auto* const rows = scratch.value().as<float>();
        const size_t n0 = plan.tiles[task.tile].n0 + task.first;
        for (size_t i = 0; i < task.count; ++i) {
            source.dequantise(source.row(n0 + i), rows + i * source.K, static_cast<int64_t>(source.K));
        }
        body(task, rows, rows + plain);
    });
    return failure.take();
}

float channel_scale(NpuArithmetic arithmetic, const float* row, size_t K) {
    return arithmetic == NpuArithmetic::kInt8 ? channel_scale_int8(row, K) : channel_scale_fp16(row, K);
}

// The rows of one segment as they are to be stored: K values each, from `k0` on, `stride` apart.
struct Rows {
    const float* data;
    size_t stride;
    size_t k0;
    size_t K;
};

void store_rows(const WeightPlan& plan, const KSegment& segment, const Task& task, const Rows& rows,
                const float* scales, std::byte* cell) {
    const NTile& tile = plan.tiles[task.tile];
    const bool last = task.first + task.count == tile.n_count;
    const auto store = [&](auto pack, auto* native) {
        pack(rows.data, rows.stride, task.first, task.count, rows.k0, rows.K, segment.K_padded, tile.N_padded,
             native, scales, default_tier());
        if (last) zero_kernels(tile.n_count, tile.N_padded, segment.K_padded, tile.N_padded, native);
    };
    if (plan.recipe.arithmetic == NpuArithmetic::kInt8) {
        store(pack_rows_int8, reinterpret_cast<int8_t*>(cell));
    } else {
        store(pack_rows_fp16, reinterpret_cast<uint16_t*>(cell));
    }
}

// What the statistics say, in the form that packing a row needs.
struct Correction {
    std::vector<float> inverse_factors;  // [K], for the weights
    std::vector<std::vector<float>>
        rotated_means;  // [segment][K_padded], of the activations as they are stored

    const float* factors_from(size_t k0) const {
        return inverse_factors.empty() ? nullptr : inverse_factors.data() + k0;
    }
};

Correction correction_of(const ChannelStatistics& statistics, const WeightPlan& plan,
                         const std::vector<float>& factors) {
    Correction correction;
    for (const float factor : factors)
        correction.inverse_factors.push_back(1.0F / factor);
    for (const KSegment& segment : plan.segments) {
        std::vector<float>& means = correction.rotated_means.emplace_back(segment.K_padded);
        rotate_rows(statistics.mean.data() + segment.k0, segment.k_count, 1, segment.k_count,
                    segment.K_padded, factors.data() + segment.k0, means.data());
        mix_blocks(means.data(), 1, segment.K_padded);
    }
    return correction;
}

// Moves the values so that the largest and the smallest are as far from zero; gives what was taken off. 0 for
// a row that is not finite.
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

// `rotated` has room for the task's rows of the longest segment. `common_scale` may be nullptr.
void pack_task(PackedWeight& packed, const Task& task, const float* values, float* rotated,
               const float* common_scale, const Correction& correction) {
    const WeightPlan& plan = packed.plan;
    const NTile& tile = plan.tiles[task.tile];
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        const KSegment& segment = plan.segments[s];
        Rows rows{values, plan.K, segment.k0, segment.k_count};
        if (plan.recipe.rotate) {
            rotate_rows(values + segment.k0, plan.K, task.count, segment.k_count, segment.K_padded,
                        correction.factors_from(segment.k0), rotated);
            mix_blocks(rotated, task.count, segment.K_padded);
            rows = {rotated, segment.K_padded, 0, segment.K_padded};
        }
        float* const scales = packed.channel_scales[s].data() + tile.n0 + task.first;
        if (plan.recipe.rotate) {
            float* const offsets = packed.channel_offsets[s].data() + tile.n0 + task.first;
            for (size_t i = 0; i < task.count; ++i)
                offsets[i] = centre(rotated + i * segment.K_padded, segment.K_padded);
        }
        for (size_t i = 0; i < task.count; ++i) {
            const float* const row = rows.data + i * rows.stride + rows.k0;
            scales[i] =
                common_scale != nullptr ? *common_scale : channel_scale(plan.recipe.arithmetic, row, rows.K);
        }
        store_rows(plan, segment, task, rows, scales, packed.cells[s][task.tile].data());
        if (!plan.recipe.rotate) continue;
        // The product of two rotated rows is `block` times the plain one; a power of two, so nothing is
        // rounded.
        const auto block = static_cast<float>(rotation_block(segment.K_padded));
        for (size_t i = 0; i < task.count; ++i) {
            if (!packed.bias.empty()) {
                const double error = rounding_error_int8(rows.data + i * rows.stride, rows.K, scales[i],
                                                         correction.rotated_means[s].data());
                packed.bias[tile.n0 + task.first + i] += static_cast<float>(error / block);
            }
            scales[i] /= block;
            packed.channel_offsets[s][tile.n0 + task.first + i] /= block;
        }
    }
}

Result<float> scale_of_tensor(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool) {
    std::mutex mutex;
    float largest = 0.0F;
    const Status status = for_each_task(source, plan, pool, [&](const Task& task, const float* rows, float*) {
        const float here = row_absmax(rows, task.count * source.K);
        const std::lock_guard lock(mutex);
        if (std::isnan(here) || here > largest) largest = here;  // a NaN stays: no number is larger
    });
    RKNPU2_RETURN_IF_ERROR(status);
    return int8_scale(largest);
}

}  // namespace

Status pack_weight(const WeightSource& source, PackedWeight& packed, ThreadPool& pool) {
    const WeightPlan& plan = packed.plan;
    packed.channel_scales.assign(plan.segments.size(), std::vector<float>(plan.N));
    if (plan.recipe.rotate) packed.channel_offsets.assign(plan.segments.size(), std::vector<float>(plan.N));
    float common_scale = 0.0F;
    const bool one_scale = plan.recipe.one_scale_per_tensor;
    if (one_scale) {
        Result<float> scale = scale_of_tensor(source, plan, pool);
        RKNPU2_RETURN_IF_ERROR(scale.status());
        common_scale = scale.value();
    }
    Correction correction;
    if (packed.statistics != nullptr) {
        packed.input_factors = smoothing_factors(*packed.statistics);
        packed.bias.assign(plan.N, 0.0F);
        correction = correction_of(*packed.statistics, plan, packed.input_factors);
    }
    return for_each_task(source, plan, pool, [&](const Task& task, float* rows, float* rotated) {
        pack_task(packed, task, rows, rotated, one_scale ? &common_scale : nullptr, correction);
    });
}

}  // namespace rknpu2
