// SPDX-License-Identifier: MIT
// How a flow hands chunks to the NPU and gets them back, whatever happens meanwhile.
#include <algorithm>

#include "matmul/npu_flow.hpp"

namespace rknpu2 {

bool NpuFlow::must_give_way() const {
    return among_processes_.held() && std::chrono::steady_clock::now() - since_ >= turn_;
}

bool NpuFlow::has_room() const {
    if (running_.size() >= kInLane || (must_give_way() && !running_.empty())) return false;
    return std::find(slot_taken_.begin(), slot_taken_.end(), false) != slot_taken_.end();
}

// The NPU is given back when the turn is over, unless something of ours runs. Whoever wants it next takes it
// again.
void NpuFlow::let_others() {
    if (running_.empty() && must_give_way()) among_processes_.end();
}

Status NpuFlow::take_turn() {
    if (among_processes_.held()) return {};
    Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(npu_.lock.get());
    RKNPU2_RETURN_IF_ERROR(turn.status());
    among_processes_ = turn.take();
    since_ = std::chrono::steady_clock::now();
    return {};
}

Status NpuFlow::submit(size_t product, size_t chunk) {
    let_others();
    RKNPU2_RETURN_IF_ERROR(take_turn());
    ChunkState& state = states_[chunk];
    state.product = product;
    state.slot = static_cast<size_t>(std::ranges::find(slot_taken_, false) - slot_taken_.begin());
    slot_taken_[state.slot] = true;
    state.recovery.emplace(npu_.recovery());
    RKNPU2_RETURN_IF_ERROR(fill_job(chunk));
    if (chunk == 0) {
        for (const Batch& batch : products_[product].batches) {
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
    const FlowProduct& product = products_[state.product];
    for (auto& runs : state.job.runs)
        runs.clear();
    state.job.synced.reset(product.batches.cubes());
    for (const Batch& batch : product.batches) {
        const size_t row_index = bucket(batch, chunk);
        for (size_t i = 0; i < batch.runs.size(); ++i) {
            const Run& run = *batch.runs[i];
            const size_t result = batch.first_result + i;
            const size_t cube = batch.first_cube + run.segment;
            const Result<BoundRun> bound =
                bind_run(npu_.areas, *product.contexts[result], *batch.weights[0], run, row_index, cube,
                         state.cubes[cube], result * kSlots + state.slot);
            RKNPU2_RETURN_IF_ERROR(bound.status());
            state.job.runs[run.core].push_back(bound.value());
            state.results[result] = bound.value().written;
        }
        for (size_t s = 0; s < batch.plan().segments.size(); ++s)
            npu_.counters.activation_bytes += cube_bytes(batch.plan(), s, row_index);
    }
    return {};
}

// Files a job that has come back.
void NpuFlow::take_from_lane(const NpuLane::Job& job) {
    const auto of_job = [&](size_t chunk) { return &states_[chunk].job == &job; };
    const auto at = std::find_if(running_.begin(), running_.end(), of_job);
    (job.status.ok() ? done_ : failed_).push_back(*at);
    running_.erase(at);
}

Result<size_t> NpuFlow::next_done(bool wait) {
    while (done_.empty()) {
        const NpuLane::Job* const job = wait ? npu_.lane->wait() : npu_.lane->done();
        if (job == nullptr) {
            let_others();
            return SIZE_MAX;
        }
        take_from_lane(*job);
        if (failed_.empty()) continue;
        // Contexts can only be dropped while nobody runs.
        while (const NpuLane::Job* const other = npu_.lane->wait())
            take_from_lane(*other);
        RKNPU2_RETURN_IF_ERROR(submit_again());
    }
    const size_t chunk = done_.front();
    done_.pop_front();
    let_others();
    return chunk;
}

// All chunks that failed. First everything that they need anew, then the lane may work.
Status NpuFlow::submit_again() {
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
        // An attempt, too, for which the first of them stands.
        NpuLane::Job& first = states_[failed_.front()].job;
        first.status = failure;
        first.failed.fill(nullptr);
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

// Drops what is not trusted any more. Where fewer contexts explain what failed, nothing else is done.
Status NpuFlow::recover_failed() {
    const bool lowered = std::any_of(failed_.begin(), failed_.end(), [&](size_t chunk) {
        const ChunkState& state = states_[chunk];
        return npu_.context_limit.lowered_after(state.job.status, products_[state.product].batches.name());
    });
    for (const size_t chunk : failed_) {
        NpuLane::Job& job = states_[chunk].job;
        if (job.status.ok()) continue;  // it only waits for another one
        drop_failed(npu_.contexts, job.failed);
        if (!lowered) RKNPU2_RETURN_IF_ERROR(recover(chunk));
        job.status = {};
    }
    return {};
}

// Results of other chunks, and the cubes of all, stay as they are.
Status NpuFlow::recover(size_t chunk) {
    ChunkState& state = states_[chunk];
    const BatchList& batches = products_[state.product].batches;
    const auto reset = [&] {
        npu_.contexts.clear();
        for (const Batch& batch : batches) {
            for (size_t i = 0; i < batch.runs.size(); ++i)
                npu_.areas.drop_result(batch.weights[0]->domain(),
                                       (batch.first_result + i) * kSlots + state.slot);
        }
    };
    Status failure = state.job.status;
    return state.recovery->again_after(failure, batches.name(), reset) ? Status() : failure;
}

}  // namespace rknpu2
