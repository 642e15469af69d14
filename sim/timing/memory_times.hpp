// SPDX-License-Identifier: MIT
// When ranges of device memory were last written, handed to the device and used: what makes one thread's
// operation wait for another's.
//
// A range is known by its allocation and offset, so that two imports of one buffer agree. A Moment names an
// operation of the Timeline; settle() turns those that were laid out into times before the Timeline forgets
// them.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <unordered_map>

#include "core/memory.hpp"
#include "timing/timeline.hpp"

namespace rknnsim {

struct Moment {
    uint64_t operation = 0;  // 0: `ns` says when
    uint64_t ns = 0;
    int thread = -1;

    void settle(const Timeline& timeline);
    // What `waiter` did itself it need not wait for.
    void wait(int waiter, Dependencies* after) const {
        if (thread == waiter) return;
        after->add(operation);
        after->not_before(ns);
    }
};

class MemoryTimes {
  public:
    struct Range {
        size_t end = 0;
        Moment data;
        std::array<Moment, kCores> users;  // the last one on each of up to three threads

        void wait_for_data(int waiter, Dependencies* after) const { data.wait(waiter, after); }
        void wait_for_users(int waiter, Dependencies* after) const;
        void add_user(const Moment& moment);
    };
    // Remembers the range of an operand that is used again and again.
    struct Cursor {
        const Allocation* allocation = nullptr;
        size_t offset = 0, bytes = 0;
        uint64_t version = 0;
        Range* range = nullptr;
    };

    // What the range's data wait for: the run that wrote them, or the sync that handed them over.
    void wait_for_data(const Memory& memory, size_t bytes, int waiter, Dependencies* after);
    // What has to end before the range may be overwritten.
    void wait_for_users(const Memory& memory, size_t bytes, int waiter, Dependencies* after);

    void set_data(const Memory& memory, size_t bytes, const Moment& moment);
    void add_user(const Memory& memory, size_t bytes, const Moment& moment);

    // The one known range that is exactly this; nullptr when it is in several parts.
    Range* exact(const Memory& memory, size_t bytes, Cursor* cursor);

    void settle(const Timeline& timeline);

  private:
    struct Buffer {
        std::weak_ptr<Allocation> allocation;
        std::map<size_t, Range> ranges;  // disjoint, by start
    };

    Buffer& buffer_of(const Memory& memory);
    template <typename Visit>
    void look(const Memory& memory, size_t bytes, Visit&& visit);
    template <typename Visit>
    void change(const Memory& memory, size_t bytes, Visit&& visit);

    std::unordered_map<const Allocation*, Buffer> buffers_;
    uint64_t version_ = 1;  // changes when ranges come, go or are cut
};

}  // namespace rknnsim
