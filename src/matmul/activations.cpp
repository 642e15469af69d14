// SPDX-License-Identifier: MIT
#include "matmul/activations.hpp"

#include <algorithm>

#include "kernels/quantise.hpp"
#include "matmul/call_areas.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// A part is that many rows of a chunk for one segment, or as many as there are.
constexpr size_t kRowsPerPart = 16;

// The same numbers in the cube, whatever it is multiplied by; how many planes there are is the call's
// business.
bool same_numbers(const Recipe& a, const Recipe& b) {
    return a.arithmetic == b.arithmetic && a.rotate == b.rotate &&
           a.one_scale_per_tensor == b.one_scale_per_tensor;
}

}  // namespace

bool ActivationStore::same_form(const PackedWeight& a, const PackedWeight& b) {
    return a.plan.K == b.plan.K && a.domain() == b.domain() && same_numbers(a.plan.recipe, b.plan.recipe) &&
           a.plan.segments == b.plan.segments && a.input_factors == b.input_factors &&
           a.channel_offsets.empty() == b.channel_offsets.empty();
}

bool ActivationStore::serves(const PackedWeight& weight, const Activations& input, const Form& form) const {
    const auto small = [&](const RowChunk& chunk) { return row_buckets()[chunk.bucket] <= form.most_rows; };
    return version_ != 0 && version_ == input.version && data_ == input.data && M_ == input.M &&
           K_ == weight.plan.K && planes_ == form.planes && domain_ == weight.domain() &&
           same_numbers(recipe_, weight.plan.recipe) && segments_ == weight.plan.segments &&
           factors_ == weight.input_factors && std::all_of(cubes_.chunks.begin(), cubes_.chunks.end(), small);
}

void ActivationStore::keep() {
    if (cubes_.quantised || !whole_ || input_.version == 0) return;
    version_ = input_.version;
    data_ = input_.data;
    M_ = input_.M;
    K_ = weight_->plan.K;
    planes_ = form_.planes;
    domain_ = weight_->domain();
    recipe_ = weight_->plan.recipe;
    segments_ = weight_->plan.segments;
    factors_ = weight_->input_factors;
}

void ActivationStore::clear() {
    forget();
    rotated_.clear();
}

Result<ActivationStore::Cubes*> ActivationStore::get(const PackedWeight& weight, const Activations& input,
                                                     size_t m0, size_t M, const Form& form) {
    if (serves(weight, input, form)) {
        for (const DeviceMemoryPool::Slice& slice : cubes_.slices)
            areas_.use_again(slice);
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
    cubes_.rows = M;
    plan_rows(M, form.planes, form.chunk_rows, cubes_.chunks);
    RKNPU2_RETURN_IF_ERROR(make_room(weight));
    return &cubes_;
}

// Areas for the cubes, and the parts that the threads take.
Status ActivationStore::make_room(const PackedWeight& weight) {
    const WeightPlan& plan = weight.plan;
    const size_t count = cubes_.chunks.size() * plan.segments.size();
    cubes_.slices.resize(count);
    cubes_.synced.reset(count);
    cubes_.scales.resize(count * kMaxRows);
    cubes_.sums.assign(count * kMaxRows, 0.0F);
    cubes_.chunk_parts.clear();
    for (size_t c = 0; c < cubes_.chunks.size(); ++c) {
        const RowChunk& chunk = cubes_.chunks[c];
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const size_t cube = c * plan.segments.size() + s;
            Result<DeviceMemoryPool::Slice> area = cube_area(areas_, weight, s, chunk.bucket, cube);
            RKNPU2_RETURN_IF_ERROR(area.status());
            cubes_.slices[cube] = area.value();
            counters_.activation_bytes += cube_bytes(plan, s, chunk.bucket);
        }
        cubes_.chunk_parts.push_back(plan.segments.size() * ceil_div(chunk.count, kRowsPerPart));
    }
    return plan.recipe.rotate ? rotated_.reserve(plan.longest_segment()) : Status();
}

Cube ActivationStore::cube_of(size_t cube, const RowChunk& chunk) {
    return {cubes_.slices[cube].data(),
            row_buckets()[chunk.bucket],
            chunk.count,
            form_.planes,
            cubes_.scales.data() + cube * kMaxRows,
            cubes_.sums.data() + cube * kMaxRows,
            form_.tensor_scale};
}

void ActivationStore::quantise_part(size_t chunk, size_t part) {
    const PhaseTimer timer(counters_, Phase::kQuantise);
    const WeightPlan& plan = weight_->plan;
    const RowChunk& rows = cubes_.chunks[chunk];
    const size_t of_segment = ceil_div(rows.count, kRowsPerPart);
    const size_t segment = part / of_segment;
    const size_t first = part % of_segment * kRowsPerPart;
    quantise_rows(*weight_, plan.segments[segment], cube_of(chunk * plan.segments.size() + segment, rows),
                  {rows_ + (rows.m0 + first) * plan.K, plan.K}, first,
                  std::min(kRowsPerPart, rows.count - first), rotated_);
}

}  // namespace rknpu2
