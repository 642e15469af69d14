// SPDX-License-Identifier: MIT
// What the functional core tells those who watch it: the checker and the clock.
//
// The core knows no time and judges no habits; it computes. Before it acts it asks each observer
// (before_...): an observer refuses by returning an error, which becomes the result of the call; the core
// then does nothing, and observers behind that one are not asked. After it has acted it tells each observer
// (on_...). Observers are called in the order in which the Simulator got them, on the thread of the caller,
// and possibly from several threads at once. References are valid during the call only.
#pragma once

#include <array>
#include <memory>

#include "core/memory.hpp"
#include "core/problem.hpp"

namespace rknnsim {

class Context;

// rknn_matmul_set_io_mem. `converted`: the runtime copied the data out of a normal layout, on the CPU.
struct BindEvent {
    uint64_t context;
    const Problem& problem;
    size_t M;  // in force
    Operand which;
    const std::shared_ptr<Memory>& memory;
    size_t bytes;
    bool converted;
};

// A memory changes hands between CPU and device.
struct SyncEvent {
    const Memory& memory;
    bool to_device;
    bool from_device;
    // The function that the program has called, such as rknn_mem_sync; null when it went through the kernel
    // or cleaned lines itself, where before_sync() is not asked.
    const char* call = nullptr;
    int passes = 1;         // how often all of its bytes are gone through; 0: the sync does nothing
    size_t lines = 0;       // how many cache lines the program goes through by itself (rknnsim_cache_lines)
    uint64_t activity = 0;  // how many calls the program has made that were no syncs
};

// rknn_matmul_run is about to begin. `call`: how the caller knows it.
struct RunRequest {
    const char* call;
    const Context& context;
    size_t live_contexts;  // of the process
};

// rknn_matmul_run was submitted. A and B are null when only their snapshots are left. `core_mask` is 1, 2, 4,
// or 0 for whichever core is free. `computed` is false for a run that a fault swallowed: it took its time on
// the chip and left C as it was.
struct RunEvent {
    uint64_t context;
    const Problem& problem;
    size_t M;
    int core_mask;
    std::array<std::shared_ptr<Memory>, 3> operands;
    bool computed;
    uint64_t delay_ns;  // that a fault adds to its time
};

// rknn_B_normal_layout_to_native_layout from `from` to `to`. `int4_bytes`: int4 is read as one byte an
// element.
struct ConversionRequest {
    const char* call;
    const Problem& problem;
    bool int4_bytes;
    const void* from;
    const void* to;
};

class Observer {
  public:
    Observer() = default;
    virtual ~Observer() = default;
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    virtual Outcome before_sync(const SyncEvent& /*event*/) { return {}; }
    virtual Outcome before_run(const RunRequest& /*request*/) { return {}; }
    virtual Outcome before_conversion(const ConversionRequest& /*request*/) { return {}; }
    // A memory is about to be destroyed. An error fails the call, but the memory goes all the same.
    virtual Outcome before_release(const char* /*call*/, const Memory& /*memory*/) { return {}; }

    virtual void on_bind(const BindEvent& /*event*/) {}
    virtual void on_sync(const SyncEvent& /*event*/) {}
    virtual void on_run(const RunEvent& /*event*/) {}
    // The run has written C.
    virtual void on_result(const char* /*call*/, const Context& /*context*/) {}
};

}  // namespace rknnsim
