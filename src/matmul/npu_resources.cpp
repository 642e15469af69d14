// SPDX-License-Identifier: MIT
#include "matmul/npu_resources.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "device/cpu_team.hpp"
#include "system/descriptors.hpp"

namespace rknpu2 {

NpuResources::NpuResources(std::unique_ptr<NpuRuntime> own_runtime, const Config& settings, Counters& counts,
                           std::unique_ptr<Coherency> own_coherency)
    : runtime(std::move(own_runtime)),
      config(settings),
      counters(counts),
      coherency(own_coherency != nullptr ? std::move(own_coherency) : make_owner_coherency(counts.coherency)),
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

void NpuResources::drop_all() {
    areas.clear();
    contexts.clear();
    activations.clear();
}

}  // namespace rknpu2
