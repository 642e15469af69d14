// SPDX-License-Identifier: MIT
#include "matmul/activations.hpp"

#include <algorithm>

#include "kernels/quantise.hpp"

namespace rknpu2 {
namespace {

// A part is that many rows of a chunk for one segment, or as many as there are.
constexpr size_t kRowsPerPart = 16;

// Do weights with these plans have the same numbers in the cube? How many planes there are is the call's
// business.
bool same_numbers(const WeightPlan& a, const WeightPlan& b) {
    return a.K == b.K && a.segments == b.segments && a.recipe.arithmetic == b.recipe.arithmetic &&
           a.recipe.rotate == b.recipe.rotate &&
           a.recipe.one_scale_per_tensor == b.recipe.one_scale_per_tensor;
}

}  // namespace

void count_split_rows(const PackedWeight& weight, size_t segment, size_t planes, size_t rows,
                      Counters& counters) {
    const bool digits = weight.plan.recipe.arithmetic == NpuArithmetic::kInt4;
    if (digits && planes > 2 && segment == 0) counters.split_rows += rows;
}

bool ActivationStore::same_form(const PackedWeight& a, const PackedWeight& b) {
    return same_numbers(a.plan, b.plan) && a.domain() == b.domain() && a.input_factors == b.input_factors;
}

bool ActivationStore::serves(const PackedWeight& weight, const Activations& input, const Form& form) const {
    const auto small = [&](const RowChunk& chunk) { return row_buckets()[chunk.bucket] <= form.most_rows; };
    return kept_.input.version != 0 && kept_.input == input && kept_.planes == form.planes &&
           kept_.domain == weight.domain() && same_numbers(kept_.plan, weight.plan) &&
           kept_.factors == weight.input_factors && std::ranges::all_of(cubes_.chunks, small);
}

// Member by member: vectors keep their memory.
void ActivationStore::keep() {
    if (cubes_.quantised || cubes_.rows != input_.M) return;
    kept_.input = input_;
    kept_.plan = weight_->plan;
    kept_.domain = weight_->domain();
    kept_.factors = weight_->input_factors;
    kept_.planes = form_.planes;
}

void ActivationStore::clear() {
    forget();
    rotated_.clear();
}

Result<ActivationStore::Cubes*> ActivationStore::get(const PackedWeight& weight, const Activations& input,
                                                     size_t m0, size_t M, const Form& form) {
    cubes_.quantised = serves(weight, input, form);
    if (cubes_.quantised) {
        for (size_t cube = 0; cube < cubes_.slices.size(); ++cube)
            areas_.use_again(cube, cubes_.slices[cube]);
        return &cubes_;
    }
    forget();
    weight_ = &weight;
    input_ = input;
    m0_ = m0;
    form_ = form;
    cubes_.rows = M;
    plan_rows(M, form.planes, form.chunk_rows, cubes_.chunks);
    RKNPU2_RETURN_IF_ERROR(make_room(weight));
    return &cubes_;
}

Status ActivationStore::make_room(const PackedWeight& weight) {
    const WeightPlan& plan = weight.plan;
    const size_t count = cubes_.chunks.size() * plan.segments.size();
    cubes_.slices.clear();
    cubes_.synced.reset(count);
    cubes_.scales.resize(count * kMaxRows);
    cubes_.sums.assign(count * kMaxRows, 0.0F);
    cubes_.chunk_parts.clear();
    for (const RowChunk& chunk : cubes_.chunks) {
        for (size_t s = 0; s < plan.segments.size(); ++s) {
            const size_t bytes = cube_bytes(plan, s, chunk.bucket);
            cubes_.slices.push_back(
                RKNPU2_TAKE(areas_.activations(weight.domain(), cubes_.slices.size(), bytes)));
            counters_.activation_bytes += bytes;
        }
        cubes_.chunk_parts.push_back(plan.segments.size() * ceil_div(chunk.count, kRowsPerPart));
    }
    return plan.recipe.rotate ? rotated_.reserve(plan.longest_segment()) : Status();
}

void ActivationStore::quantise_part(size_t chunk, size_t part) {
    const PhaseTimer timer(counters_, Phase::kQuantise);
    const WeightPlan& plan = weight_->plan;
    const RowChunk& rows = cubes_.chunks[chunk];
    const size_t of_segment = ceil_div(rows.count, kRowsPerPart);
    const size_t segment = part / of_segment;
    const size_t first = part % of_segment * kRowsPerPart;
    const size_t index = chunk * plan.segments.size() + segment;
    const size_t count = std::min(kRowsPerPart, rows.count - first);
    count_split_rows(*weight_, segment, form_.planes, count, counters_);
    const Cube cube{cubes_.slices[index].data(),
                    row_buckets()[rows.bucket],
                    rows.count,
                    form_.planes,
                    cubes_.scales.data() + index * kMaxRows,
                    cubes_.sums.data() + index * kMaxRows,
                    form_.tensor_scale};
    quantise_rows(*weight_, plan.segments[segment], cube,
                  {input_.data + (m0_ + rows.m0 + first) * plan.K, plan.K}, first, count, rotated_);
}

}  // namespace rknpu2
