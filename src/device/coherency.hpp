// SPDX-License-Identifier: MIT
// How the CPU and the NPU see what the other one has written.
//
// The NPU does not look into the CPU's cache: what the CPU has written must be cleaned before a run reads it,
// and what it has cached of a result must be invalidated after the run. Sources disagree about which call of
// the runtime does that (docs/hardware.csv, import-sync and bind-cleans), so we rely on no doubtful one: work
// areas are buffers of their own; binding is not taken for cleaning; the CPU never writes to memory of
// results, which is cleaned when it is made. What is left to choose is the means:
//
//   owner   rknn_mem_sync on the handle that rknn_create_mem gave, of the whole buffer. Others have run with
//           it for weeks. Default.
//   lines   the CPU's own instructions, for exactly the bytes in question (runtime/cache_lines.hpp).
//
// Thread safe. Each call is counted.
#pragma once

#include <optional>
#include <span>

#include "counters/counters.hpp"

namespace rknpu2 {

struct Extent {
    size_t offset = 0;
    size_t bytes = 0;
};

// `memory` below is always what NpuContext::allocate() gave, never an import. `context` is any of its domain
// that no other thread uses.
class Coherency {
  public:
    // Without `lines`: owner.
    explicit Coherency(CoherencyCounters& counters, std::optional<CacheLines> lines = {})
        : counters_(counters), lines_(lines) {}
    virtual ~Coherency() = default;
    Coherency(const Coherency&) = delete;
    Coherency& operator=(const Coherency&) = delete;

    virtual const char* name() const { return lines_ ? "lines" : "owner"; }

    // The CPU has packed or loaded weights there. The NPU may be reading others from the same memory.
    virtual Status weights_written(NpuContext& context, NpuMemory& memory, std::span<const Extent> where);
    // The CPU has written activations to the first `bytes`.
    virtual Status activations_written(NpuContext& context, NpuMemory& memory, size_t bytes);
    // New memory, which only runs are going to write.
    virtual Status result_area_made(NpuContext& context, NpuMemory& memory);
    // A run has written the first `bytes`, and the CPU is going to read them.
    virtual Status result_needed(NpuContext& context, NpuMemory& memory, size_t bytes);

  private:
    // For the device, what the CPU has written is cleaned; what it is to read is invalidated, too.
    Status maintain(CacheLines::Operation operation, NpuContext& context, NpuMemory& memory,
                    std::span<const Extent> where, MaintenanceCounter& counter);

    CoherencyCounters& counters_;
    const std::optional<CacheLines> lines_;
};

// What the setting says; with kAuto what the board's profile does: "lines", or else owner. Where this CPU
// lets programs maintain no lines, a setting that wants them is kUnsupported; a profile is one warning, and
// owner.
Result<std::unique_ptr<Coherency>> make_coherency(CoherencyChoice choice, const std::string& of_profile,
                                                  const NpuRuntime& runtime, CoherencyCounters& counters);

}  // namespace rknpu2
