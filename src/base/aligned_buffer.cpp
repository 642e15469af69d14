// SPDX-License-Identifier: MIT
#include "base/aligned_buffer.hpp"

#include <cstdint>

#include "base/format.hpp"

namespace rknpu2 {

Result<AlignedBuffer> AlignedBuffer::allocate(size_t bytes, size_t alignment) {
    AlignedBuffer buffer;
    if (bytes > SIZE_MAX - alignment) {
        return Status(StatusCode::kOutOfMemory,
                      format("a request for %zu bytes of host memory is too large", bytes));
    }
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (rounded > 0) {
        buffer.data_.reset(static_cast<std::byte*>(std::aligned_alloc(alignment, rounded)));
        if (!buffer.data_)
            return Status(StatusCode::kOutOfMemory, format("no %zu bytes of host memory", rounded));
    }
    buffer.size_ = bytes;
    return buffer;
}

Status AlignedBuffer::grow(size_t bytes) {
    if (size_ >= bytes) return {};
    *this = RKNPU2_TAKE(allocate(bytes));
    return {};
}

}  // namespace rknpu2
