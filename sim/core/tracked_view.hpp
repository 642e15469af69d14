// SPDX-License-Identifier: MIT
// The view of the device on an allocation of which only a part is followed.
//
// A *tracked* range has a second copy, updated only when the range is cleaned; a matmul that reads the range
// gets what was there at the last cleaning. A *marked* range has only a fingerprint: the matmul reads the
// CPU's memory, and the checker can tell that it is not what was cleaned. Marks spare big weights a second
// copy (RKNNSIM_SHADOW). Binding cleans; results are visible at once.
//
// Cost: cleaning compares before it copies, under a shared lock, so that contexts which bind the same
// unchanged buffer do not wait for each other. The copy's pages exist only where something was tracked.
#pragma once

#include <shared_mutex>

#include "core/device_view.hpp"
#include "core/range_set.hpp"

namespace rknnsim {

class TrackedView : public DeviceView {
  public:
    // `cpu` is the allocation as the CPU sees it. Without `cached` the device sees the same memory.
    TrackedView(std::byte* cpu, size_t size, bool cached) : cpu_(cpu), size_(size), cached_(cached) {}
    ~TrackedView() override;

    bool has_everything() const override { return false; }
    bool cached() const override { return cached_; }
    Outcome bind(size_t offset, size_t bytes, const BoundInput& input) override;
    void clean(size_t offset, size_t bytes) override;
    void invalidate(size_t /*offset*/, size_t /*bytes*/) override {}
    std::byte* result(size_t offset) override { return cpu_ + offset; }
    void store(size_t offset, size_t bytes, const std::byte* data) override;
    bool plant(size_t offset, size_t bytes, std::byte value) override;
    void look(size_t offset, size_t bytes, std::byte* to) const override;
    bool stale(size_t offset, size_t bytes, bool exact) const override;

    // Tracks the range from now on and cleans it.
    Outcome track(size_t offset, size_t bytes);

    // Marks the range and cleans it. `whole`: the fingerprint looks at every byte.
    void mark(size_t offset, size_t bytes, bool whole);

  private:
    struct Mark {
        size_t bytes;
        bool whole;
        bool partial;  // only a part was cleaned since: the fingerprint says nothing of the rest
        uint64_t fingerprint;
    };

    const std::byte* begin_reading(size_t offset, size_t bytes) const override;
    void end_reading(size_t offset, size_t bytes) const override;
    bool unchanged(size_t offset, size_t bytes) const override;

    bool differs(size_t offset, size_t end) const;
    void copy(size_t offset, size_t end);
    bool marks_differ(size_t offset, size_t end) const;
    // The marks that the range touches are as the CPU's memory is now.
    void refresh_marks(size_t offset, size_t end);

    std::byte* const cpu_;
    const size_t size_;
    const bool cached_;
    mutable std::shared_mutex mutex_;  // guards what follows
    std::byte* copy_ = nullptr;
    RangeSet tracked_;
    std::map<size_t, Mark> marks_;  // by offset; the last mark at an offset counts
    size_t longest_mark_ = 0;
};

}  // namespace rknnsim
