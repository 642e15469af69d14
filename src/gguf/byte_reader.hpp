// SPDX-License-Identifier: MIT
// Reads a file front to back in small pieces, and never past its end.
//
// A window of 64 KiB moves over the file, so many small reads and skips cost few system calls, and nothing in a
// file can make the reader allocate more. A read or skip of more than is left fails with the offset and what
// was being read. Little-endian numbers only, as in GGUF.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/status.hpp"

namespace rknpu2 {

static_assert(std::endian::native == std::endian::little, "numbers are read as they stand in the file");

class ByteReader {
  public:
    // Copies `bytes` bytes at `offset` (both inside the size given below); false if that fails.
    using Source = std::function<bool(uint64_t offset, void* out, size_t bytes)>;

    ByteReader(Source source, uint64_t size) : source_(std::move(source)), size_(size) {}

    uint64_t position() const { return position_; }
    uint64_t size() const { return size_; }
    uint64_t remaining() const { return size_ - position_; }

    // `what` says in a message what was being read, such as "the version".
    Status read(void* out, size_t bytes, const char* what);
    Status skip(uint64_t bytes, const char* what);

    template <typename T>
    Status read_number(T& out, const char* what) {
        static_assert(std::is_arithmetic_v<T>);
        return read(&out, sizeof(T), what);
    }

  private:
    Status check_left(uint64_t bytes, const char* what) const;

    Source source_;
    uint64_t size_;
    uint64_t position_ = 0;
    std::vector<std::byte> window_;
    uint64_t window_start_ = 0;
};

}  // namespace rknpu2
