// SPDX-License-Identifier: MIT
// A set of byte positions, kept as disjoint ranges that do not touch each other.
//
// Cost: logarithmic in the number of ranges, plus the ranges that a call merges or cuts. Not thread safe.
#pragma once

#include <cstddef>
#include <functional>
#include <map>

namespace rknnsim {

class RangeSet {
  public:
    using Visit = std::function<void(size_t begin, size_t end)>;

    bool empty() const { return ranges_.empty(); }

    void add(size_t begin, size_t end);
    void remove(size_t begin, size_t end);

    // Is every byte, or any byte, of [begin, end) in the set? Empty ranges: yes to the first, no to the
    // second.
    bool contains(size_t begin, size_t end) const;
    bool intersects(size_t begin, size_t end) const;

    // The parts of [begin, end) that are in the set, and those that are not, in ascending order.
    void for_each_part(size_t begin, size_t end, const Visit& visit) const;
    void for_each_gap(size_t begin, size_t end, const Visit& visit) const;

  private:
    std::map<size_t, size_t> ranges_;  // begin -> end
};

}  // namespace rknnsim
