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
        }
    }
    while (start < end) {
        if (at == ranges.end() || at->first > start) {  // a gap
            const size_t gap_end = at == ranges.end() ? end : std::min(end, at->first);
            at = ranges.emplace_hint(at, start, Range{.end = gap_end});
        } else if (at->second.end > end) {
            ranges.emplace_hint(std::next(at), end, at->second);
            at->second.end = end;
        }
        visit(at->second);
        start = at->second.end;
        ++at;
    }
}

void MemoryTimes::wait_for_data(const Memory& memory, size_t bytes, Dependencies* after) {
    look(memory, bytes, [&](const Range& range) { range.data.wait(after); });
}

void MemoryTimes::wait_for_users(const Memory& memory, size_t bytes, Dependencies* after) {
    look(memory, bytes, [&](const Range& range) {
        range.data.wait(after);
        for (const Moment& user : range.users)
            user.wait(after);
    });
}

void MemoryTimes::set_data(const Memory& memory, size_t bytes, const Moment& moment) {
    change(memory, bytes, [&](Range& range) { range.data = moment; });
}

void MemoryTimes::add_user(const Memory& memory, size_t bytes, const Moment& moment) {
    change(memory, bytes, [&](Range& range) {
        Moment* place = nullptr;
        for (Moment& user : range.users) {
            if (user.thread == moment.thread) place = &user;
        }
        // With more threads than that, the one that used it longest ago gives way.
        if (place == nullptr) {
            place = &*std::min_element(range.users.begin(), range.users.end(),
                                       [](const Moment& a, const Moment& b) {
                                           return std::pair(a.operation, a.ns) < std::pair(b.operation, b.ns);
                                       });
        }
        *place = moment;
    });
}

void MemoryTimes::settle(const Timeline& timeline) {
    std::erase_if(buffers_, [](const auto& entry) { return entry.second.allocation.expired(); });
    for (auto& [address, buffer] : buffers_) {
        for (auto& [start, range] : buffer.ranges) {
            range.data.settle(timeline);
            for (Moment& user : range.users)
                user.settle(timeline);
        }
    }
}

}  // namespace rknnsim
