// SPDX-License-Identifier: MIT
#include "matmul/batch.hpp"

#include <algorithm>

#include "device/recovery.hpp"
#include "matmul/activations.hpp"

namespace rknpu2 {

size_t Batch::columns() const {
    size_t N = 0;
    for (const PackedWeight* const weight : weights)
        N += weight->plan.N;
    return N;
}

std::string Batch::name() const {
    return name_and_others(weights[0]->source.name, weights.size());
}

void count_matmuls(const Batch& batch, Counters& counters) {
    switch (batch.plan().recipe.arithmetic) {
        case NpuArithmetic::kInt4:
            counters.int4_matmuls += batch.weights.size();
            break;
        case NpuArithmetic::kInt8:
            counters.int8_matmuls += batch.weights.size();
            break;
        default:
            counters.fp16_matmuls += batch.weights.size();
    }
    counters.npu_matmuls += batch.weights.size();
}

void BatchList::clear() {
    size_ = weights_ = cubes_ = results_ = 0;
}

void BatchList::add(const PackedWeight& weight, size_t planes) {
    // Digits belong together: a part of them is no number.
    if (planes == 0 || weight.plan.recipe.arithmetic == NpuArithmetic::kInt4) planes = weight.planes;
    const auto joins = [&](const Batch& batch) {
        return batch.planes == planes && ActivationStore::same_form(*batch.weights[0], weight);
    };
    const auto at = static_cast<size_t>(std::find_if(begin(), end(), joins) - begin());
    if (at == size_) {
        if (++size_ > batches_.size()) batches_.emplace_back();
        batches_[at].weights.clear();
        batches_[at].positions.clear();
        batches_[at].planes = planes;
    }
    batches_[at].weights.push_back(&weight);
    batches_[at].positions.push_back(weights_++);
}

void BatchList::lay_out() {
    for (size_t i = 0; i < size_; ++i) {
        Batch& batch = batches_[i];
        batch.strips.fill(batch.weights);
        batch.runs.clear();
        for (size_t strip = 0; strip < batch.strips.size(); ++strip)
            for (const Run& run : batch.strips[strip].runs)
                batch.runs.push_back(&run);
        batch.first_cube = cubes_;
        batch.first_result = results_;
        cubes_ += batch.plan().segments.size();
        results_ += batch.runs.size();
    }
}

std::string BatchList::name() const {
    return name_and_others(batches_[0].weights[0]->source.name, weights_);
}

}  // namespace rknpu2
