// SPDX-License-Identifier: MIT
// What is made of the raw weights of one buffer when it is first needed: packed weights, or copies for the CPU.
//
// A key is an offset in the buffer, the type, the shape and the form, never an address. Any write to the
// buffer drops what it touches; whoever computes with a dropped form keeps it alive until done. Thread safe.
#pragma once

#include <algorithm>
#include <map>
#include <mutex>

#include "base/checked.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

struct WeightKey {
    size_t offset = 0;  // of the first byte in the buffer
    size_t bytes = 0;   // of the raw weight
    int type = 0;       // the host's number of the type
    size_t K = 0;
    size_t N = 0;
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;  // a weight may be wanted in both

    auto operator<=>(const WeightKey&) const = default;  // NOLINT(modernize-use-nullptr): it trips over <=>
};

// Form: a pointer that shares.
template <typename Form>
class WeightStore {
  public:
    // Returns the weight's form; make() makes it, a Result<Form>, if it is not there. A failure is not kept. The lock
    // is held meanwhile: a second thread that wants the same weight waits for it instead of making it again.
    template <typename Make>
    Result<Form> get(const WeightKey& key, const Make& make) {
        const std::lock_guard lock(mutex_);
        if (const auto found = forms_.find(key); found != forms_.end()) return found->second;
        Result<Form> made = make();
        if (made.ok()) forms_.emplace(key, made.value());
        return made;
    }

    // Null: it is not there.
    Form known(const WeightKey& key) const {
        const std::lock_guard lock(mutex_);
        const auto found = forms_.find(key);
        return found == forms_.end() ? Form{} : found->second;
    }

    // Bytes [offset, offset + bytes) have been or are about to be written.
    void invalidate(size_t offset, size_t bytes) {
        const std::lock_guard lock(mutex_);
        std::erase_if(forms_, [&](const auto& entry) {
            const WeightKey& key = entry.first;
            return key.offset < saturating_add(offset, bytes) && offset < key.offset + key.bytes;
        });
    }

    // A weight that is kept in two forms counts once: its keys follow each other, by place.
    size_t raw_bytes() const {
        const std::lock_guard lock(mutex_);
        size_t bytes = 0;
        size_t counted_to = 0;
        for (const auto& [key, form] : forms_) {
            const size_t end = key.offset + key.bytes;
            bytes += end - std::min(end, std::max(key.offset, counted_to));
            counted_to = std::max(counted_to, end);
        }
        return bytes;
    }

  private:
    mutable std::mutex mutex_;
    std::map<WeightKey, Form> forms_;
};

}  // namespace rknpu2
