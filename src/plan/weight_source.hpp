// SPDX-License-Identifier: MIT
// A weight as its owner stores it: N rows of K elements of any type that can be turned into floats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rknpu2 {

// Converts K elements of one row; K is what the weight has, a multiple of the type's block.
using DequantiseRow = void (*)(const void* row, float* out, int64_t K);

struct WeightSource {
    std::string name;       // for messages
    std::string type_name;  // such as "q4_K"
    int expert = -1;        // which of a stack of experts; -1: a matrix of its own
    size_t N = 0;
    size_t K = 0;
    const std::byte* data = nullptr;  // read only while a call runs
    size_t row_bytes = 0;
    DequantiseRow dequantise = nullptr;
    // The host wants the activations that this weight multiplies as floats: they must not become int8.
    bool float_activations = false;

    const std::byte* row(size_t n) const { return data + n * row_bytes; }
    size_t bytes() const { return N * row_bytes; }
};

}  // namespace rknpu2
