// SPDX-License-Identifier: MIT
// The view of the device on an allocation of which every line is followed: the CPU's cache before the memory.
//
// Two mappings stand for the two sides: the buffer itself is what the CPU sees, an anonymous one is what is
// in memory, which the device reads and writes. Lines have 64 bytes. A line is *dirty* when the CPU has
// changed a byte of it since it was last clean. Nothing tells of a store, so dirty lines are found by
// comparing: with the device's bytes, or, where a result is *hidden* from the CPU, with the pattern that the
// CPU sees instead of it. Hence a store of the value that was there already is not seen.
//
//   clean        dirty lines that the range touches are written to the device's memory, whole
//   invalidate   the same, then the CPU sees the device's bytes of every line that the range touches
//   a result     is written to the device's memory. Dirty lines that it touches are lost, as far as it covers
//                them, or written back over it (CacheRules::dirty_overwrites). The CPU sees it at once, or
//                the pattern until it invalidates the lines (results_visible).
//
// The pattern depends on the byte's offset in the buffer, so that a forgotten invalidation gives wrong
// numbers everywhere, and a store over it is seen. Cost: operations read both mappings once; pages of the
// second one exist where something was written. Reading waits for nobody who works on other lines.
#pragma once

#include <vector>

#include "core/device_view.hpp"
#include "core/range_lock.hpp"
#include "core/range_set.hpp"

namespace rknnsim {

inline constexpr size_t kLineBytes = 64;

// What the CPU sees of hidden results: `bytes` at `offset` of a buffer.
void write_pattern(std::byte* to, size_t offset, size_t bytes);

class CachedView : public DeviceView {
  public:
    // `filled`: the device sees what the buffer holds; else both sides hold zeros.
    static Outcome create(std::byte* cpu, size_t size, bool filled, const CacheRules& rules,
                          std::unique_ptr<DeviceView>* view);
    ~CachedView() override;

    bool has_everything() const override { return true; }
    bool cached() const override { return true; }
    Outcome bind(size_t offset, size_t bytes, const BoundInput& input) override;
    void clean(size_t offset, size_t bytes) override;
    void invalidate(size_t offset, size_t bytes) override;
    std::byte* result(size_t /*offset*/) override { return nullptr; }
    void store(size_t offset, size_t bytes, const std::byte* data) override;
    bool plant(size_t offset, size_t bytes, std::byte value) override;
    void look(size_t offset, size_t bytes, std::byte* to) const override;
    bool stale(size_t offset, size_t bytes, bool exact) const override;
    size_t dirty_lines(size_t offset, size_t bytes) const override;
    bool hidden(size_t offset, size_t bytes) const override;

  private:
    struct Range {
        size_t begin, end;
    };
    using Ranges = std::vector<Range>;

    CachedView(std::byte* cpu, std::byte* device, size_t size, const CacheRules& rules)
        : cpu_(cpu), device_(device), size_(size), rules_(rules) {}

    const std::byte* begin_reading(size_t offset, size_t bytes) const override;
    void end_reading(size_t offset, size_t bytes) const override;
    bool unchanged(size_t offset, size_t bytes) const override { return dirty_lines(offset, bytes) == 0; }

    Range lines_of(size_t offset, size_t bytes) const;
    // What follows is for who holds the range.
    bool as_seen(size_t begin, size_t end, bool is_hidden) const;
    template <typename Visit>
    void for_each_change(Range range, size_t step, Visit&& visit) const;
    Ranges hidden_parts(Range range) const;
    Ranges find_dirty(Range lines) const;
    void write_back(const Ranges& dirty);
    void show(Range range, bool at_once);

    std::byte* const cpu_;
    std::byte* const device_;
    const size_t size_;
    const CacheRules rules_;
    mutable RangeLock lock_;  // guards the bytes on both sides
    // Guards what follows. A thread that changes a range of it also holds that range in lock_.
    mutable std::mutex hidden_mutex_;
    RangeSet hidden_;
};

}  // namespace rknnsim
