#include "matmul/activations.hpp"

#include <algorithm>

#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Fewer activations than this are quantised faster by one thread than others wake up.
constexpr size_t kParallelElements = 32768;
constexpr size_t kRowsPerPart = 16;

// The same numbers in the cube, whatever it is multiplied by; how many planes there are is the call's
// business.
bool same_form(const Recipe& a, const Recipe& b) {
    return a.arithmetic == b.arithmetic && a.rotate == b.rotate &&
           a.one_scale_per_tensor == b.one_scale_per_tensor;
}

}  // namespace

bool ActivationStore::serves(const PackedWeight& weight, const Activations& input, size_t planes) const {
    return version_ != 0 && version_ == input.version && data_ == input.data && M_ == input.M &&
           K_ == weight.plan.K && planes_ == planes && domain_ == weight.cells[0][0].domain &&
           same_form(recipe_, weight.plan.recipe) && segments_ == weight.plan.segments &&
           factors_ == weight.input_factors;
}

void ActivationStore::remember(const PackedWeight& weight, const Activations& input, size_t planes) {
    version_ = input.version;
    data_ = input.data;
    M_ = input.M;
    K_ = weight.plan.K;
    planes_ = planes;
    domain_ = weight.cells[0][0].domain;
    recipe_ = weight.plan.recipe;
    segments_ = weight.plan.segments;
    factors_ = weight.input_factors;
}

void ActivationStore::clear() {
    forget();
    scratch_ = {};
}

Result<ActivationStore::Cubes*> ActivationStore::get(const PackedWeight& weight, const Activations& input,
                                                     size_t m0, size_t M, size_t planes, float tensor_scale) {
    if (serves(weight, input, planes)) {
        ++statistics_.activations_shared;
        return &cubes_;
    }
    const PhaseTimer timer(statistics_, Phase::kQuantise);
    forget();
    plan_rows(M, planes, cubes_.chunks);
    RKNPU2_RETURN_IF_ERROR(make_room(weight));
    quantise(weight, input.data + m0 * weight.plan.K, planes, tensor_scale);
    ++statistics_.activations_quantised;
    if (M == input.M && input.version != 0) remember(weight, input, planes);
    return &cubes_;
}

// Areas for the cubes, and the parts that the threads take.
Status ActivationStore::make_room(const PackedWeight& weight) {
    const WeightPlan& plan = weight.plan;
    const int domain = weight.cells[0][0].domain;
    const size_t count = cubes_.chunks.size() * plan.segments.size();
    cubes_.slices.resize(count);
    cubes_.synced.assign(count, 0);
    cubes_.scales.resize(count * kMaxRows);
    cubes_.sums.assign(count * kMaxRows, 0.0F);
    parts_.clear();
    for (size_t c = 0; c < cubes_.chunks.size(); ++c) {
        const RowChunk& chunk = cubes_.chunks[c];
        const size_t rows = row_buckets()[chunk.bucket];
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const size_t cube = c * plan.segments.size() + s;
            const size_t bytes =
                dtype_bytes(operand_type(plan.recipe.arithmetic), rows * plan.segments[s].K_padded);
            Result<DeviceMemoryPool::Slice> area = areas_.activations(domain, cube, bytes);
            RKNPU2_RETURN_IF_ERROR(area.status());
            cubes_.slices[cube] = area.value();
            statistics_.activation_bytes += bytes;
            for (size_t first = 0; first < chunk.count; first += kRowsPerPart)
                parts_.push_back({cube, c, s, first, std::min(kRowsPerPart, chunk.count - first)});
        }
    }
    const size_t scratch = plan.recipe.rotate ? parts_.size() * kRowGroup * plan.longest_segment() : 0;
    if (scratch_.size() < scratch * sizeof(float)) {
        scratch_ = {};
        Result<AlignedBuffer> grown = AlignedBuffer::allocate(scratch * sizeof(float));
        RKNPU2_RETURN_IF_ERROR(grown.status());
        scratch_ = grown.take();
    }
    return {};
}

void ActivationStore::quantise(const PackedWeight& weight, const float* rows, size_t planes,
                               float tensor_scale) {
    const WeightPlan& plan = weight.plan;
    size_t elements = 0;
    for (const RowChunk& chunk : cubes_.chunks)
        elements += chunk.count * plan.K;
    if (elements < kParallelElements) {
        for (const Part& part : parts_)
            quantise_part(weight, rows, planes, tensor_scale, part);
    } else {
        pool_.parallel_for(parts_.size(), [&](size_t index) {
            quantise_part(weight, rows, planes, tensor_scale, parts_[index]);
        });
    }
    for (size_t cube = 0; cube < cubes_.slices.size(); ++cube) {
        const RowChunk& chunk = cubes_.chunks[cube / plan.segments.size()];
        const size_t K_padded = plan.segments[cube % plan.segments.size()].K_padded;
        const size_t total = row_buckets()[chunk.bucket];
        std::byte* const data = cubes_.slices[cube].data();
        if (plan.recipe.arithmetic == NpuArithmetic::kFloat16) {
            zero_rows(chunk.count * planes, total, K_padded, total, reinterpret_cast<uint16_t*>(data));
        } else {
            zero_rows(chunk.count * planes, total, K_padded, total, reinterpret_cast<int8_t*>(data));
        }
    }
}

void ActivationStore::quantise_part(const PackedWeight& weight, const float* rows, size_t planes,
                                    float tensor_scale, const Part& part) {
    const WeightPlan& plan = weight.plan;
    const Recipe& recipe = plan.recipe;
    const KSegment& segment = plan.segments[part.segment];
    const RowChunk& chunk = cubes_.chunks[part.chunk];
    const size_t K_padded = segment.K_padded;
    const size_t total = row_buckets()[chunk.bucket];
    std::byte* const data = cubes_.slices[part.cube].data();
    auto* const int8_cube = reinterpret_cast<int8_t*>(data);
    auto* const half_cube = reinterpret_cast<uint16_t*>(data);
    float* const scales = cubes_.scales.data() + part.cube * kMaxRows;
    const bool zero_points = !weight.channel_offsets.empty();
    float* const sums = zero_points ? cubes_.sums.data() + part.cube * kMaxRows : nullptr;
    const float* const factors =
        weight.input_factors.empty() ? nullptr : weight.input_factors.data() + segment.k0;
    float* const rotated = recipe.rotate ? scratch_.as<float>() + static_cast<size_t>(&part - parts_.data()) *
                                                                      kRowGroup * plan.longest_segment()
                                         : nullptr;
    for (size_t m = part.first; m < part.first + part.count; m += kRowGroup) {
        const size_t count = std::min(kRowGroup, part.first + part.count - m);
        const float* from = rows + (chunk.m0 + m) * plan.K + segment.k0;
        size_t stride = plan.K;
        size_t K = segment.k_count;
        if (recipe.rotate) {
            rotate_rows(from, stride, count, K, K_padded, factors, rotated);
            mix_blocks(rotated, count, K_padded);
            from = rotated;
            stride = K = K_padded;
        }
        if (recipe.arithmetic == NpuArithmetic::kFloat16) {
            convert_rows_fp16(from, stride, count, K, K_padded, total, m, half_cube, scales + m);
        } else if (recipe.one_scale_per_tensor) {
            quantise_rows_int8_scaled(from, stride, count, K, K_padded, total, m, int8_cube, tensor_scale,
                                      scales + m);
        } else {
            quantise_rows_int8(from, stride, count, K, K_padded, total, m, int8_cube, scales + m,
                               kDefaultTier, sums == nullptr ? nullptr : sums + m);
        }
        if (planes == 2) {
            quantise_residuals_int8(from, stride, count, K, K_padded, total, chunk.count + m, int8_cube,
                                    scales + m, scales + chunk.count + m, kDefaultTier,
                                    sums == nullptr ? nullptr : sums + m);
        }
    }
}

}  // namespace rknpu2
