// What the device sees of an allocation, as opposed to what the CPU has written.
//
// CPU caches are not coherent with the NPU: a store is invisible to it until the range is cleaned, by binding
// the buffer or by a sync to the device. A range can be *tracked*: a second copy of it is kept, updated only
// when it is cleaned, and a matmul that reads the range gets what was there at the last cleaning. Or it can
// be *marked*: only a fingerprint is kept, the matmul reads the CPU's memory, and the checker can tell that
// it is not what was cleaned; that is how big weights are spared a second copy (RKNNSIM_SHADOW).
//
// Cost: cleaning compares before it copies, under a shared lock, so that contexts which bind the same
// unchanged buffer do not wait for each other. The copy's pages exist only where something was tracked.
// Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>

#include "core/outcome.hpp"
#include "core/range_set.hpp"

namespace rknnsim {

class DeviceView {
  public:
    // `cpu` is the allocation as the CPU sees it. Without `cached` the two are the same memory.
    DeviceView(const std::byte* cpu, size_t size, bool cached) : cpu_(cpu), size_(size), cached_(cached) {}
    ~DeviceView();
    DeviceView(const DeviceView&) = delete;
    DeviceView& operator=(const DeviceView&) = delete;

    bool cached() const { return cached_; }

    // Tracks the range from now on and cleans it.
    Outcome track(size_t offset, size_t bytes);

    // Marks the range and cleans it. `whole`: the fingerprint looks at every byte.
    void mark(size_t offset, size_t bytes, bool whole);

    // Cleans the tracked and marked parts of a range; also what a device write to the range amounts to, since
    // the runtime makes results visible to the CPU.
    void clean(size_t offset, size_t bytes);

    // Has the CPU changed something in the range that the device does not see? By comparing what is tracked,
    // or, unless `exact`, by the fingerprint where exactly this range is marked.
    bool stale(size_t offset, size_t bytes, bool exact) const;

    // Remembers a sync of the range. `activity` counts the calls of the program that were no syncs.
    void synced(size_t offset, size_t bytes, uint64_t activity);

    // Was the range synced before with no other call since, and is it for sure as it was then?
    bool synced_twice(size_t offset, size_t bytes, uint64_t activity) const;

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
    struct Mark {
        size_t bytes;
        bool whole;
        bool partial;  // only a part was cleaned since: the fingerprint says nothing of the rest
        uint64_t fingerprint;
    };

    bool differs(size_t offset, size_t end) const;
    void copy(size_t offset, size_t end);
    bool marks_differ(size_t offset, size_t end) const;
    // The marks that the range touches are as the CPU's memory is now.
    void refresh_marks(size_t offset, size_t end);

    const std::byte* cpu_;
    size_t size_;
    bool cached_;
    mutable std::shared_mutex mutex_;  // guards what follows
    std::byte* copy_ = nullptr;
    RangeSet tracked_;
    std::map<size_t, Mark> marks_;  // by offset; the last mark at an offset counts
    size_t longest_mark_ = 0;

    struct Sync {
        size_t bytes;
        uint64_t activity;
    };
    std::map<size_t, Sync> syncs_;  // by offset, since the last other call
};

}  // namespace rknnsim
