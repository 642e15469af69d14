// The definition of one stored element, that every tier has to equal; and which DType a C++ type stands for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "matrix/dtype.hpp"
#include "matrix/float16.hpp"

namespace rknpu2 {

template <typename Element>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<Element, int8_t>) return DType::kInt8;
    if constexpr (std::is_same_v<Element, uint16_t>) return DType::kFloat16;
    if constexpr (std::is_same_v<Element, int32_t>) return DType::kInt32;
    if constexpr (std::is_same_v<Element, float>) return DType::kFloat32;
}

// `scaled` is x * storing_factor(scale). NaN, which only a caller's own scale can let in, becomes -127.
template <typename Element>
Element reference_lane(float scaled) {
    if constexpr (std::is_same_v<Element, uint16_t>) {
        return float_to_float16(scaled);
    } else {
        static_assert(std::is_same_v<Element, int8_t>);
        const float above = scaled > -127.0F ? scaled : -127.0F;
        const float clamped = above < 127.0F ? above : 127.0F;
        return static_cast<int8_t>(std::nearbyint(clamped));  // ties to even, in the default rounding mode
    }
}

}  // namespace rknpu2
