// SPDX-License-Identifier: MIT
// Looking at plain bytes.
#pragma once

#include <cstddef>
#include <cstring>

namespace rknnsim {

// Comparing a range with itself, one byte later, is comparing every byte with the first.
inline bool all_equal(const std::byte* data, size_t bytes, std::byte value) {
    return bytes == 0 || (data[0] == value && std::memcmp(data, data + 1, bytes - 1) == 0);
}

}  // namespace rknnsim
