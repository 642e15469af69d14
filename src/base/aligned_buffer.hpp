// SPDX-License-Identifier: MIT
// Owned, aligned, uninitialised host memory; allocation failure is a Status, not an exception.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "base/status.hpp"

namespace rknpu2 {

// One cache line on x86-64 and on Cortex-A76, and enough for every vector load we make.
inline constexpr size_t kHostAlignment = 64;

class AlignedBuffer {
  public:
    AlignedBuffer() = default;

    // `bytes` may be 0; the size is rounded up to a multiple of `alignment` (a power of two).
    static Result<AlignedBuffer> allocate(size_t bytes, size_t alignment = kHostAlignment);

    // Makes room for at least `bytes`. Where there was less, the content is lost; if it fails, all is as before.
    Status grow(size_t bytes);

    std::byte* data() const { return data_.get(); }
    template <typename T>
    T* as() const {
        return reinterpret_cast<T*>(data_.get());
    }
    size_t size() const { return size_; }

  private:
    struct Free {
        void operator()(std::byte* p) const { std::free(p); }
    };
    std::unique_ptr<std::byte[], Free> data_;
    size_t size_ = 0;
};

}  // namespace rknpu2
