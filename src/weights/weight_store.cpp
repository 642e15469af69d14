// SPDX-License-Identifier: MIT
#include "weights/weight_store.hpp"

#include <algorithm>

#include "base/checked.hpp"

namespace rknpu2 {

Result<std::shared_ptr<const PackedWeight>> WeightStore::get(const WeightKey& key, const Pack& pack,
                                                             bool& made) {
    // Held while packing: a second thread that wants the same weight waits for it instead of packing it
    // again.
    const std::lock_guard lock(mutex_);
    made = false;
    if (const auto found = weights_.find(key); found != weights_.end()) return found->second;
    Result<std::shared_ptr<const PackedWeight>> packed = pack();
    if (packed.ok()) {
        made = true;
        weights_.emplace(key, packed.value());
    }
    return packed;
}

bool WeightStore::contains(const WeightKey& key) const {
    const std::lock_guard lock(mutex_);
    return weights_.contains(key);
}

void WeightStore::invalidate(size_t offset, size_t bytes) {
    const std::lock_guard lock(mutex_);
    std::erase_if(weights_, [&](const auto& entry) {
        const WeightKey& key = entry.first;
        return key.offset < saturating_add(offset, bytes) && offset < key.offset + key.bytes;
    });
}

bool WeightStore::empty() const {
    const std::lock_guard lock(mutex_);
    return weights_.empty();
}

// A weight that is kept in two forms counts once: its keys follow each other, by place.
size_t WeightStore::raw_bytes() const {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    size_t counted_to = 0;
    for (const auto& [key, weight] : weights_) {
        const size_t end = key.offset + key.bytes;
        bytes += end - std::min(end, std::max(key.offset, counted_to));
        counted_to = std::max(counted_to, end);
    }
    return bytes;
}

}  // namespace rknpu2
