// SPDX-License-Identifier: MIT
#include "core/device_view.hpp"

#include "core/cached_view.hpp"
#include "core/tracked_view.hpp"

namespace rknnsim {

void DeviceView::synced(size_t offset, size_t bytes, uint64_t activity) {
    const std::lock_guard<std::mutex> lock(syncs_mutex_);
    if (!syncs_.empty() && syncs_.begin()->second.activity != activity) syncs_.clear();
    syncs_[offset] = {bytes, activity};
}

bool DeviceView::synced_twice(size_t offset, size_t bytes, uint64_t activity) const {
    {
        const std::lock_guard<std::mutex> lock(syncs_mutex_);
        const auto sync = syncs_.find(offset);
        if (sync == syncs_.end() || sync->second.bytes != bytes || sync->second.activity != activity)
            return false;
    }
    return unchanged(offset, bytes);
}

Outcome make_device_view(std::byte* cpu, size_t size, bool coherent, bool filled, const CacheRules& rules,
                         std::unique_ptr<DeviceView>* view) {
    if (coherent || !rules.follow_every_line()) {
        *view = std::make_unique<TrackedView>(cpu, size, !coherent);
        return {};
    }
    return CachedView::create(cpu, size, filled, rules, view);
}

}  // namespace rknnsim
