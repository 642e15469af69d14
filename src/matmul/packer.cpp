#include "matmul/packer.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "base/aligned_buffer.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"

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

// Calls body(task, float rows [count, K]) for every task.
template <typename Body>
Status for_each_task(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool, const Body& body) {
    const std::vector<Task> tasks = cut_rows(plan);
    FirstFailure failure;
    pool.parallel_for(tasks.size(), [&](size_t index) {
        const Task& task = tasks[index];
        Result<AlignedBuffer> scratch = AlignedBuffer::allocate(task.count * source.K * sizeof(float));
        if (!scratch.ok()) return failure.note(scratch.status());
        auto* const rows = scratch.value().as<float>();
        const size_t n0 = plan.tiles[task.tile].n0 + task.first;
        for (size_t i = 0; i < task.count; ++i) {
            source.dequantise(source.row(n0 + i), rows + i * source.K, static_cast<int64_t>(source.K));
        }
        body(task, rows);
    });
    return failure.take();
}

float channel_scale(NpuArithmetic arithmetic, const float* row, size_t K) {
    return arithmetic == NpuArithmetic::kInt8 ? channel_scale_int8(row, K) : channel_scale_fp16(row, K);
}

void pack_task(const WeightSource& source, PackedWeight& packed, const Task& task, const float* rows,
               const float* common_scale) {
    const WeightPlan& plan = packed.plan;
    const NTile& tile = plan.tiles[task.tile];
    const bool last = task.first + task.count == tile.n_count;
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        const KSegment& segment = plan.segments[s];
        float* const scales = packed.channel_scales[s].data() + tile.n0 + task.first;
        for (size_t i = 0; i < task.count; ++i) {
            scales[i] =
                common_scale != nullptr
                    ? *common_scale
                    : channel_scale(plan.arithmetic, rows + i * source.K + segment.k0, segment.k_count);
        }
        std::byte* const cell = packed.cells[s][task.tile].data();
        if (plan.arithmetic == NpuArithmetic::kInt8) {
            auto* const native = reinterpret_cast<int8_t*>(cell);
            pack_rows_int8(rows, source.K, task.first, task.count, segment.k0, segment.k_count,
                           segment.K_padded, tile.N_padded, native, scales);
            if (last) zero_kernels(tile.n_count, tile.N_padded, segment.K_padded, tile.N_padded, native);
        } else {
            auto* const native = reinterpret_cast<uint16_t*>(cell);
            pack_rows_fp16(rows, source.K, task.first, task.count, segment.k0, segment.k_count,
                           segment.K_padded, tile.N_padded, native, scales);
            if (last) zero_kernels(tile.n_count, tile.N_padded, segment.K_padded, tile.N_padded, native);
        }
    }
}

Result<float> scale_of_tensor(const WeightSource& source, const WeightPlan& plan, ThreadPool& pool) {
    std::mutex mutex;
    float largest = 0.0F;
    const Status status = for_each_task(source, plan, pool, [&](const Task& task, const float* rows) {
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
    float common_scale = 0.0F;
    if (packed.one_scale_per_tensor) {
        Result<float> scale = scale_of_tensor(source, plan, pool);
        RKNPU2_RETURN_IF_ERROR(scale.status());
        common_scale = scale.value();
    }
    const float* const common = packed.one_scale_per_tensor ? &common_scale : nullptr;
    return for_each_task(source, plan, pool, [&](const Task& task, const float* rows) {
        pack_task(source, packed, task, rows, common);
    });
}

}  // namespace rknpu2
