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
    for (size_t chunk = 0; chunk < states_.size(); ++chunk)
        if (!states_[chunk].job.status.ok()) drop_results(chunk);
    npu_.areas.hold(false);
}

void NpuFlow::add_group(std::span<const PackedWeight* const> weights) {
    BatchList& batches = groups_.emplace_back().batches;
    for (const PackedWeight* const weight : weights)
        batches.add(*weight);
    batches.lay_out();
    for (const Batch& batch : batches)
        if (batch.plan().recipe.rotate)
            longest_rotated_ = std::max(longest_rotated_, batch.plan().longest_segment());
    cubes_of_a_chunk_ = std::max(cubes_of_a_chunk_, batches.cubes());
    results_of_a_chunk_ = std::max(results_of_a_chunk_, batches.results());
}

Status NpuFlow::begin(std::vector<FlowChunk> chunks) {
    RKNPU2_RETURN_IF_ERROR(npu_.check_process());
    for (const FlowGroup& group : groups_)
        for (const Batch& batch : group.batches)
            for (const FlowChunk& chunk : chunks)
                if (chunk.count * batch.planes > most_cube_rows(batch.plan().recipe.arithmetic))
                    return {StatusCode::kUnsupported, "too many pieces of a row for a flow"};
    owns_ = std::unique_lock(npu_.mutex);
    RKNPU2_RETURN_IF_ERROR(turn_.take(npu_.lock.get()));
    chunks_ = std::move(chunks);
    npu_.activations.forget();  // their areas are used for something else now
    npu_.begin_call();
    states_ = std::vector<ChunkState>(chunks_.size());
    for (ChunkState& state : states_) {
        for (auto* const rows : {&state.scales, &state.sums})
            for (std::vector<float>& of_group : *rows)
                of_group.resize(cubes_of_a_chunk_ * kMaxRows);
        state.cubes.resize(cubes_of_a_chunk_);
        state.results.resize(results_of_a_chunk_);
    }
    npu_.get_lane();
    RKNPU2_RETURN_IF_ERROR(make_everything());
    npu_.areas.hold(true);
    return {};
}

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
        const std::string name = groups_[0].batches.name();
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

// A chunk's cubes serve one group after the other, those that want as many bytes.
Status NpuFlow::make_cubes() {
    for (const FlowGroup& group : groups_) {
        for (const Batch& batch : group.batches) {
            for (size_t s = 0; s < batch.plan().segments.size(); ++s)
                for (size_t chunk = 0; chunk < chunks_.size(); ++chunk)
                    RKNPU2_RETURN_IF_ERROR(cube(batch, s, chunk).status());
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
    for (const FlowGroup& group : groups_) {
        for (const Batch& batch : group.batches) {
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

// Asks for all contexts and imports now, so that none is dropped for another one while its core is at work.
Status NpuFlow::find_contexts() {
    std::set<ContextKey> keys;
    for (FlowGroup& group : groups_) {
        group.contexts.clear();
        for (const Batch& batch : group.batches) {
            for (const Run* const run : batch.runs) {
                const ContextKey key = context_key(*batch.weights[0], *run);
                if (keys.insert(key).second && keys.size() + contexts_of_others_ > npu_.contexts.capacity())
                    return {StatusCode::kUnsupported, "too many shapes for one flow"};
                CachedContext* const context = RKNPU2_TAKE(npu_.contexts.get(key));
                group.contexts.push_back(context);
                RKNPU2_RETURN_IF_ERROR(
                    context->view(Operand::kWeights, 0, run->weights, run->weight_bytes).status());
            }
        }
    }
    return {};
}

void NpuFlow::prepare(size_t group, size_t chunk) {
    ChunkState& state = states_[chunk];
    for (const Batch& batch : groups_[group].batches) {
        for (size_t s = 0; s < batch.plan().segments.size(); ++s) {
            // It is there since begin(), and large enough.
            state.cubes[batch.first_cube + s] = cube(batch, s, chunk).value();
        }
    }
    std::vector<float>& sums = state.sums[group % 2];
    std::fill(sums.begin(), sums.end(), 0.0F);
}

void NpuFlow::quantise(size_t group, size_t chunk, size_t first, size_t count, const float* rows,
                       size_t stride) {
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    ChunkState& state = states_[chunk];
    for (const Batch& batch : groups_[group].batches) {
        const std::vector<KSegment>& segments = batch.plan().segments;
        for (size_t s = 0; s < segments.size(); ++s) {
            const size_t index = batch.first_cube + s;
            const Cube cube{state.cubes[index].data(),
                            row_buckets()[bucket(batch, chunk)],
                            chunks_[chunk].count,
                            batch.planes,
                            state.scales[group % 2].data() + index * kMaxRows,
                            state.sums[group % 2].data() + index * kMaxRows,
                            0};
            count_split_rows(*batch.weights[0], s, batch.planes, count, npu_.counters);
            quantise_rows(*batch.weights[0], segments[s], cube, {rows, stride}, first, count,
                          npu_.activations.rotated_rows());
        }
    }
    ++npu_.counters.cpu_tasks;
    if (!running_.empty()) ++npu_.counters.overlapped_tasks;
}

void NpuFlow::results(size_t group, size_t chunk, size_t first, size_t count,
                      std::span<const FloatRows> targets) {
    const PhaseTimer timer(npu_.counters, Phase::kDequantise);
    const ChunkState& state = states_[chunk];
    for (const Batch& batch : groups_[group].batches) {
        const ResultRows rows{first,
                              count,
                              chunks_[chunk].count,
                              batch.planes,
                              state.scales[group % 2].data() + batch.first_cube * kMaxRows,
                              state.sums[group % 2].data() + batch.first_cube * kMaxRows};
        size_t result = batch.first_result;
        for (size_t strip = 0; strip < batch.strips.size(); ++strip) {
            add_strip(
                batch.weights, batch.strips[strip], StripPart{}, rows,
                [&](size_t run) { return state.results[result + run]; },
                [&](const CellResult& cell, const TileColumns&) {
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

// Contexts of what has failed may be gone.
bool NpuFlow::has_room() {
    if (!failed_.empty()) return false;
    if (running_.size() >= kFlowChunksInLane || (turn_.is_over() && !running_.empty())) return false;
    return std::find(slot_taken_.begin(), slot_taken_.end(), false) != slot_taken_.end();
}

// Gives the NPU back when the turn is over, unless something of ours runs.
void NpuFlow::let_others() {
    if (running_.empty() && others_ == 0) turn_.end_if_over();
}

Status NpuFlow::submit(size_t group, size_t chunk) {
    let_others();
    RKNPU2_RETURN_IF_ERROR(turn_.take(npu_.lock.get()));
    ChunkState& state = states_[chunk];
    state.group = group;
    state.slot = static_cast<size_t>(std::ranges::find(slot_taken_, false) - slot_taken_.begin());
    slot_taken_[state.slot] = true;
    state.recovery.emplace(npu_.recovery());
    RKNPU2_RETURN_IF_ERROR(fill_job(chunk));
    if (chunk == 0) {
        for (const Batch& batch : groups_[group].batches) {
            count_matmuls(batch, npu_.counters);
            npu_.counters.activations_shared += batch.weights.size() - 1;
            ++npu_.counters.activations_quantised;
        }
    }
    running_.push_back(chunk);
    npu_.lane->submit(state.job);
    return {};
}

Status NpuFlow::fill_job(size_t chunk) {
    ChunkState& state = states_[chunk];
    const FlowGroup& group = groups_[state.group];
    for (auto& runs : state.job.runs)
        runs.clear();
    state.job.synced.reset(group.batches.cubes());
    for (const Batch& batch : group.batches) {
        const size_t row_index = bucket(batch, chunk);
        for (size_t i = 0; i < batch.runs.size(); ++i) {
            const Run& run = *batch.runs[i];
            const size_t result = batch.first_result + i;
            const size_t cube = batch.first_cube + run.segment;
            const BoundRun bound =
                RKNPU2_TAKE(bind_run(npu_.areas, *group.contexts[result], *batch.weights[0], run, row_index,
                                     cube, state.cubes[cube], result * kSlots + state.slot));
            state.job.runs[run.core].push_back(bound);
            state.results[result] = bound.written;
        }
        for (size_t s = 0; s < batch.plan().segments.size(); ++s)
            npu_.counters.activation_bytes += cube_bytes(batch.plan(), s, row_index);
    }
    return {};
}

void NpuFlow::take_from_lane(const NpuLane::Job& job) {
    const auto of_job = [&](size_t chunk) { return &states_[chunk].job == &job; };
    const auto at = std::find_if(running_.begin(), running_.end(), of_job);
    (job.status.ok() ? done_ : failed_).push_back(*at);
    running_.erase(at);
}

void NpuFlow::empty_lane() {
    while (const NpuLane::Job* const job = npu_.lane->wait())
        take_from_lane(*job);
}

void NpuFlow::drop_failed() {
    empty_lane();
    npu_.contexts.drop_failed(ContextKey::kProducts);
}

Status NpuFlow::begin_other_runs() {
    let_others();
    RKNPU2_RETURN_IF_ERROR(turn_.take(npu_.lock.get()));
    ++others_;
    return {};
}

bool NpuFlow::may_begin_other_runs() {
    let_others();
    // Where nothing runs, begin_other_runs() takes a turn of its own.
    return failed_.empty() && ((running_.empty() && others_ == 0) || !turn_.is_over());
}

void NpuFlow::end_other_runs() {
    --others_;
    let_others();
}

Result<size_t> NpuFlow::next_done(bool wait) {
    while (done_.empty()) {
        if (!failed_.empty() && others_ == 0) {
            // Contexts can only be dropped while nobody runs.
            empty_lane();
            RKNPU2_RETURN_IF_ERROR(submit_again());
        }
        const NpuLane::Job* const job = wait ? npu_.lane->wait() : npu_.lane->done();
        if (job == nullptr) {
            let_others();
            return SIZE_MAX;
        }
        take_from_lane(*job);
    }
    const size_t chunk = done_.front();
    done_.pop_front();
    let_others();
    return chunk;
}

// All chunks that failed get what they need anew before the lane may work.
Status NpuFlow::submit_again() {
    RKNPU2_RETURN_IF_ERROR(turn_.take(npu_.lock.get()));  // it may have ended while another had the lane
    RKNPU2_RETURN_IF_ERROR(recover_failed());
    const auto make = [&] {
        Status status = make_results();
        if (status.ok()) status = find_contexts();
        for (size_t i = 0; i < failed_.size() && status.ok(); ++i)
            status = fill_job(failed_[i]);
        return status;
    };
    const auto again_after = [&](Status& failure) {
        if (failure.code() == StatusCode::kUnsupported) return false;  // fewer contexts are kept meanwhile
        // This was an attempt of the first chunk.
        NpuLane::Job& first = states_[failed_.front()].job;
        first.status = failure;
        first.fails_itself = true;
        failure = recover_failed();
        return failure.ok();
    };
    RKNPU2_RETURN_IF_ERROR(retry(make, again_after));
    for (; !failed_.empty(); failed_.pop_front()) {
        running_.push_back(failed_.front());
        npu_.lane->submit(states_[failed_.front()].job);
    }
    return {};
}

// Drops what is not trusted any more. Where fewer contexts explain what failed, nothing is tried for it.
Status NpuFlow::recover_failed() {
    const bool lowered = std::any_of(failed_.begin(), failed_.end(), [&](size_t chunk) {
        const ChunkState& state = states_[chunk];
        return npu_.context_limit.lowered_after(state.job.status, groups_[state.group].batches.name());
    });
    npu_.contexts.drop_failed(ContextKey::kProducts);
    for (const size_t chunk : failed_) {
        NpuLane::Job& job = states_[chunk].job;
        if (job.status.ok()) continue;  // it only waits for another one
        if (lowered) drop_results(chunk);
        if (!lowered && job.fails_itself) RKNPU2_RETURN_IF_ERROR(recover(chunk));
        job.status = {};
    }
    return {};
}

// A lost run may still write into its own.
void NpuFlow::drop_results(size_t chunk) {
    const ChunkState& state = states_[chunk];
    if (state.slot == SIZE_MAX) return;
    for (const Batch& batch : groups_[state.group].batches)
        for (size_t i = 0; i < batch.runs.size(); ++i)
            npu_.areas.drop_result(batch.weights[0]->domain(),
                                   (batch.first_result + i) * kSlots + state.slot);
}

// Results of other chunks, and the cubes of all, stay as they are.
Status NpuFlow::recover(size_t chunk) {
    ChunkState& state = states_[chunk];
    const BatchList& batches = groups_[state.group].batches;
    const auto reset = [&] {
        npu_.contexts.drop_set(ContextKey::kProducts);
        drop_results(chunk);
    };
    Status failure = state.job.status;
    return state.recovery->again_after(failure, batches.name(), reset) ? Status() : failure;
}

}  // namespace rknpu2
