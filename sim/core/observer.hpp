// What the functional core tells those who watch it: the checker, the clock, the trace.
//
// The core knows no time and judges no habits; it computes, and reports each call that changed or used
// something. An observer is called on the thread of the caller, after the call has succeeded and before it
// returns, possibly from several threads at once. References are valid during the call only.
#pragma once

#include <array>
#include <memory>

#include "core/memory.hpp"
#include "core/problem.hpp"

namespace rknnsim {

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

// rknn_mem_sync, or the same by other means. `passes`: how often all of its bytes were gone through; 0 for a
// sync that does nothing. `lines`: not 0 when it was done line by line by the program (rknnsim_cache_lines),
// as many.
struct SyncEvent {
    const Memory& memory;
    bool to_device;
    bool from_device;
    int passes = 1;
    size_t lines = 0;
};

// rknn_matmul_run. `operands` are A, B and C; A or B is null when its snapshot outlived the memory.
// `core_mask` is 1, 2, 4, or 0 for whichever core is free. `computed` is false for a run that a fault
// swallowed: it took its time on the chip and left C as it was.
struct RunEvent {
    uint64_t context;
    const Problem& problem;
    size_t M;
    int core_mask;
    std::array<std::shared_ptr<Memory>, 3> operands;
    bool computed;
    uint64_t delay_ns;  // that a fault adds to its time
};

class Observer {
  public:
    Observer() = default;
    virtual ~Observer() = default;
    Observer(const Observer&) = delete;
    Observer& operator=(const Observer&) = delete;

    virtual void on_bind(const BindEvent& /*event*/) {}
    virtual void on_sync(const SyncEvent& /*event*/) {}
    virtual void on_run(const RunEvent& /*event*/) {}
};

}  // namespace rknnsim
