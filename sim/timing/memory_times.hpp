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
    void wait(Dependencies* after) const {
        after->add(operation);
        after->not_before(ns);
    }
};

class MemoryTimes {
  public:
    // What the range's data wait for: the run that wrote them, or the sync that handed them over.
    void wait_for_data(const Memory& memory, size_t bytes, Dependencies* after);
    // What has to end before the range may be overwritten.
    void wait_for_users(const Memory& memory, size_t bytes, Dependencies* after);

    void set_data(const Memory& memory, size_t bytes, const Moment& moment);
    void add_user(const Memory& memory, size_t bytes, const Moment& moment);

    void settle(const Timeline& timeline);

  private:
    struct Range {
        size_t end = 0;
        Moment data;
        std::array<Moment, kCores> users;  // the last one on each of up to three threads
    };
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
};

}  // namespace rknnsim
