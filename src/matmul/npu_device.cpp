#include "matmul/npu_device.hpp"

#include <algorithm>
#include <array>

#include "base/aligned_buffer.hpp"
#include "base/format.hpp"
#include "base/log.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "kernels/scale.hpp"
#include "matmul/packer.hpp"
#include "matmul/rotation_choice.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Contexts we keep: some below where runs are reported to begin to fail.
constexpr size_t kContextCapacity = 120;
static_assert(kContextCapacity < rk3588::kMaxContexts);

// Fewer activations than this are quantised faster by one thread than others wake up.
constexpr size_t kParallelElements = 32768;
constexpr size_t kRowsPerTask = 16;

// What a CPU that simulates the NPU streams and multiplies in a nanosecond, roughly; the chip is faster at
// the latter. Only tells whether other threads are worth waking.
constexpr uint64_t kBytesPerNs = 10;
constexpr uint64_t kMacsPerNs = 50;

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
    size_t segment;
    size_t tile;
    View activations;
    View weights;
    View result;
    const std::byte* result_data;
};

struct NpuDevice::Call {
    const PackedWeight& weight;
    const float* a;
    float* out;
    size_t planes;                                     // as in Recipe
    float tensor_scale = 0.0F;                         // naive precision
    std::vector<DeviceMemoryPool::Slice> activations;  // by segment
    std::vector<std::vector<float>> row_scales;        // [segment][row of the chunk]
    std::vector<std::vector<float>> row_sums;          // [segment][row], of the rounded activations
    std::array<std::vector<Step>, rk3588::kCores> steps;
};

NpuDevice::NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Statistics& statistics)
    : runtime_(std::move(runtime)),
      config_(config),
      statistics_(statistics),
      pool_(team_size(config), cpu_affinity(config)),
      memory_(*runtime_),
      contexts_(*runtime_, kContextCapacity),
      areas_(memory_, contexts_) {}

NpuDevice::~NpuDevice() {
    areas_.clear();
    contexts_.clear();
}

size_t NpuDevice::device_bytes() {
    const std::lock_guard lock(mutex_);
    return memory_.bytes_in_use();
}

Result<std::shared_ptr<PackedWeight>> NpuDevice::pack(const WeightSource& source) {
    const PhaseTimer timer(statistics_, Phase::kPack);
    auto packed = std::make_shared<PackedWeight>();
    const std::optional<StatisticsLibrary::Found> found =
        library_ == nullptr ? std::nullopt : library_->find(source);
    const Result<Recipe> recipe = recipe_for(source, found);
    RKNPU2_RETURN_IF_ERROR(recipe.status());
    packed->plan = plan_weight(source.N, source.K, recipe.value(), config_.cores);
    const WeightPlan& plan = packed->plan;
    std::vector<size_t> sizes;
    for (const KSegment& segment : plan.segments) {
        for (const NTile& tile : plan.tiles)
            sizes.push_back(plan.cell_bytes(segment, tile));
    }
    {
        const std::lock_guard lock(mutex_);
        Result<std::vector<DeviceMemoryPool::Slice>> slices = memory_.allocate_together(sizes);
        RKNPU2_RETURN_IF_ERROR(slices.status());
        auto next = slices.value().begin();
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const auto count = static_cast<std::ptrdiff_t>(plan.tiles.size());
            packed->cells.emplace_back(next, next + count);
            next += count;
        }
        ++packed_weights_;
        packed->release = [device = shared_from_this()](const PackedWeight& weight) {
            device->release(weight);
        };
    }
    RKNPU2_RETURN_IF_ERROR(pack_weight(source, found ? &found->entry : nullptr, *packed, pool_));
    statistics_.add_weight({source.name, source.type_name, source.K, source.N,
                            dtype_name(operand_type(plan.recipe.arithmetic)), plan.packed_bytes(),
                            !packed->bias.empty(), plan.recipe.planes, plan.recipe.rotate});
    progress_.add(plan.packed_bytes());
    return packed;
}

void NpuDevice::use_statistics(std::unique_ptr<StatisticsLibrary> library) {
    library_ = std::move(library);
}

Result<Recipe> NpuDevice::recipe_for(const WeightSource& source,
                                     const std::optional<StatisticsLibrary::Found>& found) const {
    Recipe recipe = recipe_of(config_.precision);
    if (!recipe.rotate) return recipe;
    if (found) {
        // A run that measures sensitivities compares with two planes everywhere.
        if (config_.sensitivity_file.empty()) recipe.planes = std::min(recipe.planes, found->planes.planes);
        return recipe;
    }
    const Result<double> cost = cost_of_rotation(source);
    RKNPU2_RETURN_IF_ERROR(cost.status());
    recipe.rotate = cost.value() <= kRotationMayCost;
    return recipe;
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
        rotated_ = {};
    }
}

Status NpuDevice::multiply(const PackedWeight& weight, const float* a, size_t M, float* out, size_t planes) {
    const std::lock_guard lock(mutex_);
    const Recipe& recipe = weight.plan.recipe;
    Call call{weight, a, out, planes == 0 ? recipe.planes : planes, 0.0F, {}, {}, {}, {}};
    if (recipe.one_scale_per_tensor) call.tensor_scale = scale_of_rows(a, M, weight.plan.K);
    for (const RowChunk& chunk : plan_rows(M, call.planes))
        RKNPU2_RETURN_IF_ERROR(multiply_chunk(call, chunk));
    ++statistics_.npu_matmuls;
    ++(recipe.arithmetic == NpuArithmetic::kInt8 ? statistics_.int8_matmuls : statistics_.fp16_matmuls);
    return {};
}

Status NpuDevice::multiply_chunk(Call& call, const RowChunk& chunk) {
    RKNPU2_RETURN_IF_ERROR(write_activations(call, chunk));
    RKNPU2_RETURN_IF_ERROR(schedule(call, chunk));
    std::array<Status, rk3588::kCores> statuses;
    std::array<const CachedContext*, rk3588::kCores> failed{};
    const WeightPlan& plan = call.weight.plan;
    const uint64_t estimated_ns = std::max(plan.packed_bytes() / kBytesPerNs,
                                           row_buckets()[chunk.bucket] * plan.N * plan.K / kMacsPerNs);
    const auto run = [&](size_t core) {
        statuses[core] = run_core(call, chunk, static_cast<int>(core), failed[core]);
    };
    pool_.parallel_for(static_cast<size_t>(config_.cores), run, estimated_ns);
    for (const CachedContext* context : failed) {
        if (context != nullptr) contexts_.drop(context);
    }
    for (Status& status : statuses)
        RKNPU2_RETURN_IF_ERROR(std::move(status));
    return {};
}

// Fills the activations' cubes, one for each K segment: first the real rows, then those of the second plane
// if there is one, then zeros up to the bucket.
Status NpuDevice::write_activations(Call& call, const RowChunk& chunk) {
    const PhaseTimer timer(statistics_, Phase::kQuantise);
    const WeightPlan& plan = call.weight.plan;
    const size_t rows = row_buckets()[chunk.bucket];
    const int domain = call.weight.cells[0][0].domain;
    call.activations.resize(plan.segments.size());
    call.row_scales.resize(plan.segments.size());
    call.row_sums.resize(plan.segments.size());
    for (size_t s = 0; s < plan.segments.size(); ++s) {
        const size_t bytes =
            dtype_bytes(operand_type(plan.recipe.arithmetic), rows * plan.segments[s].K_padded);
        Result<DeviceMemoryPool::Slice> area = areas_.activations(domain, s, bytes);
        RKNPU2_RETURN_IF_ERROR(area.status());
        call.activations[s] = area.value();
        call.row_scales[s].resize(chunk.count * call.planes);
        call.row_sums[s].assign(chunk.count, 0.0F);
        RKNPU2_RETURN_IF_ERROR(quantise_segment(call, chunk, s));
        statistics_.activation_bytes += bytes;
    }
    return {};
}

// Room for the rotated rows of a chunk, kept for the next ones.
Result<float*> NpuDevice::rotation_scratch(size_t elements) {
    if (rotated_.size() < elements * sizeof(float)) {
        rotated_ = {};
        Result<AlignedBuffer> grown = AlignedBuffer::allocate(elements * sizeof(float));
        RKNPU2_RETURN_IF_ERROR(grown.status());
        rotated_ = grown.take();
    }
    return rotated_.as<float>();
}

Status NpuDevice::quantise_segment(Call& call, const RowChunk& chunk, size_t s) {
    const WeightPlan& plan = call.weight.plan;
    const Recipe& recipe = plan.recipe;
    const KSegment& segment = plan.segments[s];
    const size_t K_padded = segment.K_padded;
    const size_t rows = row_buckets()[chunk.bucket];
    std::byte* const cube = call.activations[s].data();
    auto* const int8_cube = reinterpret_cast<int8_t*>(cube);
    auto* const half_cube = reinterpret_cast<uint16_t*>(cube);
    float* const scales = call.row_scales[s].data();
    float* const sums = call.row_sums[s].data();
    const bool zero_points = !call.weight.channel_offsets.empty();
    const std::vector<float>& smoothing = call.weight.input_factors;
    const float* const factors = smoothing.empty() ? nullptr : smoothing.data() + segment.k0;
    float* rotated = nullptr;
    if (recipe.rotate) {
        Result<float*> scratch = rotation_scratch(chunk.count * K_padded);
        RKNPU2_RETURN_IF_ERROR(scratch.status());
        rotated = scratch.value();
    }
    const auto quantise = [&](size_t first, size_t count) {
        const float* from = call.a + (chunk.m0 + first) * plan.K + segment.k0;
        size_t stride = plan.K;
        size_t K = segment.k_count;
        if (recipe.rotate) {
            float* const to = rotated + first * K_padded;
            rotate_rows(from, stride, count, K, K_padded, factors, to);
            mix_blocks(to, count, K_padded);
            from = to;
            stride = K = K_padded;
        }
        if (recipe.arithmetic == NpuArithmetic::kFloat16) {
            convert_rows_fp16(from, stride, count, K, K_padded, rows, first, half_cube, scales + first);
        } else if (recipe.one_scale_per_tensor) {
            quantise_rows_int8_scaled(from, stride, count, K, K_padded, rows, first, int8_cube,
                                      call.tensor_scale, scales + first);
        } else {
            quantise_rows_int8(from, stride, count, K, K_padded, rows, first, int8_cube, scales + first);
        }
        if (call.planes == 2) {
            quantise_residuals_int8(from, stride, count, K, K_padded, rows, chunk.count + first, int8_cube,
                                    scales + first, scales + chunk.count + first);
        }
        for (size_t plane = 0; zero_points && plane < call.planes; ++plane) {
            const size_t m0 = plane * chunk.count + first;
            add_row_sums_int8(int8_cube, rows, m0, count, K_padded, scales + m0, sums + first);
        }
    };
    if (chunk.count * segment.k_count < kParallelElements) {
        quantise(0, chunk.count);
    } else {
        pool_.parallel_for(ceil_div(chunk.count, kRowsPerTask), [&](size_t task) {
            const size_t first = task * kRowsPerTask;
            quantise(first, std::min(kRowsPerTask, chunk.count - first));
        });
    }
    const size_t used = chunk.count * call.planes;
    if (recipe.arithmetic == NpuArithmetic::kFloat16) {
        zero_rows(used, rows, K_padded, rows, half_cube);
    } else {
        zero_rows(used, rows, K_padded, rows, int8_cube);
    }
    return {};
}

// Finds the context and the views for every run, core by core, so that the cores themselves touch nothing
// shared.
Status NpuDevice::schedule(Call& call, const RowChunk& chunk) {
    const WeightPlan& plan = call.weight.plan;
    const int domain = call.weight.cells[0][0].domain;
    const size_t rows = row_buckets()[chunk.bucket];
    std::vector<bool> synced(plan.segments.size(), false);
    for (auto& steps : call.steps)
        steps.clear();
    size_t widest = 0;
    for (const NTile& tile : plan.tiles)
        widest = std::max(widest, tile.N_padded);
    for (size_t t = 0; t < plan.tiles.size(); ++t) {
        const NTile& tile = plan.tiles[t];
        Result<DeviceMemoryPool::Slice> result =
            areas_.result(domain, tile.core, dtype_bytes(result_type(plan.recipe.arithmetic), rows * widest));
        RKNPU2_RETURN_IF_ERROR(result.status());
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            Result<CachedContext*> context = contexts_.get({plan.recipe.arithmetic, plan.segments[s].K_padded,
                                                            tile.N_padded, row_buckets(), tile.core, domain});
            RKNPU2_RETURN_IF_ERROR(context.status());
            CachedContext& cached = *context.value();
            Result<View> a = cached.view(Operand::kActivations, chunk.bucket, call.activations[s]);
            Result<View> b = cached.view(Operand::kWeights, chunk.bucket, call.weight.cells[s][t]);
            Result<View> c = cached.view(Operand::kResult, chunk.bucket, result.value());
            for (const Result<View>* view : {&a, &b, &c})
                RKNPU2_RETURN_IF_ERROR(view->status());
            if (!synced[s]) RKNPU2_RETURN_IF_ERROR(cached.sync_to_device(a.value()));
            synced[s] = true;
            call.steps[static_cast<size_t>(tile.core)].push_back(
                {&cached, s, t, a.value(), b.value(), c.value(), result.value().data()});
            statistics_.weight_bytes += b.value().bytes;
            statistics_.result_bytes += c.value().bytes;
        }
    }
    return {};
}

// What does not come from the NPU: the bias, and the zero points of the channels times the sum of each row.
void NpuDevice::prepare_result(const Call& call, const RowChunk& chunk, const NTile& tile, float* out) {
    const PackedWeight& weight = call.weight;
    for (size_t m = 0; m < chunk.count; ++m) {
        float* const row = out + m * weight.plan.N;
        if (weight.bias.empty()) {
            std::fill_n(row, tile.n_count, 0.0F);
        } else {
            std::copy_n(weight.bias.data() + tile.n0, tile.n_count, row);
        }
        for (size_t s = 0; s < weight.channel_offsets.size(); ++s) {
            const float sum = call.row_sums[s][m];
            const float* const offsets = weight.channel_offsets[s].data() + tile.n0;
            for (size_t n = 0; n < tile.n_count; ++n)
                row[n] += sum * offsets[n];
        }
    }
}

Status NpuDevice::run_core(const Call& call, const RowChunk& chunk, int core, const CachedContext*& failed) {
    const WeightPlan& plan = call.weight.plan;
    const size_t rows = row_buckets()[chunk.bucket];
    for (const Step& step : call.steps[static_cast<size_t>(core)]) {
        {
            const PhaseTimer timer(statistics_, Phase::kNpu);
            Status status = step.context->prepare(chunk.bucket, step.activations, step.weights, step.result);
            if (status.ok()) status = step.context->run();
            ++statistics_.runs;
            if (!status.ok()) {
                failed = step.context;
                return std::move(status).with_context(format("M=%zu K=%zu N=%zu on core %d", rows,
                                                             step.context->spec().K, step.context->spec().N,
                                                             core));
            }
        }
        const PhaseTimer timer(statistics_, Phase::kDequantise);
        const NTile& tile = plan.tiles[step.tile];
        const float* const channel_scales = call.weight.channel_scales[step.segment].data() + tile.n0;
        const float* const row_scales = call.row_scales[step.segment].data();
        float* const out = call.out + chunk.m0 * plan.N + tile.n0;
        const bool prepared = !(call.weight.bias.empty() && call.weight.channel_offsets.empty());
        if (step.segment == 0 && prepared) prepare_result(call, chunk, tile, out);
        // Segments and planes are added in ascending order, whatever the core: the bits do not depend on the
        // schedule.
        for (size_t plane = 0; plane < call.planes; ++plane) {
            const size_t m0 = plane * chunk.count;
            const bool first = step.segment == 0 && plane == 0 && !prepared;
            const Accumulate mode = first ? Accumulate::kStore : Accumulate::kAdd;
            if (plan.recipe.arithmetic == NpuArithmetic::kInt8) {
                dequantise_rows_int32(reinterpret_cast<const int32_t*>(step.result_data), rows, m0,
                                      chunk.count, tile.n_count, row_scales + m0, channel_scales, out, plan.N,
                                      mode);
            } else {
                scale_rows_fp32(reinterpret_cast<const float*>(step.result_data), rows, m0, chunk.count,
                                tile.n_count, row_scales + m0, channel_scales, out, plan.N, mode);
            }
        }
    }
    return {};
}

}  // namespace rknpu2
