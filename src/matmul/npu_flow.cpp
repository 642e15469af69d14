// SPDX-License-Identifier: MIT
#include "matmul/npu_flow.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "device/cpu_team.hpp"
#include "kernels/quantise.hpp"

namespace rknpu2 {

bool NpuFlow::possible(const Config& config) {
    const bool by_cpu = std::ranges::find(config.on_error, OnError::kCpu) != config.on_error.end();
    return !by_cpu && config.precision != Precision::kReference && config.precision != Precision::kNaive;
}

NpuFlow::~NpuFlow() {
    if (!owns_.owns_lock()) return;
    while (npu_.lane != nullptr && npu_.lane->wait() != nullptr) {
    }
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
    RKNPU2_RETURN_IF_ERROR(npu_.check_process());
    owns_ = std::unique_lock(npu_.mutex);
    RKNPU2_RETURN_IF_ERROR(take_turn());
    chunks_ = std::move(chunks);
    npu_.activations.forget();  // their areas are used for something else now
    npu_.begin_call();
    states_ = std::vector<ChunkState>(chunks_.size());
    for (ChunkState& state : states_) {
        for (auto* const rows : {&state.scales, &state.sums}) {
            for (std::vector<float>& of_product : *rows)
                of_product.resize(cubes_of_a_chunk_ * kMaxRows);
        }
        state.cubes.resize(cubes_of_a_chunk_);
        state.results.resize(results_of_a_chunk_);
    }
    if (npu_.lane == nullptr) {
        npu_.lane = std::make_unique<NpuLane>(static_cast<size_t>(npu_.config.cores), npu_.pool.spins(),
                                              cpu_affinity(npu_.config), npu_.counters);
    }
    return make_everything();
}

// Areas and contexts.
Status NpuFlow::make_everything() {
    const auto make = [&] {
        Status status = npu_.memory.publish(*npu_.coherency);
        if (status.ok()) status = make_cubes();
        if (status.ok()) status = npu_.activations.rotated_rows().reserve(longest_rotated_);
        if (status.ok()) status = make_results();
        return status.ok() ? find_contexts() : status;
    };
    Recovery recovery = npu_.recovery();
    const auto again_after = [&](Status& failure) {
        if (failure.code() == StatusCode::kUnsupported) return false;
        const std::string name = products_[0].batches.name();
        if (npu_.context_limit.lowered_after(failure, name)) return true;
        if (failure.code() != StatusCode::kOutOfMemory)
            return recovery.again_after(failure, name, [&] { npu_.drop_all(); });
        npu_.drop_all();  // multiplications one by one need less
        return false;
    };
    return retry(make, again_after);
}

size_t NpuFlow::bucket(const Batch& batch, size_t chunk) const {
    return bucket_for(chunks_[chunk].count * batch.planes);
}

// A chunk's cubes serve one product after the other, those that want as many bytes.
Status NpuFlow::make_cubes() {
    for (const FlowProduct& product : products_) {
        for (const Batch& batch : product.batches) {
            for (size_t s = 0; s < batch.plan().segments.size(); ++s) {
                for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
                    RKNPU2_RETURN_IF_ERROR(cube(batch, s, chunk).status());
            }
        }
    }
    return {};
}

Result<Slice> NpuFlow::cube(const Batch& batch, size_t segment, size_t chunk) {
    const size_t index = chunk * cubes_of_a_chunk_ + batch.first_cube + segment;
    return npu_.areas.activations(batch.weights[0]->domain(), index,
                                  cube_bytes(batch.plan(), segment, bucket(batch, chunk)));
}

// Any chunk may be in any slot, so each slot has areas for every length of a chunk.
Status NpuFlow::make_results() {
    std::map<size_t, size_t> lengths;  // rows of a chunk -> one that has them
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
        lengths.emplace(chunks_[chunk].count, chunk);
    for (const FlowProduct& product : products_) {
        for (const Batch& batch : product.batches) {
            for (size_t i = 0; i < batch.runs.size() * kSlots; ++i) {
                const size_t index = batch.first_result * kSlots + i;
                for (const auto& [rows, chunk] : lengths)
                    RKNPU2_RETURN_IF_ERROR(result_area(npu_.areas, *batch.weights[0], *batch.runs[i / kSlots],
                                                       bucket(batch, chunk), index)
                                               .status());
            }
        }
    }
    return {};
}

// All of them now, so that none is dropped for another one while its core is at work, and the weights that
// they import.
Status NpuFlow::find_contexts() {
    std::set<ContextKey> keys;
    for (FlowProduct& product : products_) {
        product.contexts.clear();
        for (const Batch& batch : product.batches) {
            for (const Run* const run : batch.runs) {
                const ContextKey key = context_key(*batch.weights[0], *run);
                if (keys.insert(key).second && keys.size() > npu_.contexts.capacity())
                    return {StatusCode::kUnsupported, "too many shapes for one flow"};
                const Result<CachedContext*> context = npu_.contexts.get(key);
                RKNPU2_RETURN_IF_ERROR(context.status());
                product.contexts.push_back(context.value());
                RKNPU2_RETURN_IF_ERROR(
                    context.value()->view(Operand::kWeights, 0, run->weights, run->weight_bytes).status());
            }
        }
    }
    return {};
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
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    ChunkState& state = states_[chunk];
    for (const Batch& batch : products_[product].batches) {
        const std::vector<KSegment>& segments = batch.plan().segments;
        for (size_t s = 0; s < segments.size(); ++s) {
            const size_t index = batch.first_cube + s;
            const Cube cube{state.cubes[index].data(),
                            row_buckets()[bucket(batch, chunk)],
                            chunks_[chunk].count,
                            batch.planes,
                            state.scales[product % 2].data() + index * kMaxRows,
                            state.sums[product % 2].data() + index * kMaxRows,
                            0};
            quantise_rows(*batch.weights[0], segments[s], cube, {rows, stride}, first, count,
                          npu_.activations.rotated_rows());
        }
    }
    ++npu_.counters.cpu_tasks;
    if (!running_.empty()) ++npu_.counters.overlapped_tasks;
}

void NpuFlow::results(size_t product, size_t chunk, size_t first, size_t count,
                      std::span<const FloatRows> targets) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
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
    ++npu_.counters.cpu_tasks;
    if (!running_.empty()) ++npu_.counters.overlapped_tasks;
}

void NpuFlow::used(size_t chunk) {
    slot_taken_[std::exchange(states_[chunk].slot, SIZE_MAX)] = false;
}

}  // namespace rknpu2
