// SPDX-License-Identifier: MIT
// The definition of one stored element, that every tier has to equal; and which DType a C++ type stands for.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {

template <typename Element>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<Element, int8_t>) return DType::kInt8;
    if constexpr (std::is_same_v<Element, uint16_t>) return DType::kFloat16;
    if constexpr (std::is_same_v<Element, int32_t>) return DType::kInt32;
    if constexpr (std::is_same_v<Element, float>) return DType::kFloat32;
}

// `scaled` is x * storing_factor(scale). Magnitudes beyond the type's largest saturate, infinities and NaN
// (by its sign bit) too, so nothing but numbers reaches the NPU; with the scales of scale.hpp none of this
// happens.
template <typename Element>
Element reference_lane(float scaled) {
    const float largest = std::is_same_v<Element, int8_t> ? 127.0F : kFloat16Max;
    const float magnitude = std::fabs(scaled) <= largest ? std::fabs(scaled) : largest;
    const float clamped = std::copysign(magnitude, scaled);
    if constexpr (std::is_same_v<Element, uint16_t>) {
        return float_to_float16(clamped);
    } else {
        static_assert(std::is_same_v<Element, int8_t>);
        return static_cast<int8_t>(std::nearbyint(clamped));  // ties to even, in the default rounding mode
    }
}

}  // namespace rknpu2
