// SPDX-License-Identifier: MIT
// The matmul types that the simulated chip accepts, and the three operands.
//
// The numbers are the vendor runtime's. Type 9 exists only in the form that the real runtime accepts and then
// answers with zeros (see problem.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "matrix/layout.hpp"

namespace rknnsim {

using rknpu2::DType;
using rknpu2::Layout;

enum class MatmulType : int {
    kF16F16F32 = 1,
    kI8I8I32 = 2,
    kI8I8I8 = 3,
    kF16F16F16 = 4,
    kI8I8F32 = 9,
    kI4I4I16 = 10,
};

enum class Operand : int { kA = 0, kB = 1, kC = 2 };

constexpr const char* operand_name(Operand which) {
    return which == Operand::kA ? "A" : which == Operand::kB ? "B" : "C";
}

constexpr DType input_type(MatmulType type) {
    switch (type) {
        case MatmulType::kF16F16F32:
        case MatmulType::kF16F16F16:
            return DType::kFloat16;
        case MatmulType::kI4I4I16:
            return DType::kInt4;
        default:
            return DType::kInt8;
    }
}

constexpr DType output_type(MatmulType type) {
    switch (type) {
        case MatmulType::kF16F16F32:
        case MatmulType::kI8I8F32:
            return DType::kFloat32;
        case MatmulType::kI8I8I32:
            return DType::kInt32;
        case MatmulType::kI8I8I8:
            return DType::kInt8;
        case MatmulType::kF16F16F16:
            return DType::kFloat16;
        case MatmulType::kI4I4I16:
            return DType::kInt16;
    }
    return DType::kInt32;
}

constexpr bool is_float(MatmulType type) {
    return input_type(type) == DType::kFloat16;
}

}  // namespace rknnsim
