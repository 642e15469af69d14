// SPDX-License-Identifier: MIT
// How the CPU and the NPU see what the other one has written.
//
// The CPU's cache lies before device memory and the NPU does not look into it: what the CPU has written has
// to be cleaned before a run reads it, and what the CPU has in its cache of a result has to be invalidated
// after the run. Sources disagree about which call of the runtime does that (docs/hardware.csv, import-sync
// and bind-cleans), so the plug-in relies on none of the doubtful ones: work areas are buffers of their own,
// never parts of others; binding is not taken for cleaning; the CPU never writes to memory of results, and
// what it may have of it when it is made is cleaned first. What is left to choose is the means:
//
//   owner   rknn_mem_sync on the handle that rknn_create_mem gave, of the whole buffer. Others have run with
//           it for weeks. Default.
//   lines   the CPU's own instructions, for exactly the bytes in question (runtime/cache_lines.hpp).
//
// Thread safe. Each call is counted.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "config/config.hpp"
#include "counters/counters.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// Bytes of a device memory.
struct Extent {
    size_t offset = 0;
    size_t bytes = 0;
};

// `memory` below is always what NpuContext::allocate() gave, never an import. `context` is any of its domain
// that no other thread uses.
class Coherency {
  public:
    explicit Coherency(CoherencyCounters& counters) : counters_(counters) {}
    virtual ~Coherency() = default;
    Coherency(const Coherency&) = delete;
    Coherency& operator=(const Coherency&) = delete;

    virtual const char* name() const = 0;

    // The CPU has packed or loaded weights there. The NPU may be reading others from the same memory.
    virtual Status weights_written(NpuContext& context, NpuMemory& memory, std::span<const Extent> where);
    // The CPU has written activations to the first `bytes`.
    virtual Status activations_written(NpuContext& context, NpuMemory& memory, size_t bytes);
    // New memory, which only runs are going to write.
    virtual Status result_area_made(NpuContext& context, NpuMemory& memory);
    // A run has written the first `bytes`, and the CPU is going to read them.
    virtual Status result_needed(NpuContext& context, NpuMemory& memory, size_t bytes);

  protected:
    // What the CPU has written is in memory; what is in memory is what the CPU reads. How many bytes were
    // maintained for it.
    virtual Result<size_t> to_device(NpuContext& context, NpuMemory& memory,
                                     std::span<const Extent> where) = 0;
    virtual Result<size_t> from_device(NpuContext& context, NpuMemory& memory, Extent where) = 0;

  private:
    CoherencyCounters& counters_;
};

class OwnerCoherency : public Coherency {
  public:
    using Coherency::Coherency;
    const char* name() const override { return "owner"; }

  protected:
    Result<size_t> to_device(NpuContext& context, NpuMemory& memory, std::span<const Extent>) override;
    Result<size_t> from_device(NpuContext& context, NpuMemory& memory, Extent) override;
};

std::unique_ptr<Coherency> make_owner_coherency(CoherencyCounters& counters);
// What the setting says; with kAuto what the board's profile does: "owner", "lines", or nothing, which is
// owner. kUnsupported: the setting wants lines, and this CPU lets programs maintain none. A profile that
// wants them there is one warning, and owner.
Result<std::unique_ptr<Coherency>> make_coherency(CoherencyChoice choice, const std::string& of_profile,
                                                  const NpuRuntime& runtime, CoherencyCounters& counters);

}  // namespace rknpu2
