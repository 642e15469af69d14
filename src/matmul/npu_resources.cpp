// SPDX-License-Identifier: MIT
#include "matmul/npu_resources.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "device/cpu_team.hpp"
#include "kernels/reference_matmul.hpp"

namespace rknpu2 {

NpuResources::NpuResources(std::unique_ptr<NpuRuntime> own_runtime, const Config& settings, Counters& counts,
                           std::unique_ptr<Coherency> own_coherency)
    : runtime(std::move(own_runtime)),
      config(settings),
      counters(counts),
      coherency(own_coherency != nullptr ? std::move(own_coherency)
                                         : std::make_unique<Coherency>(counts.coherency)),
      pool(team_size(config, runtime->info().simulated), cpu_affinity(config)),
      memory(*runtime),
      contexts(*runtime, *coherency, row_buckets(), contexts_to_keep(config, descriptor_limit())),
      context_limit(config, contexts, counters.contexts),
      areas(memory, contexts, *coherency),
      activations(areas, counters, static_cast<size_t>(pool.threads())) {}

NpuResources::~NpuResources() {
    areas.clear();
    contexts.clear();
}

Status NpuResources::check_process() const {
    if (owner.is_this_one()) return {};
    return {StatusCode::kDeviceUnavailable,
            format("process %d has the NPU, and this one was forked from it: load ggml's backends after the "
                   "fork, or start another program (exec)",
                   static_cast<int>(owner.pid()))};
}

size_t NpuResources::cpu_team() const {
    return static_cast<size_t>(std::min(pool.threads(), cpu_threads(config)));
}

void NpuResources::begin_call() {
    areas.begin_call();
    contexts.begin_call();
}

NpuLane& NpuResources::get_lane() {
    if (lane == nullptr) {
        lane = std::make_unique<NpuLane>(static_cast<size_t>(config.cores), pool.spins(),
                                         cpu_affinity(config), counters);
    }
    return *lane;
}

void NpuResources::drop_all() {
    areas.clear();
    contexts.clear();
    activations.clear();
}

Status multiply_stored(NpuResources& npu, const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(npu.check_process());
    const PhaseTimer timer(npu.counters, Phase::kReference);
    constexpr size_t kColumnsOfTask = 64;
    return npu.pool.parallel_try(ceil_div(source.N, kColumnsOfTask), [&](size_t task) {
        const size_t n0 = task * kColumnsOfTask;
        const size_t count = std::min(kColumnsOfTask, source.N - n0);
        const AlignedBuffer rows = RKNPU2_TAKE(AlignedBuffer::allocate(count * source.K * sizeof(float)));
        auto* const b = rows.as<float>();
        for (size_t i = 0; i < count; ++i)
            source.dequantise(source.row(n0 + i), b + i * source.K, static_cast<int64_t>(source.K));
        matmul_reference(a, source.K, b, M, count, source.K, out + n0, source.N);
        return Status();
    });
}

Status multiply_after_fault(NpuResources& npu, const WeightSource& source, const float* a, size_t M,
                            float* out) {
    Status status = multiply_stored(npu, source, a, M, out);
    ++(status.ok() ? npu.counters.faults.by_cpu : npu.counters.faults.given_up);
    return std::move(status).with_context("on the CPU");
}

}  // namespace rknpu2
