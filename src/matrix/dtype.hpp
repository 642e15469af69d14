// SPDX-License-Identifier: MIT
// Element types that the NPU's matrix unit and its runtime know.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

enum class DType : uint8_t { kInt4, kInt8, kInt16, kInt32, kFloat16, kBFloat16, kFloat32 };

struct DTypeFacts {
    const char* name;
    int bits;
};
inline constexpr DTypeFacts kDTypes[] = {{"int4", 4},  {"int8", 8},  {"int16", 16}, {"int32", 32},
                                         {"fp16", 16}, {"bf16", 16}, {"fp32", 32}};

// Width of one element in bits: int4 is the only type below a byte.
constexpr int dtype_bits(DType type) {
    return kDTypes[static_cast<size_t>(type)].bits;
}

constexpr const char* dtype_name(DType type) {
    return kDTypes[static_cast<size_t>(type)].name;
}

// Bytes of `count` elements, rounded up to whole bytes.
constexpr size_t dtype_bytes(DType type, size_t count) {
    return (count * static_cast<size_t>(dtype_bits(type)) + 7) / 8;
}

}  // namespace rknpu2
