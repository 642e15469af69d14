// SPDX-License-Identifier: MIT
// How a flow hands chunks to the NPU and gets them back, whatever happens meanwhile.
#include <algorithm>
#include <utility>

#include "matmul/npu_flow.hpp"

namespace rknpu2 {

bool NpuFlow::must_give_way() const {
    return among_processes_.held() && std::chrono::steady_clock::now() - since_ >= turn_;
}

bool NpuFlow::has_room() const {
    if (running_.size() >= kInLane || (must_give_way() && !running_.empty())) return false;
    return std::find(slot_taken_.begin(), slot_taken_.end(), 0) != slot_taken_.end();
}

// The NPU is given back when the turn is over, unless something of ours runs. Whoever wants it next takes it
// again.
void NpuFlow::let_others() {
    if (running_.empty() && must_give_way()) among_processes_.end();
}

Status NpuFlow::take_turn() {
    if (among_processes_.held()) return {};
    Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(device_.lock_.get());
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
    state.slot =
        static_cast<size_t>(std::find(slot_taken_.begin(), slot_taken_.end(), 0) - slot_taken_.begin());
    slot_taken_[state.slot] = 1;
    state.recovery.emplace(device_.config_, device_.counters_.faults, device_.fault_lines_);
    RKNPU2_RETURN_IF_ERROR(fill_job(chunk));
    if (chunk == 0) count(products_[product]);
    running_.push_back(chunk);
    device_.lane_->submit(state.job);
    return {};
}

void NpuFlow::count(const FlowProduct& product) {
    Counters& counters = device_.counters_;
    for (const Batch& batch : product.batches) {
        count_matmuls(batch, counters);
        counters.activations_shared += batch.weights.size() - 1;
        ++counters.activations_quantised;
    }
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
                bind_run(device_.areas_, *product.contexts[result], *batch.weights[0], run, row_index, cube,
                         state.cubes[cube], {result, state.slot, kSlots});
            RKNPU2_RETURN_IF_ERROR(bound.status());
            state.job.runs[run.core].push_back(bound.value());
            state.results[result] = bound.value().written;
        }
        for (size_t s = 0; s < batch.plan().segments.size(); ++s)
            device_.counters_.activation_bytes += cube_bytes(batch.plan(), s, row_index);
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
        const NpuLane::Job* const job = wait ? device_.lane_->wait() : device_.lane_->done();
        if (job == nullptr) {
            let_others();
            return SIZE_MAX;
        }
        take_from_lane(*job);
        if (failed_.empty()) continue;
        // Contexts can only be dropped while nobody runs.
        while (const NpuLane::Job* const other = device_.lane_->wait())
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
    Status status;
    do {
        const bool lowered = lowered_contexts();
        for (const size_t chunk : failed_)
            RKNPU2_RETURN_IF_ERROR(recover(chunk, lowered));
        status = make_results();
        if (status.ok()) status = find_contexts();
        if (status.code() == StatusCode::kUnsupported) return status;  // fewer are kept meanwhile
        for (size_t i = 0; i < failed_.size() && status.ok(); ++i)
            status = fill_job(failed_[i]);
        // An attempt, too, for which the first of them stands.
        ChunkState& first = states_[failed_.front()];
        first.job.status = status;
        first.job.failed.fill(nullptr);
    } while (!status.ok());
    for (; !failed_.empty(); failed_.pop_front()) {
        running_.push_back(failed_.front());
        device_.lane_->submit(states_[failed_.front()].job);
    }
    return {};
}

// Do fewer contexts explain what failed?
bool NpuFlow::lowered_contexts() {
    return std::any_of(failed_.begin(), failed_.end(), [&](size_t chunk) {
        const ChunkState& state = states_[chunk];
        return device_.context_limit_.lowered_after(state.job.status,
                                                    products_[state.product].batches.name());
    });
}

// Drops what is not trusted any more. Results of other chunks, and the cubes of all, stay as they are.
Status NpuFlow::recover(size_t chunk, bool lowered) {
    ChunkState& state = states_[chunk];
    if (state.job.status.ok()) return {};  // it only waits for another one
    drop_failed(device_.contexts_, state.job.failed);
    Status status = std::exchange(state.job.status, {});
    if (lowered) return {};
    const OnError step = state.recovery->next(status, products_[state.product].batches.name());
    if (step == OnError::kFail || step == OnError::kCpu) return status;
    if (step == OnError::kRetry) return {};
    device_.contexts_.clear();
    for (const Batch& batch : products_[state.product].batches)
        drop_results(batch, state.slot);
    return {};
}

void NpuFlow::drop_results(const Batch& batch, size_t slot) {
    for (size_t i = 0; i < batch.runs.size(); ++i)
        drop_result_area(device_.areas_, *batch.weights[0], {batch.first_result + i, slot, kSlots});
}

}  // namespace rknpu2
