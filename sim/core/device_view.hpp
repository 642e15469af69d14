// SPDX-License-Identifier: MIT
// What the device sees of an allocation, as opposed to what the CPU has written.
//
// CPU caches are not coherent with the NPU: it does not see a store until the line is cleaned. Two classes
// follow that: TrackedView follows what is bound as an input, and is cheap; CachedView follows every line of
// the buffer, and what the CPU sees of results. DeviceView is what they have in common. All offsets and sizes
// are bytes of the allocation. Thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "core/cache_rules.hpp"
#include "core/outcome.hpp"

namespace rknnsim {

// What is known of an input when it is bound.
struct BoundInput {
    bool copied = true;   // the device has a copy of its own, whatever it costs
    bool marked = false;  // remember a fingerprint, for what has no copy
    bool whole = false;   // which looks at every byte
};

class DeviceView {
  public:
    virtual ~DeviceView() = default;
    DeviceView(const DeviceView&) = delete;
    DeviceView& operator=(const DeviceView&) = delete;

    // Does the device have everything of its own, so that every input is to be read through a Reading?
    virtual bool has_everything() const = 0;
    // False for memory that is never stale.
    virtual bool cached() const = 0;

    // The range is bound as a native input, which may clean it.
    virtual Outcome bind(size_t offset, size_t bytes, const BoundInput& input) = 0;
    // The device sees from now on what the CPU has written.
    virtual void clean(size_t offset, size_t bytes) = 0;
    // The CPU sees from now on what the device has written.
    virtual void invalidate(size_t offset, size_t bytes) = 0;

    // Where a run puts the result for the range; nullptr: anywhere.
    virtual std::byte* result(size_t offset) = 0;
    // The device has written the range; `data` is what result() gave, or the bytes. nullptr: zeros.
    virtual void store(size_t offset, size_t bytes, const std::byte* data) = 0;

    // Fills the range with `value`, as if it had always been there, if all of it is zero. Returns whether it
    // was.
    virtual bool plant(size_t offset, size_t bytes, std::byte value) = 0;

    // Copies what the device sees of the range; what is not followed, from what the CPU sees.
    virtual void look(size_t offset, size_t bytes, std::byte* to) const = 0;

    // Has the CPU changed something in the range that the device does not see? `exact` compares every byte;
    // without it, samples of a large range may do.
    virtual bool stale(size_t offset, size_t bytes, bool exact) const = 0;
    // How many lines that the range touches has the CPU written and nobody cleaned? 0 where lines are not
    // followed.
    virtual size_t dirty_lines(size_t /*offset*/, size_t /*bytes*/) const { return 0; }
    // Is there a result in the range that the CPU does not see yet?
    virtual bool hidden(size_t /*offset*/, size_t /*bytes*/) const { return false; }

    // Remembers a sync of the range. `activity` counts the calls of the program that were no syncs.
    void synced(size_t offset, size_t bytes, uint64_t activity);
    // Was the range synced before with no other call since, and is it for sure as it was then?
    bool synced_twice(size_t offset, size_t bytes, uint64_t activity) const;

    // Holds a range still for reading: nobody can clean it while the Reading lives.
    class Reading {
      public:
        Reading(const DeviceView& view, size_t offset, size_t bytes)
            : view_(view), offset_(offset), bytes_(bytes), data_(view.begin_reading(offset, bytes)) {}
        ~Reading() { view_.end_reading(offset_, bytes_); }
        Reading(const Reading&) = delete;
        Reading& operator=(const Reading&) = delete;
        const std::byte* data() const { return data_; }

      private:
        const DeviceView& view_;
        const size_t offset_, bytes_;
        const std::byte* const data_;
    };

  protected:
    DeviceView() = default;

    virtual const std::byte* begin_reading(size_t offset, size_t bytes) const = 0;
    virtual void end_reading(size_t offset, size_t bytes) const = 0;
    // Is the range for sure what it was at its last cleaning?
    virtual bool unchanged(size_t offset, size_t bytes) const = 0;

  private:
    struct Sync {
        size_t bytes;
        uint64_t activity;
    };
    mutable std::mutex syncs_mutex_;
    std::map<size_t, Sync> syncs_;  // by offset, since the last other call
};

// The view that the rules ask for. `cpu` is the allocation as the CPU sees it; `coherent`: it has no cache
// before it. `filled`: it holds data already, which the device sees.
Outcome make_device_view(std::byte* cpu, size_t size, bool coherent, bool filled, const CacheRules& rules,
                         std::unique_ptr<DeviceView>* view);

}  // namespace rknnsim
