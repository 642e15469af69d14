// What the device sees of an allocation, as opposed to what the CPU has written.
//
// CPU caches are not coherent with the NPU: a store is invisible to it until the range is cleaned, by binding
// the buffer or by a sync to the device. The view keeps a second copy of the ranges that somebody asked to
// *track*, and updates it only when they are cleaned; a matmul that reads a tracked range gets what was there
// at the last cleaning. Ranges that are not tracked are read straight from the CPU's memory, so their
// staleness is not modelled; that is how big weights are spared a second copy (RKNNSIM_SHADOW).
//
// Cost: cleaning compares before it copies, under a shared lock, so that contexts which bind the same
// unchanged buffer do not wait for each other. The copy's pages exist only where something was tracked.
#pragma once

#include <cstddef>
#include <map>
#include <shared_mutex>

#include "core/outcome.hpp"

namespace rknnsim {

class DeviceView {
  public:
    // `cpu` is the allocation as the CPU sees it. Without `cached` the two are the same memory.
    DeviceView(const std::byte* cpu, size_t size, bool cached) : cpu_(cpu), size_(size), cached_(cached) {}
    ~DeviceView();
    DeviceView(const DeviceView&) = delete;
    DeviceView& operator=(const DeviceView&) = delete;

    // Tracks the range from now on and cleans it.
    Outcome track(size_t offset, size_t bytes);

    // Cleans the tracked parts of a range; also what a device write to the range amounts to, since the
    // runtime makes results visible to the CPU.
    void clean(size_t offset, size_t bytes);

    // A stable sight of a tracked range; others may not clean while it exists.
    class Reading {
      public:
        Reading(const DeviceView& view, size_t offset)
            : lock_(view.mutex_), data_((view.copy_ != nullptr ? view.copy_ : view.cpu_) + offset) {}
        const std::byte* data() const { return data_; }

      private:
        std::shared_lock<std::shared_mutex> lock_;
        const std::byte* data_;
    };

  private:
    bool is_tracked(size_t offset, size_t end) const;
    void copy(size_t offset, size_t end);

    const std::byte* cpu_;
    size_t size_;
    bool cached_;
    mutable std::shared_mutex mutex_;  // guards what follows
    std::byte* copy_ = nullptr;
    std::map<size_t, size_t> tracked_;  // disjoint ranges, start -> end
};

}  // namespace rknnsim
