#include "matmul/weight_store.hpp"

#include "base/checked.hpp"

namespace rknpu2 {

Result<std::shared_ptr<PackedWeight>> WeightStore::get(const WeightKey& key, const Pack& pack, bool& made) {
    // Held while packing: a second thread that wants the same weight waits for it instead of packing it
    // again.
    const std::lock_guard lock(mutex_);
    made = false;
    if (const auto found = weights_.find(key); found != weights_.end()) return found->second;
    Result<std::shared_ptr<PackedWeight>> packed = pack();
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

size_t WeightStore::packed_bytes() const {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const auto& [key, weight] : weights_)
        bytes += weight->plan.packed_bytes();
    return bytes;
}

size_t WeightStore::raw_bytes() const {
    const std::lock_guard lock(mutex_);
    size_t bytes = 0;
    for (const auto& [key, weight] : weights_)
        bytes += key.bytes;
    return bytes;
}

}  // namespace rknpu2
