// SPDX-License-Identifier: MIT
// Which bytes of an allocation hold results of runs, and which hold poison.
//
// Memory that is bound to C for the first time is filled with kPoison, so that a result which was never
// computed cannot pass for one; only bytes that no run has written and that are still zero are filled,
// because everything else may be somebody's data. A run that writes a shorter result than was expected at the
// same place supersedes that: what lies behind it is nobody's, and poison no more. A result stays *unread* until a sync from the device covers
// it. Thread safe.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <mutex>

#include "core/range_set.hpp"

namespace rknnsim {

inline constexpr auto kPoison = std::byte{0xAA};

class ResultMap {
  public:
    // Poisons what [offset, offset + bytes) may be poisoned of: plant(offset, bytes, value) fills a range
    // that is zero, and says whether it was.
    using Plant = std::function<bool(size_t offset, size_t bytes, std::byte value)>;
    void expect(size_t offset, size_t bytes, const Plant& plant);

    // A run has written the range.
    void computed(size_t offset, size_t bytes);

    // A sync from the device covers the range.
    void read(size_t offset, size_t bytes);

    // A run reads the range as an input.
    void used(size_t offset, size_t bytes);

    // Is there a result in the range that no sync has covered?
    bool unread(size_t offset, size_t bytes) const;

    // Is there a result in the range that neither a sync has covered nor a run has read?
    bool unused(size_t offset, size_t bytes) const;

    // Is a part of the range poison still? What the CPU has written since is none.
    bool poisoned(const std::byte* base, size_t offset, size_t bytes) const;

  private:
    mutable std::mutex mutex_;
    RangeSet computed_;
    RangeSet unread_;
    RangeSet unused_;
    RangeSet poisoned_;
    std::map<size_t, size_t> bound_;  // by offset: the most bytes that were expected there
};

}  // namespace rknnsim
