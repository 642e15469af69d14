// SPDX-License-Identifier: MIT
#include "device/work_areas.hpp"

#include <algorithm>

namespace rknpu2 {

template <typename Which>
bool WorkAreas::give_back(const Which& which) {
    return std::erase_if(areas_, [&](const auto& entry) {
               if (!which(entry)) return false;
               const Slice& slice = entry.second.slice;
               bytes_ -= slice.bytes;
               contexts_.forget(slice);
               pool_.give_back(slice);
               return true;
           }) > 0;
}

// Returns false if there was none.
bool WorkAreas::give_back_unused() {
    return !held_ && give_back([&](const auto& entry) { return entry.second.call != call_; });
}

void WorkAreas::drop_result(int domain, size_t index) {
    give_back([&](const auto& entry) { return entry.first == Use{domain, index, true}; });
}

void WorkAreas::drop_results_from(size_t first) {
    give_back([&](const auto& entry) { return entry.first.for_result && entry.first.index >= first; });
}

void WorkAreas::clear() {
    give_back([](const auto&) { return true; });
}

Result<Slice> WorkAreas::allocate(const Use& use, size_t bytes) {
    if (bytes_ + bytes > kMostKeptBytes) give_back_unused();
    Result<Slice> slice = pool_.allocate_alone(use.domain, bytes);
    if (!slice.ok() && slice.status().code() == StatusCode::kOutOfMemory && give_back_unused())
        slice = pool_.allocate_alone(use.domain, bytes);
    if (!slice.ok() || !use.for_result) return slice;
    Status status = coherency_.result_area_made(pool_.allocator(use.domain), slice.value().memory());
    if (status.ok()) return slice;
    pool_.give_back(slice.value());
    return status;
}

// The smallest that will do, or a new one.
Result<Slice> WorkAreas::area(const Use& use, size_t bytes) {
    const size_t most = bytes + std::max<size_t>(bytes / 4, 4096);
    Area* best = nullptr;
    for (auto [known, end] = areas_.equal_range(use); known != end; ++known) {
        const size_t size = known->second.slice.bytes;
        const bool fits = size >= bytes && size <= most;
        if (fits && (best == nullptr || size < best->slice.bytes)) best = &known->second;
    }
    if (best == nullptr) {
        const Slice made = RKNPU2_TAKE(allocate(use, bytes));
        best = &areas_.emplace(use, Area{made, call_})->second;
        bytes_ += made.bytes;
    }
    best->call = call_;
    return best->slice;
}

void WorkAreas::use_again(size_t cube, const Slice& area) {
    for (auto [known, end] = areas_.equal_range({area.domain, cube, false}); known != end; ++known)
        if (known->second.slice.id == area.id) known->second.call = call_;
}

}  // namespace rknpu2
