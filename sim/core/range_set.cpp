// SPDX-License-Identifier: MIT
#include "core/range_set.hpp"

#include <algorithm>
#include <iterator>

namespace rknnsim {

void RangeSet::add(size_t begin, size_t end) {
    if (begin >= end) return;
    auto range = ranges_.upper_bound(begin);
    if (range != ranges_.begin() && std::prev(range)->second >= begin) --range;
    while (range != ranges_.end() && range->first <= end) {
        begin = std::min(begin, range->first);
        end = std::max(end, range->second);
        range = ranges_.erase(range);
    }
    ranges_[begin] = end;
}

void RangeSet::remove(size_t begin, size_t end) {
    if (begin >= end) return;
    auto range = ranges_.upper_bound(begin);
    if (range != ranges_.begin() && std::prev(range)->second > begin) --range;
    while (range != ranges_.end() && range->first < end) {
        const auto [first, last] = *range;
        range = ranges_.erase(range);
        if (first < begin) ranges_[first] = begin;
        if (last > end) ranges_[end] = last;
    }
}

bool RangeSet::contains(size_t begin, size_t end) const {
    if (begin >= end) return true;
    const auto range = ranges_.upper_bound(begin);
    return range != ranges_.begin() && std::prev(range)->second >= end;
}

bool RangeSet::intersects(size_t begin, size_t end) const {
    bool any = false;
    for_each_part(begin, end, [&](size_t, size_t) { any = true; });
    return any;
}

void RangeSet::for_each_part(size_t begin, size_t end, const Visit& visit) const {
    auto range = ranges_.upper_bound(begin);
    if (range != ranges_.begin()) --range;
    for (; range != ranges_.end() && range->first < end; ++range) {
        const size_t from = std::max(range->first, begin);
        const size_t to = std::min(range->second, end);
        if (from < to) visit(from, to);
    }
}

void RangeSet::for_each_gap(size_t begin, size_t end, const Visit& visit) const {
    size_t at = begin;
    for_each_part(begin, end, [&](size_t from, size_t to) {
        if (at < from) visit(at, from);
        at = to;
    });
    if (at < end) visit(at, end);
}

}  // namespace rknnsim
