// Device memory that a running multiplication writes: a cube of activations for each row chunk and K segment,
// a result for each run whose result is not used up yet.
//
// Areas grow and are reused by every matmul of their IOMMU domain. Not thread safe: the device's lock guards
// them.
#pragma once

#include <map>
#include <utility>

#include "matmul/context_cache.hpp"
#include "matmul/device_memory.hpp"

namespace rknpu2 {

class WorkAreas {
  public:
    WorkAreas(DeviceMemoryPool& pool, ContextCache& contexts) : pool_(pool), contexts_(contexts) {}

    // At least `bytes`; content undefined.
    Result<DeviceMemoryPool::Slice> activations(int domain, size_t cube, size_t bytes) {
        return grow(activations_[{domain, cube}], domain, bytes);
    }
    Result<DeviceMemoryPool::Slice> result(int domain, size_t place, size_t bytes) {
        return grow(results_[{domain, place}], domain, bytes);
    }
    // Gives one result's area back: the next one is another.
    void drop_result(int domain, size_t place) { release(results_[{domain, place}]); }
    // Gives everything back.
    void clear();

  private:
    Result<DeviceMemoryPool::Slice> grow(DeviceMemoryPool::Slice& area, int domain, size_t bytes);
    void release(DeviceMemoryPool::Slice& area);

    DeviceMemoryPool& pool_;
    ContextCache& contexts_;
    std::map<std::pair<int, size_t>, DeviceMemoryPool::Slice> activations_;
    std::map<std::pair<int, size_t>, DeviceMemoryPool::Slice> results_;
};

}  // namespace rknpu2
