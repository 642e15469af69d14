// SPDX-License-Identifier: MIT
// Device memory that a running multiplication writes: a cube of activations for each row chunk and K segment,
// a result for each run whose result is not used up yet.
//
// Each area is a buffer of its own, and maintenance of the cache may cost by the whole of it (coherency.hpp),
// so an area is at most a quarter, or 4 KiB, larger than what it is used for: a index has several, one for
// each size that it is asked for. Areas are kept for the calls that come. When memory is short, or
// they come to kMostKeptBytes, those that the running call has not asked for are given back. An area of
// results is clean when it is made, and the CPU never writes to it.
//
// Not thread safe: the device's lock guards them.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "device/coherency.hpp"
#include "device/context_cache.hpp"
#include "device/device_memory.hpp"

namespace rknpu2 {

// Bytes of all areas together that are kept; twice what a prompt of 512 rows in a 7B model takes.
inline constexpr size_t kMostKeptBytes = kWorkAreaBytes / 2;

class WorkAreas {
  public:
    WorkAreas(DeviceMemoryPool& pool, ContextCache& contexts, Coherency& coherency)
        : pool_(pool), contexts_(contexts), coherency_(coherency) {}

    // What is asked for from now on stays until the next call begins.
    void begin_call() { ++call_; }
    // At least `bytes`; content undefined. The same area for the same bytes, and for similar ones.
    Result<DeviceMemoryPool::Slice> activations(int domain, size_t cube, size_t bytes) {
        return area(activations_[{domain, cube}], domain, bytes, false);
    }
    Result<DeviceMemoryPool::Slice> result(int domain, size_t index, size_t bytes) {
        return area(results_[{domain, index}], domain, bytes, true);
    }
    // An area of activations that an earlier call has filled is used again.
    void use_again(const DeviceMemoryPool::Slice& area);
    // Gives one result's areas back: the next ones are others.
    void drop_result(int domain, size_t index);
    // Gives everything back.
    void clear();

  private:
    struct Area {
        DeviceMemoryPool::Slice slice;
        uint64_t call;  // that asked for it last
    };
    using AreaMap = std::map<std::pair<int, size_t>, std::vector<Area>>;

    Result<DeviceMemoryPool::Slice> area(std::vector<Area>& areas, int domain, size_t bytes, bool for_result);
    static Area* find(std::vector<Area>& areas, size_t bytes);
    Result<DeviceMemoryPool::Slice> allocate(int domain, size_t bytes, bool for_result);
    bool give_back_unused();
    void release(const Area& area);

    DeviceMemoryPool& pool_;
    ContextCache& contexts_;
    Coherency& coherency_;
    uint64_t call_ = 0;
    size_t bytes_ = 0;  // of all areas
    AreaMap activations_;
    AreaMap results_;
};

}  // namespace rknpu2
