// SPDX-License-Identifier: MIT
#include "core/iova.hpp"

#include <iterator>

namespace rknnsim {
namespace {

uint64_t pages(uint64_t bytes) {
    return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

IovaSpace::IovaSpace(uint64_t bytes) {
    const uint64_t top = uint64_t{1} << 32;
    free_[bytes >= top ? kPage : top - bytes / kPage * kPage] = top;
}

uint64_t IovaSpace::allocate(uint64_t bytes) {
    const uint64_t size = pages(bytes);
    for (auto range = free_.rbegin(); range != free_.rend(); ++range) {
        if (range->second - range->first < size) continue;
        const uint64_t start = range->first;
        const uint64_t address = range->second - size;
        range->second = address;
        if (address == start) free_.erase(start);
        used_ += size;
        return address;
    }
    return 0;
}

void IovaSpace::release(uint64_t address, uint64_t bytes) {
    const uint64_t size = pages(bytes);
    used_ -= size;
    auto range = free_.emplace(address, address + size).first;
    if (const auto next = std::next(range); next != free_.end() && next->first == range->second) {
        range->second = next->second;
        free_.erase(next);
    }
    if (range != free_.begin()) {
        if (const auto previous = std::prev(range); previous->second == range->first) {
            previous->second = range->second;
            free_.erase(range);
        }
    }
}

}  // namespace rknnsim
