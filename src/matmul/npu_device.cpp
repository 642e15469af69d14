#include "matmul/npu_device.hpp"

#include <algorithm>
#include <array>

#include "base/format.hpp"
#include "base/log.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/quantise.hpp"
#include "kernels/scale.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Contexts we keep: some below where runs are reported to begin to fail.
constexpr size_t kContextCapacity = 120;
static_assert(kContextCapacity < rk3588::kMaxContexts);

// What a CPU that simulates the NPU streams and multiplies in a nanosecond, roughly; the chip is faster at
// the latter. Only tells whether other threads are worth waking.
constexpr uint64_t kBytesPerNs = 10;
constexpr uint64_t kMacsPerNs = 50;

std::unique_ptr<WeightCache> weight_cache_of(const Config& config, Statistics& statistics) {
    if (config.weight_cache_directory.empty()) return nullptr;
    return std::make_unique<WeightCache>(config.weight_cache_directory,
                                         static_cast<uint64_t>(config.weight_cache_mb) << 20, statistics);
}

// One scale for all rows that are finite; the others become NaN by themselves.
float scale_of_rows(const float* a, size_t M, size_t K) {
    float largest = 0.0F;
    for (size_t m = 0; m < M; ++m) {
        const float here = row_absmax(a + m * K, K);
        if (here > largest) largest = here;
    }
    return int8_scale(largest);
}

}  // namespace

// One run of one core: which context, what it reads and writes, and where the result goes.
struct NpuDevice::Step {
    CachedContext* context;
    size_t chunk;
    size_t segment;
    size_t tile;
    View activations;
    View weights;
    View result;
    const std::byte* result_data;
};

// Some rows of a multiplication.
struct NpuDevice::Call {
    const PackedWeight& weight;
    size_t planes;  // as in Recipe
    ActivationStore::Cubes& cubes;
    float* out;  // of the first of these rows

    size_t cube(const Step& step) const { return step.chunk * weight.plan.segments.size() + step.segment; }
};

NpuDevice::NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Statistics& statistics)
    : runtime_(std::move(runtime)),
      config_(config),
      statistics_(statistics),
      pool_(team_size(config), cpu_affinity(config)),
      cache_(weight_cache_of(config, statistics)),
      memory_(*runtime_),
      contexts_(*runtime_, row_buckets(), kContextCapacity),
      areas_(memory_, contexts_),
      activations_(areas_, pool_, statistics),
      steps_(static_cast<size_t>(config.cores)) {}

NpuDevice::~NpuDevice() {
    areas_.clear();
    contexts_.clear();
}

size_t NpuDevice::device_bytes() {
    const std::lock_guard lock(mutex_);
    return memory_.bytes_in_use();
}

void NpuDevice::release(const PackedWeight& weight) {
    const std::lock_guard lock(mutex_);
    for (const auto& row : weight.cells) {
        for (const DeviceMemoryPool::Slice& cell : row) {
            contexts_.forget(cell.id);
            memory_.give_back(cell);
        }
    }
    // With the last weight gone nothing is worth keeping: an idle process holds no NPU memory and no context.
    if (--packed_weights_ == 0) {
        areas_.clear();
        contexts_.clear();
        activations_.clear();
    }
}

Status NpuDevice::multiply(const PackedWeight& weight, const Activations& input, float* out, size_t planes) {
    const std::lock_guard lock(mutex_);
    const WeightPlan& plan = weight.plan;
    const size_t used = planes == 0 ? plan.recipe.planes : planes;
    const float tensor_scale =
        plan.recipe.one_scale_per_tensor ? scale_of_rows(input.data, input.M, plan.K) : 0.0F;
    const size_t most = ActivationStore::kMaxChunks * rows_per_chunk(used);
    for (size_t m0 = 0; m0 < input.M; m0 += most) {
        const size_t M = std::min(most, input.M - m0);
        Result<ActivationStore::Cubes*> cubes = activations_.get(weight, input, m0, M, used, tensor_scale);
        RKNPU2_RETURN_IF_ERROR(cubes.status());
        Call call{weight, used, *cubes.value(), out + m0 * plan.N};
        RKNPU2_RETURN_IF_ERROR(schedule(call));
        RKNPU2_RETURN_IF_ERROR(run(call));
    }
    ++statistics_.npu_matmuls;
    ++(plan.recipe.arithmetic == NpuArithmetic::kInt8 ? statistics_.int8_matmuls : statistics_.fp16_matmuls);
    return {};
}

// Finds the context and the views for every run, core by core, so that the cores themselves touch nothing
// shared. A core goes through all rows with one tile of the weight before it takes the next.
Status NpuDevice::schedule(Call& call) {
    const WeightPlan& plan = call.weight.plan;
    const int domain = call.weight.cells[0][0].domain;
    for (auto& steps : steps_)
        steps.clear();
    size_t widest = 0;
    for (const NTile& tile : plan.tiles)
        widest = std::max(widest, tile.N_padded);
    size_t most_rows = 0;
    for (const RowChunk& chunk : call.cubes.chunks)
        most_rows = std::max(most_rows, row_buckets()[chunk.bucket]);
    const size_t result_bytes = dtype_bytes(result_type(plan.recipe.arithmetic), most_rows * widest);
    for (size_t t = 0; t < plan.tiles.size(); ++t) {
        Result<DeviceMemoryPool::Slice> result = areas_.result(domain, plan.tiles[t].core, result_bytes);
        RKNPU2_RETURN_IF_ERROR(result.status());
        for (size_t c = 0; c < call.cubes.chunks.size(); ++c) {
            for (size_t s = 0; s < plan.segments.size(); ++s)
                RKNPU2_RETURN_IF_ERROR(add_step(call, c, s, t, result.value()));
        }
    }
    return {};
}

Status NpuDevice::add_step(Call& call, size_t c, size_t s, size_t t, const DeviceMemoryPool::Slice& result) {
    const WeightPlan& plan = call.weight.plan;
    const NTile& tile = plan.tiles[t];
    const size_t bucket = call.cubes.chunks[c].bucket;
    const size_t cube = c * plan.segments.size() + s;
    Result<CachedContext*> context =
        contexts_.get({plan.recipe.arithmetic, plan.segments[s].K_padded, tile.N_padded, tile.core,
                       call.weight.cells[0][0].domain});
    RKNPU2_RETURN_IF_ERROR(context.status());
    CachedContext& cached = *context.value();
    Result<View> a = cached.view(Operand::kActivations, bucket, call.cubes.slices[cube]);
    Result<View> b = cached.view(Operand::kWeights, bucket, call.weight.cells[s][t]);
    Result<View> r = cached.view(Operand::kResult, bucket, result);
    for (const Result<View>* view : {&a, &b, &r})
        RKNPU2_RETURN_IF_ERROR(view->status());
    if (call.cubes.synced[cube] == 0) RKNPU2_RETURN_IF_ERROR(cached.sync_to_device(a.value()));
    call.cubes.synced[cube] = 1;
    steps_[static_cast<size_t>(tile.core)].push_back(
        {&cached, c, s, t, a.value(), b.value(), r.value(), result.data()});
    statistics_.weight_bytes += b.value().bytes;
    statistics_.result_bytes += r.value().bytes;
    return {};
}

Status NpuDevice::run(const Call& call) {
    std::array<Status, rk3588::kCores> statuses;
    std::array<const CachedContext*, rk3588::kCores> failed{};
    const WeightPlan& plan = call.weight.plan;
    uint64_t estimated_ns = 0;
    for (const RowChunk& chunk : call.cubes.chunks) {
        estimated_ns += std::max(plan.packed_bytes() / kBytesPerNs,
                                 row_buckets()[chunk.bucket] * plan.N * plan.K / kMacsPerNs);
    }
    const auto run = [&](size_t core) {
        statuses[core] = run_core(call, static_cast<int>(core), failed[core]);
    };
    pool_.parallel_for(steps_.size(), run, estimated_ns);
    for (const CachedContext* context : failed) {
        if (context == nullptr) continue;
        contexts_.drop(context);
        activations_.forget();
    }
    for (Status& status : statuses)
        RKNPU2_RETURN_IF_ERROR(std::move(status));
    return {};
}

// What does not come from the NPU: the bias, and the zero points of the channels times the sum of each row.
void NpuDevice::prepare_result(const Call& call, size_t c, const NTile& tile, float* out) {
    const PackedWeight& weight = call.weight;
    const size_t segments = weight.plan.segments.size();
    for (size_t m = 0; m < call.cubes.chunks[c].count; ++m) {
        float* const row = out + m * weight.plan.N;
        if (weight.bias.empty()) {
            std::fill_n(row, tile.n_count, 0.0F);
        } else {
            std::copy_n(weight.bias.data() + tile.n0, tile.n_count, row);
        }
        for (size_t s = 0; s < weight.channel_offsets.size(); ++s) {
            const float sum = call.cubes.row_sums(c * segments + s)[m];
            const float* const offsets = weight.channel_offsets[s].data() + tile.n0;
            for (size_t n = 0; n < tile.n_count; ++n)
                row[n] += sum * offsets[n];
        }
    }
}

Status NpuDevice::run_core(const Call& call, int core, const CachedContext*& failed) {
    for (const Step& step : steps_[static_cast<size_t>(core)]) {
        {
            const PhaseTimer timer(statistics_, Phase::kNpu);
            const size_t bucket = call.cubes.chunks[step.chunk].bucket;
            Status status = step.context->prepare(bucket, step.activations, step.weights, step.result);
            if (status.ok()) status = step.context->run();
            ++statistics_.runs;
            if (!status.ok()) {
                failed = step.context;
                return std::move(status).with_context(format("M=%zu K=%zu N=%zu on core %d",
                                                             row_buckets()[bucket], step.context->key().K,
                                                             step.context->key().N, core));
            }
        }
        const PhaseTimer timer(statistics_, Phase::kDequantise);
        dequantise(call, step);
    }
    return {};
}

// Adds one run's result to the floats. Segments and planes are added in ascending order, whatever the core:
// the bits do not depend on the schedule.
void NpuDevice::dequantise(const Call& call, const Step& step) {
    const PackedWeight& weight = call.weight;
    const WeightPlan& plan = weight.plan;
    const RowChunk& chunk = call.cubes.chunks[step.chunk];
    const size_t rows = row_buckets()[chunk.bucket];
    const NTile& tile = plan.tiles[step.tile];
    const float* const channel_scales = weight.channel_scales[step.segment].data() + tile.n0;
    const float* const row_scales = call.cubes.row_scales(call.cube(step));
    float* const out = call.out + chunk.m0 * plan.N + tile.n0;
    const bool prepared = !(weight.bias.empty() && weight.channel_offsets.empty());
    if (step.segment == 0 && prepared) prepare_result(call, step.chunk, tile, out);
    for (size_t plane = 0; plane < call.planes; ++plane) {
        const size_t m0 = plane * chunk.count;
        const bool first = step.segment == 0 && plane == 0 && !prepared;
        const Accumulate mode = first ? Accumulate::kStore : Accumulate::kAdd;
        if (plan.recipe.arithmetic == NpuArithmetic::kInt8) {
            dequantise_rows_int32(reinterpret_cast<const int32_t*>(step.result_data), rows, m0, chunk.count,
                                  tile.n_count, row_scales + m0, channel_scales, out, plan.N, mode);
        } else {
            scale_rows_fp32(reinterpret_cast<const float*>(step.result_data), rows, m0, chunk.count,
                            tile.n_count, row_scales + m0, channel_scales, out, plan.N, mode);
        }
    }
}

}  // namespace rknpu2
