#include "matmul/work_areas.hpp"

namespace rknpu2 {

Result<DeviceMemoryPool::Slice> WorkAreas::grow(DeviceMemoryPool::Slice& area, int domain, size_t bytes) {
    if (area.id != 0 && area.bytes >= bytes) return area;
    release(area);
    Result<DeviceMemoryPool::Slice> larger = pool_.allocate_in(domain, bytes);
    RKNPU2_RETURN_IF_ERROR(larger.status());
    area = larger.value();
    return area;
}

void WorkAreas::release(DeviceMemoryPool::Slice& area) {
    if (area.id == 0) return;
    contexts_.forget(area);
    pool_.give_back(area);
    area = {};
}

void WorkAreas::clear() {
    for (auto& [key, area] : activations_)
        release(area);
    for (auto& [key, area] : results_)
        release(area);
}

}  // namespace rknpu2
