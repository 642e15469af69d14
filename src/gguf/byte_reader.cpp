// SPDX-License-Identifier: MIT
#include "gguf/byte_reader.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

constexpr uint64_t kWindow = 64 * 1024;

}  // namespace

Status ByteReader::check_left(uint64_t bytes, const char* what) const {
    if (bytes <= remaining()) return {};
    return {StatusCode::kIo, format("truncated: %s takes %" PRIu64 " bytes at offset %" PRIu64
                                    ", and the file ends at %" PRIu64,
                                    what, bytes, position_, size_)};
}

Status ByteReader::read(void* out, size_t bytes, const char* what) {
    RKNPU2_RETURN_IF_ERROR(check_left(bytes, what));
    auto* to = static_cast<std::byte*>(out);
    while (bytes > 0) {
        const bool inside = position_ >= window_start_ && position_ < window_start_ + window_.size();
        if (!inside) {
            window_start_ = position_;
            window_.resize(static_cast<size_t>(std::min(kWindow, remaining())));
            if (!source_(window_start_, window_.data(), window_.size())) {
                window_.clear();
                return {StatusCode::kIo, format("cannot be read at offset %" PRIu64, position_)};
            }
        }
        const auto first = static_cast<size_t>(position_ - window_start_);
        const size_t count = std::min(bytes, window_.size() - first);
        std::memcpy(to, window_.data() + first, count);
        to += count;
        bytes -= count;
        position_ += count;
    }
    return {};
}

Status ByteReader::skip(uint64_t bytes, const char* what) {
    RKNPU2_RETURN_IF_ERROR(check_left(bytes, what));
    position_ += bytes;
    return {};
}

}  // namespace rknpu2
