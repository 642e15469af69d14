// SPDX-License-Identifier: MIT
#include "ggml/cpu/attention_on_npu.hpp"

#include "ggml/host/graph_status.hpp"
#include "matmul/npu_device.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2 {
namespace {

// By one thread: several would share the positions of a token, and round otherwise.
Status compute_token(const Host& host, OneThreadCpus& one_thread_cpus, const ggml_tensor* node,
                     int64_t sequence, size_t token) {
    const ggml_backend_t backend = one_thread_cpus.take();
    if (backend == nullptr) return {StatusCode::kOutOfMemory, "no memory for a token of attention"};
    TokenOfAttention alone(host.ggml, node, sequence, static_cast<int64_t>(token));
    const ggml_status status = compute_node(host, backend, alone.node());
    one_thread_cpus.give_back(backend);
    return status_of_cpu(status, node);
}

bool is_for_cpu(const Status& failure) {
    return failure.code() == StatusCode::kOutOfMemory || failure.code() == StatusCode::kUnsupported;
}

}  // namespace

void NodeAttention::begin(const ggml_tensor* node, uint64_t layer, int domain) {
    node_ = node;
    layer_ = layer;
    domain_ = domain;
    sequence_ = 0;
    begin_sequence();
}

void NodeAttention::begin_sequence() {
    attention_.begin(place_, attention_problem(host_, node_, sequence_),
                     layer_ + static_cast<uint64_t>(sequence_), domain_,
                     [this, sequence = sequence_](size_t token) {
                         return compute_token(host_, one_thread_cpus_, node_, sequence, token);
                     });
}

Result<bool> NodeAttention::step() {
    if (RKNPU2_TAKE(attention_.step(place_))) return true;
    if (++sequence_ == node_->ne[3]) return false;
    begin_sequence();
    return true;
}

Result<bool> attend_alone(Host& host, OneThreadCpus& one_thread_cpus, const ggml_tensor* node,
                          ggml_abort_callback abort, void* abort_data) {
    NpuResources& npu = host.npu->resources();
    RKNPU2_RETURN_IF_ERROR(npu.check_process());
    if (is_refused(host, node)) {
        ++npu.counters.attention.without_memory;
        return false;
    }
    const std::lock_guard owns(npu.mutex);
    DeviceLock::Turn turn = RKNPU2_TAKE(DeviceLock::Turn::take(npu.lock.get()));
    npu.activations.forget();
    npu.begin_call();
    npu.get_lane();
    const auto try_it = [&]() -> Status {
        NpuAttention attention(npu);
        NodeAttention steps(host, one_thread_cpus, attention, 0);
        steps.begin(node, 0, 0);
        auto since = std::chrono::steady_clock::now();
        while (RKNPU2_TAKE(steps.step())) {
            if (abort(abort_data)) return asked_to_stop();
            if (attention.runs(0) || std::chrono::steady_clock::now() - since < NpuFlow::kTurn) continue;
            turn.end();
            turn = RKNPU2_TAKE(DeviceLock::Turn::take(npu.lock.get()));
            since = std::chrono::steady_clock::now();
        }
        return {};
    };
    const uint64_t faults = npu.counters.faults.by_cpu;
    const auto wants_room = [&](const Status& status) {
        return is_for_cpu(status) && npu.counters.faults.by_cpu == faults;
    };
    Status status = try_it();
    if (wants_room(status)) {
        npu.drop_all();
        status = try_it();
    }
    if (status.ok()) {
        note_computed(host, node);
        ++npu.counters.attention.nodes;
        return true;
    }
    if (wants_room(status)) {
        ++npu.counters.attention.without_memory;
        note_refusal(host, node, status);
    }
    if (!is_for_cpu(status)) return status;
    return false;
}

}  // namespace rknpu2
