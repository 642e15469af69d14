// One float to one stored element, without branches and without calls, so that loops over it vectorise: what
// the generic tiers of quantise and pack share.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace rknpu2::generic {

// Adding 1.5 * 2^23 to a value in [-127, 127] leaves no bits for a fraction: the sum is rounded to nearest
// even, and its low byte is the integer in two's complement. (lrintf would be a call for each element.) NaN
// becomes -127, as in the reference.
inline int8_t int8_lane(float x, float factor) {
    const float scaled = x * factor;
    const float above = scaled > -127.0F ? scaled : -127.0F;
    const float clamped = above < 127.0F ? above : 127.0F;
    return static_cast<int8_t>(std::bit_cast<int32_t>(clamped + 12582912.0F));
}

// matrix/float16.hpp's float_to_float16 with selects for branches. Normal halves: round by adding to the bit
// pattern. Subnormal ones: adding 0.5 puts the half's last bit at the float's last bit, and the adder rounds.
// Magnitudes are below 2^31, and signed compares are what SSE2 and AVX2 have.
inline uint16_t half_lane(float x, float factor) {
    const uint32_t bits = std::bit_cast<uint32_t>(x * factor);
    const uint32_t sign = (bits >> 16) & 0x8000U;
    const uint32_t magnitude = bits & 0x7FFFFFFFU;
    const auto order = static_cast<int32_t>(magnitude);
    const uint32_t normal = (magnitude + 0xFFFU + ((magnitude >> 13) & 1U) - 0x38000000U) >> 13;
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    const uint32_t subnormal = std::bit_cast<uint32_t>(shifted) - 0x3F000000U;
    uint32_t half = order < 0x38800000 ? subnormal : normal;
    half = order >= 0x477FF000 ? 0x7C00U : half;
    half = order > 0x7F800000 ? 0x7E00U | ((magnitude >> 13) & 0x1FFU) : half;
    return static_cast<uint16_t>(sign | half);
}

// The element types as policies: Count elements from x to out.
struct Int8Lanes {
    using Element = int8_t;
    template <size_t Count>
    [[gnu::always_inline]] static inline void store(const float* x, float factor, int8_t* out) {
        int8_t run[Count];  // a local cannot alias x
        for (size_t j = 0; j < Count; ++j)
            run[j] = int8_lane(x[j], factor);
        __builtin_memcpy(out, run, sizeof run);
    }
};

struct HalfLanes {
    using Element = uint16_t;
    template <size_t Count>
    [[gnu::always_inline]] static inline void store(const float* x, float factor, uint16_t* out) {
        uint16_t run[Count];
        for (size_t j = 0; j < Count; ++j)
            run[j] = half_lane(x[j], factor);
        __builtin_memcpy(out, run, sizeof run);
    }
};

}  // namespace rknpu2::generic
