// SPDX-License-Identifier: MIT
#include "timing/memory_times.hpp"

#include <algorithm>

namespace rknnsim {

void Moment::settle(const Timeline& timeline) {
    if (operation == 0 || !timeline.resolved(operation)) return;
    ns = std::max(ns, timeline.end_of(operation));
    operation = 0;
}

MemoryTimes::Buffer& MemoryTimes::buffer_of(const Memory& memory) {
    Buffer& buffer = buffers_[memory.allocation.get()];
    if (buffer.allocation.expired()) {  // new, or another one lived at that address
        buffer.allocation = memory.allocation;
        buffer.ranges.clear();
        ++version_;
    }
    return buffer;
}

// Calls visit(range) for every known range that overlaps.
template <typename Visit>
void MemoryTimes::look(const Memory& memory, size_t bytes, Visit&& visit) {
    std::map<size_t, Range>& ranges = buffer_of(memory).ranges;
    const size_t end = memory.offset + bytes;
    auto at = ranges.upper_bound(memory.offset);
    if (at != ranges.begin() && std::prev(at)->second.end > memory.offset) --at;
    for (; at != ranges.end() && at->first < end; ++at)
        visit(at->second);
}

// Cuts the known ranges so that they cover exactly [offset, offset + bytes), and calls visit(range) on each.
template <typename Visit>
void MemoryTimes::change(const Memory& memory, size_t bytes, Visit&& visit) {
    std::map<size_t, Range>& ranges = buffer_of(memory).ranges;
    const size_t end = memory.offset + bytes;
    size_t start = memory.offset;
    auto at = ranges.lower_bound(start);
    if (at != ranges.begin()) {
        Range& before = std::prev(at)->second;
        if (before.end > start) {
            at = ranges.emplace_hint(at, start, before);
            before.end = start;
            ++version_;
        }
    }
    while (start < end) {
        if (at == ranges.end() || at->first > start) {  // a gap
            const size_t gap_end = at == ranges.end() ? end : std::min(end, at->first);
            at = ranges.emplace_hint(at, start, Range{.end = gap_end});
            ++version_;
        } else if (at->second.end > end) {
            ranges.emplace_hint(std::next(at), end, at->second);
            at->second.end = end;
            ++version_;
        }
        visit(at->second);
        start = at->second.end;
        ++at;
    }
}

void MemoryTimes::Range::wait_for_users(int waiter, Dependencies* after) const {
    data.wait(waiter, after);
    for (const Moment& user : users)
        user.wait(waiter, after);
}

// With more threads than there is room for, the one that used the range longest ago gives way.
void MemoryTimes::Range::add_user(const Moment& moment) {
    Moment* place = users.data();
    for (Moment& user : users) {
        if (user.thread == moment.thread) {
            place = &user;
            break;
        }
        if (std::pair(user.operation, user.ns) < std::pair(place->operation, place->ns)) place = &user;
    }
    *place = moment;
}

void MemoryTimes::wait_for_data(const Memory& memory, size_t bytes, int waiter, Dependencies* after) {
    look(memory, bytes, [&](const Range& range) { range.wait_for_data(waiter, after); });
}

void MemoryTimes::wait_for_users(const Memory& memory, size_t bytes, int waiter, Dependencies* after) {
    look(memory, bytes, [&](const Range& range) { range.wait_for_users(waiter, after); });
}

void MemoryTimes::set_data(const Memory& memory, size_t bytes, const Moment& moment) {
    change(memory, bytes, [&](Range& range) { range.data = moment; });
}

void MemoryTimes::add_user(const Memory& memory, size_t bytes, const Moment& moment) {
    change(memory, bytes, [&](Range& range) { range.add_user(moment); });
}

MemoryTimes::Range* MemoryTimes::exact(const Memory& memory, size_t bytes, Cursor* cursor) {
    if (cursor->version == version_ && cursor->allocation == memory.allocation.get() &&
        cursor->offset == memory.offset && cursor->bytes == bytes)
        return cursor->range;
    Range* whole = nullptr;
    change(memory, bytes, [&](Range& range) { whole = whole == nullptr ? &range : whole; });
    if (whole == nullptr || whole->end != memory.offset + bytes) return nullptr;
    *cursor = {memory.allocation.get(), memory.offset, bytes, version_, whole};
    return whole;
}

void MemoryTimes::settle(const Timeline& timeline) {
    if (std::erase_if(buffers_, [](const auto& entry) { return entry.second.allocation.expired(); }) > 0)
        ++version_;
    for (auto& [address, buffer] : buffers_) {
        for (auto& [start, range] : buffer.ranges) {
            range.data.settle(timeline);
            for (Moment& user : range.users)
                user.settle(timeline);
        }
    }
}

}  // namespace rknnsim
