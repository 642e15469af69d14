// SPDX-License-Identifier: MIT
// A run with its context and memory, and what doing it means: the one way from both schedulers to the NPU.
//
// bind_run() finds the memory, on one thread. A RunExecutor then does the run on any thread: it tells the
// device of the activations, binds what is not bound, runs, counts, and remembers the context of a run that
// failed.
#pragma once

#include <array>

#include "counters/counters.hpp"
#include "device/context_cache.hpp"
#include "matmul/call_areas.hpp"
#include "matmul/result_rows.hpp"
#include "matmul/run_list.hpp"

namespace rknpu2 {

struct BoundRun {
    CachedContext* context = nullptr;
    size_t bucket = 0;  // of rows
    size_t cube = 0;    // of the call: which one `activations` is
    View activations;
    View weights;
    View result;
    RunResult written;  // what `result` is to the CPU
};

// The context that a run of the weight's batch needs.
ContextKey context_key(const PackedWeight& weight, const Run& run);

// `cube` of the call lies in `activations`.
Result<BoundRun> bind_run(WorkAreas& areas, CachedContext& context, const PackedWeight& weight,
                          const Run& run, size_t bucket, size_t cube,
                          const DeviceMemoryPool::Slice& activations, const ResultIndex& at);

// By core: a context whose run has failed and which is not trusted any more, or null.
using FailedContexts = std::array<const CachedContext*, rk3588::kCores>;
void drop_failed(ContextCache& contexts, const FailedContexts& failed);

// Thread safe, but for one core by one thread at a time. An exception is a failure of the run.
class RunExecutor {
  public:
    explicit RunExecutor(Counters& counters) : counters_(counters) {}

    // The CPU has written the run's activations. Once for each cube (CubeSync).
    Status tell(const BoundRun& run, FailedContexts& failed) const;
    Status run(const BoundRun& run, FailedContexts& failed) const;

  private:
    Counters& counters_;
};

}  // namespace rknpu2
