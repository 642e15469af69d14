// SPDX-License-Identifier: MIT
#include "matmul/npu_flow.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "device/cpu_team.hpp"
#include "kernels/quantise.hpp"
#include "matmul/call_areas.hpp"

namespace rknpu2 {

bool NpuFlow::possible(const Config& config) {
    const bool cpu =
        std::find(config.on_error.begin(), config.on_error.end(), OnError::kCpu) != config.on_error.end();
    return !cpu && config.precision != Precision::kReference && config.precision != Precision::kNaive;
}

NpuFlow::~NpuFlow() {
    if (!owns_.owns_lock()) return;
    while (device_.lane_ != nullptr && device_.lane_->wait() != nullptr) {
    }
}

size_t NpuFlow::team() const {
    return static_cast<size_t>(std::min(device_.pool_.threads(), cpu_threads(device_.config_)));
}

void NpuFlow::add_product(std::span<const PackedWeight* const> weights) {
    BatchList& batches = products_.emplace_back().batches;
    for (const PackedWeight* const weight : weights)
        batches.add(*weight);
    batches.lay_out();
    for (const Batch& batch : batches) {
        if (batch.plan().recipe.rotate)
            longest_rotated_ = std::max(longest_rotated_, batch.plan().longest_segment());
    }
    cubes_of_a_chunk_ = std::max(cubes_of_a_chunk_, batches.cubes());
    results_of_a_chunk_ = std::max(results_of_a_chunk_, batches.results());
}

Status NpuFlow::begin(std::vector<FlowChunk> chunks) {
    RKNPU2_RETURN_IF_ERROR(device_.check_process());
    owns_ = std::unique_lock(device_.mutex_);
    RKNPU2_RETURN_IF_ERROR(take_turn());
    chunks_ = std::move(chunks);
    device_.activations_.forget();  // their areas are used for something else now
    device_.begin_call();
    slot_taken_.assign(kSlots, 0);
    states_ = std::vector<ChunkState>(chunks_.size());
    for (ChunkState& state : states_) {
        for (auto* const rows : {&state.scales, &state.sums}) {
            for (std::vector<float>& of_product : *rows)
                of_product.resize(cubes_of_a_chunk_ * kMaxRows);
        }
        state.cubes.resize(cubes_of_a_chunk_);
        state.results.resize(results_of_a_chunk_);
    }
    if (device_.lane_ == nullptr) {
        device_.lane_ =
            std::make_unique<NpuLane>(static_cast<size_t>(device_.config_.cores), device_.pool_.spins(),
                                      cpu_affinity(device_.config_), device_.counters_);
    }
    return make_everything();
}

// Areas and contexts.
Status NpuFlow::make_everything() {
    Recovery recovery(device_.config_, device_.counters_.faults, device_.fault_lines_);
    while (true) {
        Status status = device_.memory_.publish(*device_.coherency_);
        if (status.ok()) status = make_cubes();
        if (status.ok()) status = device_.activations_.rotated_rows().reserve(longest_rotated_);
        if (status.ok()) status = make_results();
        if (status.ok()) status = find_contexts();
        if (status.ok() || status.code() == StatusCode::kUnsupported) return status;
        if (device_.context_limit_.lowered_after(status, products_[0].batches.name())) continue;
        if (status.code() == StatusCode::kOutOfMemory) {
            device_.drop_all();  // multiplications one by one need less
            return status;
        }
        const OnError step = recovery.next(status, products_[0].batches.name());
        if (step == OnError::kFail || step == OnError::kCpu) return status;
        if (step == OnError::kReset) device_.drop_all();
    }
}

size_t NpuFlow::bucket(const Batch& batch, size_t chunk) const {
    return bucket_for(chunks_[chunk].count * batch.planes);
}

// A chunk's cubes serve one product after the other, those that want as many bytes.
Status NpuFlow::make_cubes() {
    for (const FlowProduct& product : products_) {
        for (const Batch& batch : product.batches) {
            const size_t segments = batch.plan().segments.size();
            for (size_t i = 0; i < chunks_.size() * segments; ++i) {
                const size_t chunk = i / segments;
                const size_t s = i % segments;
                RKNPU2_RETURN_IF_ERROR(cube(batch, s, chunk).status());
            }
        }
    }
    return {};
}

Result<DeviceMemoryPool::Slice> NpuFlow::cube(const Batch& batch, size_t segment, size_t chunk) {
    const size_t index = chunk * cubes_of_a_chunk_ + batch.first_cube + segment;
    return cube_area(device_.areas_, *batch.weights[0], segment, bucket(batch, chunk), index);
}

// Any chunk may be in any slot.
Status NpuFlow::make_results() {
    std::map<size_t, size_t> counts;  // rows of a chunk -> one that has them
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
        counts.emplace(chunks_[chunk].count, chunk);
    for (const FlowProduct& product : products_) {
        for (const Batch& batch : product.batches) {
            for (size_t i = 0; i < batch.runs.size() * kSlots; ++i) {
                const size_t run = i / kSlots;
                for (const auto& [rows, chunk] : counts) {
                    RKNPU2_RETURN_IF_ERROR(result_area(device_.areas_, *batch.weights[0], *batch.runs[run],
                                                       bucket(batch, chunk),
                                                       {batch.first_result + run, i % kSlots, kSlots})
                                               .status());
                }
            }
        }
    }
    return {};
}

// All of them now, so that none is dropped for another one while its core is at work, and the weights that
// they import.
Status NpuFlow::find_contexts() {
    std::map<ContextKey, CachedContext*> contexts;
    for (FlowProduct& product : products_) {
        product.contexts.clear();
        for (const Batch& batch : product.batches) {
            for (const Run* const run : batch.runs) {
                const ContextKey key = context_key(*batch.weights[0], *run);
                auto found = contexts.find(key);
                if (found == contexts.end()) {
                    if (contexts.size() == device_.contexts_.capacity())
                        return {StatusCode::kUnsupported, "too many shapes for one flow"};
                    Result<CachedContext*> context = device_.contexts_.get(key);
                    RKNPU2_RETURN_IF_ERROR(context.status());
                    found = contexts.emplace(key, context.value()).first;
                }
                const Result<View> weights =
                    found->second->view(Operand::kWeights, 0, run->weights, run->weight_bytes);
                RKNPU2_RETURN_IF_ERROR(weights.status());
                product.contexts.push_back(found->second);
            }
        }
    }
    return {};
}

Cube NpuFlow::cube_of(size_t product, const Batch& batch, size_t segment, size_t chunk) {
    ChunkState& state = states_[chunk];
    const size_t cube = batch.first_cube + segment;
    return {state.cubes[cube].data(),
            row_buckets()[bucket(batch, chunk)],
            chunks_[chunk].count,
            batch.planes,
            state.scales[product % 2].data() + cube * kMaxRows,
            state.sums[product % 2].data() + cube * kMaxRows,
            0};
}

void NpuFlow::prepare(size_t product, size_t chunk) {
    ChunkState& state = states_[chunk];
    for (const Batch& batch : products_[product].batches) {
        for (size_t s = 0; s < batch.plan().segments.size(); ++s) {
            // It is there since begin(), and large enough.
            state.cubes[batch.first_cube + s] = cube(batch, s, chunk).value();
        }
    }
    std::vector<float>& sums = state.sums[product % 2];
    std::fill(sums.begin(), sums.end(), 0.0F);
}

void NpuFlow::quantise(size_t product, size_t chunk, size_t first, size_t count, const float* rows,
                       size_t stride) {
    const PhaseTimer timer(device_.counters_, Phase::kQuantise);
    for (const Batch& batch : products_[product].batches) {
        const PackedWeight& weight = *batch.weights[0];
        for (size_t s = 0; s < weight.plan.segments.size(); ++s) {
            quantise_rows(weight, weight.plan.segments[s], cube_of(product, batch, s, chunk), {rows, stride},
                          first, count, device_.activations_.rotated_rows());
        }
    }
    ++device_.counters_.cpu_tasks;
    if (!running_.empty()) ++device_.counters_.overlapped_tasks;
}

void NpuFlow::results(size_t product, size_t chunk, size_t first, size_t count,
                      std::span<const FloatRows> targets) {
    const PhaseTimer timer(device_.counters_, Phase::kDequantise);
    const ChunkState& state = states_[chunk];
    for (const Batch& batch : products_[product].batches) {
        const ResultRows rows{first,
                              count,
                              chunks_[chunk].count,
                              batch.planes,
                              state.scales[product % 2].data() + batch.first_cube * kMaxRows,
                              state.sums[product % 2].data() + batch.first_cube * kMaxRows};
        size_t result = batch.first_result;
        for (size_t strip = 0; strip < batch.strips.size(); ++strip) {
            add_strip(
                batch.weights, batch.strips[strip], SIZE_MAX, rows,
                [&](size_t run) { return state.results[result + run]; },
                [&](const CellResult& cell) {
                    const FloatRows& target = targets[batch.positions[cell.product]];
                    return FloatRows{target.data + batch.weights[cell.product]->plan.tiles[cell.tile].n0,
                                     target.stride};
                });
            result += batch.strips[strip].runs.size();
        }
    }
    ++device_.counters_.cpu_tasks;
    if (!running_.empty()) ++device_.counters_.overlapped_tasks;
}

void NpuFlow::used(size_t chunk) {
    slot_taken_[std::exchange(states_[chunk].slot, SIZE_MAX)] = 0;
}

}  // namespace rknpu2
