#include "matmul/activations.hpp"

#include <algorithm>

#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kRowsPerPart = 16;

// The same numbers in the cube, whatever it is multiplied by; how many planes there are is the call's
// business.
bool same_numbers(const Recipe& a, const Recipe& b) {
    return a.arithmetic == b.arithmetic && a.rotate == b.rotate &&
           a.one_scale_per_tensor == b.one_scale_per_tensor;
}

}  // namespace

bool ActivationStore::same_form(const PackedWeight& a, const PackedWeight& b) {
    return a.plan.K == b.plan.K && a.cells[0][0].domain == b.cells[0][0].domain &&
           same_numbers(a.plan.recipe, b.plan.recipe) && a.plan.segments == b.plan.segments &&
           a.input_factors == b.input_factors && a.channel_offsets.empty() == b.channel_offsets.empty();
}

bool ActivationStore::serves(const PackedWeight& weight, const Activations& input, size_t planes) const {
    return version_ != 0 && version_ == input.version && data_ == input.data && M_ == input.M &&
           K_ == weight.plan.K && planes_ == planes && domain_ == weight.cells[0][0].domain &&
           same_numbers(recipe_, weight.plan.recipe) && segments_ == weight.plan.segments &&
           factors_ == weight.input_factors;
}

void ActivationStore::keep() {
    if (cubes_.quantised || !whole_ || input_.version == 0) return;
    version_ = input_.version;
    data_ = input_.data;
    M_ = input_.M;
    K_ = weight_->plan.K;
    planes_ = form_.planes;
    domain_ = weight_->cells[0][0].domain;
    recipe_ = weight_->plan.recipe;
    segments_ = weight_->plan.segments;
    factors_ = weight_->input_factors;
}

void ActivationStore::clear() {
    forget();
    scratch_ = {};
}

Result<ActivationStore::Cubes*> ActivationStore::get(const PackedWeight& weight, const Activations& input,
                                                     size_t m0, size_t M, const Form& form) {
    if (serves(weight, input, form.planes)) {
        cubes_.quantised = true;
        return &cubes_;
    }
    forget();
    cubes_.quantised = false;
    weight_ = &weight;
    rows_ = input.data + m0 * weight.plan.K;
    form_ = form;
    input_ = input;
    whole_ = M == input.M;
    plan_rows(M, form.planes, form.chunk_rows, cubes_.chunks);
    RKNPU2_RETURN_IF_ERROR(make_room(weight));
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
    cubes_.chunk_parts.clear();
    for (size_t c = 0; c < cubes_.chunks.size(); ++c) {
        const RowChunk& chunk = cubes_.chunks[c];
        const size_t rows = row_buckets()[chunk.bucket];
        const size_t parts_before = parts_.size();
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
        cubes_.chunk_parts.push_back(parts_.size() - parts_before);
    }
    const size_t scratch = plan.recipe.rotate ? threads_ * kRowGroup * plan.longest_segment() : 0;
    if (scratch_.size() < scratch * sizeof(float)) {
        scratch_ = {};
        Result<AlignedBuffer> grown = AlignedBuffer::allocate(scratch * sizeof(float));
        RKNPU2_RETURN_IF_ERROR(grown.status());
        scratch_ = grown.take();
    }
    return {};
}

// The rows of a cube that no row of activations has.
void ActivationStore::zero_padding(size_t cube, const RowChunk& chunk, const KSegment& segment) {
    const size_t total = row_buckets()[chunk.bucket];
    const size_t used = chunk.count * form_.planes;
    std::byte* const data = cubes_.slices[cube].data();
    if (weight_->plan.recipe.arithmetic == NpuArithmetic::kFloat16) {
        zero_rows(used, total, segment.K_padded, total, reinterpret_cast<uint16_t*>(data));
    } else {
        zero_rows(used, total, segment.K_padded, total, reinterpret_cast<int8_t*>(data));
    }
}

void ActivationStore::quantise_part(size_t index) {
    const PhaseTimer timer(statistics_, Phase::kQuantise);
    const Part& part = parts_[index];
    const WeightPlan& plan = weight_->plan;
    size_t place = 0;
    while (taken_[place].exchange(true, std::memory_order_acquire))
        place = (place + 1) % threads_;
    const size_t scratch = place * kRowGroup * plan.longest_segment();
    float* const rotated = plan.recipe.rotate ? scratch_.as<float>() + scratch : nullptr;
    for (size_t m = part.first; m < part.first + part.count; m += kRowGroup)
        quantise_rows(part, m, std::min(kRowGroup, part.first + part.count - m), rotated);
    taken_[place].store(false, std::memory_order_release);
    if (part.first == 0) zero_padding(part.cube, cubes_.chunks[part.chunk], plan.segments[part.segment]);
}

// Rows m .. m+count-1 of the part's chunk; `rotated` has room for them.
void ActivationStore::quantise_rows(const Part& part, size_t m, size_t count, float* rotated) {
    const WeightPlan& plan = weight_->plan;
    const KSegment& segment = plan.segments[part.segment];
    const RowChunk& chunk = cubes_.chunks[part.chunk];
    const size_t K_padded = segment.K_padded;
    const size_t total = row_buckets()[chunk.bucket];
    auto* const int8_cube = reinterpret_cast<int8_t*>(cubes_.slices[part.cube].data());
    float* const scales = cubes_.scales.data() + part.cube * kMaxRows;
    const bool zero_points = !weight_->channel_offsets.empty();
    float* const sums = zero_points ? cubes_.sums.data() + part.cube * kMaxRows + m : nullptr;
    const float* const factors =
        weight_->input_factors.empty() ? nullptr : weight_->input_factors.data() + segment.k0;
    const float* from = rows_ + (chunk.m0 + m) * plan.K + segment.k0;
    size_t stride = plan.K;
    size_t K = segment.k_count;
    float absmax[kRowGroup];
    if (plan.recipe.rotate) {
        rotate_rows(from, stride, count, K, K_padded, factors, rotated, default_tier(), absmax);
        mix_blocks(rotated, count, K_padded, default_tier(), absmax);
        from = rotated;
        stride = K = K_padded;
    }
    if (plan.recipe.arithmetic == NpuArithmetic::kFloat16) {
        convert_rows_fp16(from, stride, count, K, K_padded, total, m, reinterpret_cast<uint16_t*>(int8_cube),
                          scales + m);
    } else if (plan.recipe.one_scale_per_tensor) {
        quantise_rows_int8_scaled(from, stride, count, K, K_padded, total, m, int8_cube, form_.tensor_scale,
                                  scales + m);
    } else {
        quantise_rows_int8(from, stride, count, K, K_padded, total, m, int8_cube, scales + m, default_tier(),
                           sums, plan.recipe.rotate ? absmax : nullptr);
    }
    if (form_.planes == 2) {
        quantise_residuals_int8(from, stride, count, K, K_padded, total, chunk.count + m, int8_cube,
                                scales + m, scales + chunk.count + m, default_tier(), sums);
    }
}

}  // namespace rknpu2
