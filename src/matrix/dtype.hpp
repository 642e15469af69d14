// SPDX-License-Identifier: MIT
// Element types that the NPU's matrix unit and its runtime know.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknpu2 {

enum class DType : uint8_t { kInt4, kInt8, kInt16, kInt32, kFloat16, kBFloat16, kFloat32 };

// Width of one element in bits: int4 is the only type below a byte.
constexpr int dtype_bits(DType type) {
    switch (type) {
        case DType::kInt4:
            return 4;
        case DType::kInt8:
            return 8;
        case DType::kInt16:
        case DType::kFloat16:
        case DType::kBFloat16:
            return 16;
        case DType::kInt32:
        case DType::kFloat32:
            return 32;
    }
    return 0;
}

// Bytes of `count` elements, rounded up to whole bytes.
constexpr size_t dtype_bytes(DType type, size_t count) {
    return (count * static_cast<size_t>(dtype_bits(type)) + 7) / 8;
}

constexpr const char* dtype_name(DType type) {
    switch (type) {
        case DType::kInt4:
            return "int4";
        case DType::kInt8:
            return "int8";
        case DType::kInt16:
            return "int16";
        case DType::kInt32:
            return "int32";
        case DType::kFloat16:
            return "fp16";
        case DType::kBFloat16:
            return "bf16";
        case DType::kFloat32:
            return "fp32";
    }
    return "?";
}

}  // namespace rknpu2
