// SPDX-License-Identifier: MIT
// The packed weights of one buffer of raw weights, made when they are first needed.
//
// A key is an offset in the buffer, the type, the shape and the form, never an address. Any write to the
// buffer drops what it touches; whoever multiplies with a dropped weight keeps it alive until done. Thread
// safe.
#pragma once

#include <functional>
#include <map>
#include <mutex>

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

class WeightStore {
  public:
    using Pack = std::function<Result<std::shared_ptr<const PackedWeight>>()>;

    // The packed weight; `pack` makes it if it is not there, and `made` tells so.
    Result<std::shared_ptr<const PackedWeight>> get(const WeightKey& key, const Pack& pack, bool& made);

    bool contains(const WeightKey& key) const;

    // Bytes [offset, offset + bytes) have been or are about to be written.
    void invalidate(size_t offset, size_t bytes);

    bool empty() const;
    size_t raw_bytes() const;

  private:
    mutable std::mutex mutex_;
    std::map<WeightKey, std::shared_ptr<const PackedWeight>> weights_;
};

}  // namespace rknpu2
