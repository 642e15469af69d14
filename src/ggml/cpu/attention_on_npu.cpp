// SPDX-License-Identifier: MIT
#include "ggml/cpu/attention_on_npu.hpp"

#include "base/log.hpp"
#include "ggml/host/graph_status.hpp"
#include "matmul/npu_device.hpp"

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

}  // namespace

Status attend(Host& host, OneThreadCpus& one_thread_cpus, NpuAttention& attention, const ggml_tensor* node,
              uint64_t layer, int domain, const NpuAttention::Work& work) {
    for (int64_t sequence = 0; sequence < node->ne[3]; ++sequence) {
        const auto by_cpu = [&](size_t token) {
            return compute_token(host, one_thread_cpus, node, sequence, token);
        };
        RKNPU2_RETURN_IF_ERROR(attention.run(attention_problem(host, node, sequence),
                                             layer + static_cast<uint64_t>(sequence), domain,
                                             {work, by_cpu}));
    }
    return {};
}

Result<bool> attend_alone(Host& host, OneThreadCpus& one_thread_cpus, const ggml_tensor* node) {
    NpuResources& npu = host.npu->resources();
    RKNPU2_RETURN_IF_ERROR(npu.check_process());
    const std::lock_guard owns(npu.mutex);
    const DeviceLock::Turn turn = RKNPU2_TAKE(DeviceLock::Turn::take(npu.lock.get()));
    npu.activations.forget();
    npu.begin_call();
    npu.get_lane();
    const auto try_it = [&] {
        NpuAttention attention(npu);
        return attend(host, one_thread_cpus, attention, node, 0, 0, [] { return Result<bool>(false); });
    };
    const uint64_t faults = npu.counters.faults.by_cpu;
    Status status = try_it();
    if (status.code() == StatusCode::kOutOfMemory) {
        npu.drop_all();
        status = try_it();
    }
    const bool for_cpu =
        status.code() == StatusCode::kOutOfMemory || status.code() == StatusCode::kUnsupported;
    if (!status.ok() && !for_cpu) return status;
    if (!for_cpu) ++npu.counters.attention.nodes;
    const bool no_room = for_cpu && npu.counters.faults.by_cpu == faults;
    if (no_room && npu.counters.attention.without_memory++ == 0)
        log(LogLevel::kWarning, "%s: %s: the CPU computes this attention, which is slower", node->name,
            status.to_string().c_str());
    return !for_cpu;
}

}  // namespace rknpu2
