// SPDX-License-Identifier: MIT
#include "device/work_areas.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

// Bytes that an area may be larger than what it is used for.
constexpr size_t most_for(size_t bytes) {
    return bytes + std::max<size_t>(bytes / 4, 4096);
}

}  // namespace

// The smallest that will do.
WorkAreas::Area* WorkAreas::find(std::vector<Area>& areas, size_t bytes) {
    Area* best = nullptr;
    for (Area& area : areas) {
        const bool fits = area.slice.bytes >= bytes && area.slice.bytes <= most_for(bytes);
        if (fits && (best == nullptr || area.slice.bytes < best->slice.bytes)) best = &area;
    }
    return best;
}

Result<DeviceMemoryPool::Slice> WorkAreas::allocate(int domain, size_t bytes, bool for_result) {
    if (bytes_ + bytes > kMostKeptBytes) give_back_unused();
    Result<DeviceMemoryPool::Slice> slice = pool_.allocate_alone(domain, bytes);
    if (!slice.ok() && slice.status().code() == StatusCode::kOutOfMemory && give_back_unused())
        slice = pool_.allocate_alone(domain, bytes);
    if (!slice.ok() || !for_result) return slice;
    Status status = coherency_.result_area_made(pool_.allocator(domain), slice.value().memory());
    if (status.ok()) return slice;
    pool_.give_back(slice.value());
    return status;
}

Result<DeviceMemoryPool::Slice> WorkAreas::area(std::vector<Area>& areas, int domain, size_t bytes,
                                                bool for_result) {
    if (Area* const known = find(areas, bytes)) {
        known->call = call_;
        return known->slice;
    }
    Result<DeviceMemoryPool::Slice> slice = allocate(domain, bytes, for_result);
    RKNPU2_RETURN_IF_ERROR(slice.status());
    areas.push_back({slice.value(), call_});
    bytes_ += slice.value().bytes;
    return slice;
}

void WorkAreas::use_again(const DeviceMemoryPool::Slice& area) {
    for (auto& [index, areas] : activations_) {
        for (Area& known : areas)
            if (known.slice.id == area.id) known.call = call_;
    }
}

void WorkAreas::release(const Area& area) {
    bytes_ -= area.slice.bytes;
    contexts_.forget(area.slice);
    pool_.give_back(area.slice);
}

// False: there was none.
bool WorkAreas::give_back_unused() {
    bool any = false;
    for (AreaMap* const map : {&activations_, &results_}) {
        for (auto& [index, areas] : *map) {
            std::erase_if(areas, [&](const Area& area) {
                const bool unused = area.call != call_;
                if (unused) release(area);
                any = any || unused;
                return unused;
            });
        }
    }
    return any;
}

void WorkAreas::drop_result(int domain, size_t index) {
    std::vector<Area>& areas = results_[{domain, index}];
    for (const Area& area : areas)
        release(area);
    areas.clear();
}

void WorkAreas::clear() {
    for (AreaMap* const map : {&activations_, &results_}) {
        for (const auto& [index, areas] : *map)
            for (const Area& area : areas)
                release(area);
        map->clear();
    }
}

}  // namespace rknpu2
