// SPDX-License-Identifier: MIT
// IEEE 754 binary16 <-> binary32, bit by bit, rounding to nearest, ties to even.
//
// This is the definition that every faster conversion (F16C, NEON) has to equal. Values beyond 65504 after
// rounding become infinity, as the standard says; NaN stays NaN (quietened, the payload's top bits kept).
#pragma once

#include <bit>
#include <cstdint>

namespace rknpu2 {

inline constexpr float kFloat16Max = 65504.0F;

constexpr float float16_to_float(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
    const uint32_t exponent = (half >> 10) & 0x1FU;
    const uint32_t mantissa = half & 0x3FFU;
    if (exponent == 0x1F) {  // infinity or NaN
        const uint32_t quiet = mantissa != 0 ? 0x400000U : 0U;
        return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13) | quiet);
    }
    if (exponent == 0) {  // zero or subnormal: exact in binary32
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
        return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
    }
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

constexpr uint16_t float_to_float16(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
    const uint32_t magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) {  // NaN
        return static_cast<uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x1FFU));
    }
    if (magnitude >= 0x477FF000U)
        return static_cast<uint16_t>(sign | 0x7C00U);    // 65520 and above round to infinity
    if (magnitude < 0x38800000U) {                       // below 2^-14: subnormal or zero
        if (magnitude < 0x33000000U) return sign;        // below 2^-25
        const uint32_t shift = 126 - (magnitude >> 23);  // 14 .. 24
        const uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
        const uint32_t kept = mantissa >> shift;
        const uint32_t rest = mantissa & ((1U << shift) - 1);
        const uint32_t half = 1U << (shift - 1);
        const uint32_t up = (rest > half || (rest == half && (kept & 1U) != 0)) ? 1U : 0U;
        return static_cast<uint16_t>(sign | (kept + up));
    }
    const uint32_t rounded = magnitude + 0xFFFU + ((magnitude >> 13) & 1U);
    return static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

}  // namespace rknpu2
