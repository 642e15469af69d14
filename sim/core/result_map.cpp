// SPDX-License-Identifier: MIT
#include "core/result_map.hpp"

#include <algorithm>

#include "core/bytes.hpp"

namespace rknnsim {

void ResultMap::expect(size_t offset, size_t bytes, const Plant& plant) {
    const std::lock_guard<std::mutex> lock(mutex_);
    size_t& most = bound_[offset];
    most = std::max(most, bytes);
    RangeSet filled;
    computed_.for_each_gap(offset, offset + bytes, [&](size_t from, size_t to) {
        poisoned_.for_each_gap(from, to, [&](size_t begin, size_t end) {
            if (plant(begin, end - begin, kPoison)) filled.add(begin, end);
        });
    });
    filled.for_each_part(offset, offset + bytes,
                         [&](size_t begin, size_t end) { poisoned_.add(begin, end); });
}

void ResultMap::computed(size_t offset, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const size_t end = offset + bytes;
    if (!computed_.contains(offset, end)) computed_.add(offset, end);
    if (!unread_.contains(offset, end)) unread_.add(offset, end);
    if (!unused_.contains(offset, end)) unused_.add(offset, end);
    if (poisoned_.empty()) return;
    const auto bound = bound_.find(offset);
    poisoned_.remove(offset, bound == bound_.end() ? end : std::max(end, offset + bound->second));
}

void ResultMap::read(size_t offset, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    unread_.remove(offset, offset + bytes);
    unused_.remove(offset, offset + bytes);
}

void ResultMap::used(size_t offset, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    unused_.remove(offset, offset + bytes);
}

bool ResultMap::unused(size_t offset, size_t bytes) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return unused_.intersects(offset, offset + bytes);
}

bool ResultMap::unread(size_t offset, size_t bytes) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return unread_.intersects(offset, offset + bytes);
}

bool ResultMap::poisoned(const std::byte* base, size_t offset, size_t bytes) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    bool any = false;
    poisoned_.for_each_part(offset, offset + bytes, [&](size_t from, size_t to) {
        any = any || all_equal(base + from, to - from, kPoison);
    });
    return any;
}

}  // namespace rknnsim
