// SPDX-License-Identifier: MIT
// The timeline that RKNNSIM_TRACE asks for, as JSON trace events that Perfetto and chrome://tracing open.
//
// Process 1 is the NPU: for each core a row of runs and lanes for its MACs and its memory traffic. Process 2
// is the host: a row for each thread with submits, bindings and conversions. Within a block the lanes show
// how long the parts take, not how they interleave: the chip reads, multiplies and writes at the same time.
//
// Runs are kept until the end and then drawn. Memory is bounded: beyond kMaxSlices, further runs are counted
// and not kept.
#pragma once

#include <cstdio>
#include <vector>

#include "timing/timeline.hpp"

namespace rknnsim {

class Trace : public Timeline::Listener {
  public:
    static constexpr uint64_t kMaxSlices = 1000000;

    explicit Trace(uint64_t max_slices = kMaxSlices) : max_slices_(max_slices) {}

    void on_run_time(const RunTime& run) override;
    void on_cpu_time(const char* what, int thread, uint64_t start_ns, uint64_t end_ns) override;

    // False when the file cannot be written.
    bool write(FILE* file) const;
    // Runs and host slices that there was no room for.
    uint64_t dropped() const { return dropped_; }

  private:
    struct HostSlice {
        const char* what;
        int thread;
        uint64_t start_ns, end_ns;
    };

    const uint64_t max_slices_;
    uint64_t slices_ = 0;
    uint64_t dropped_ = 0;
    std::vector<RunTime> runs_;
    std::vector<HostSlice> host_;
};

}  // namespace rknnsim
