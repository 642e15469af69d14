// SPDX-License-Identifier: MIT
// What the generic tier makes of attention_lanes.hpp and few_tokens_lanes.hpp on AArch64: as four_lanes.cpp would, but for
// a maximum, a fused multiply-add and the conversion of halves, which are one instruction each and which g++ does not make of its own vectors. Eight scores of
// four plain rows take 34.5 vector instructions: 5.5 in the first pass, 29 in the second, all loads and stores included.
#include <arm_neon.h>

#include "kernels/lanes/attention_lanes.hpp"
#include "kernels/lanes/few_tokens_lanes.hpp"
#include "kernels/lanes/generic.hpp"

namespace rknpu2::generic {
namespace {

struct NeonLanes {
    static constexpr size_t kLanes = 4;
    using Float = float32x4_t;
    using Int = int32x4_t;
    using Unsigned = uint32x4_t;

    [[gnu::always_inline]] static inline void load(const float* from, Float& value) {
        value = vld1q_f32(from);
    }
    [[gnu::always_inline]] static inline void store(const Float& value, float* to) { vst1q_f32(to, value); }
    [[gnu::always_inline]] static inline void load_columns(const float* atom, size_t, Float& value) {
        value = vld1q_f32(atom);
    }
    [[gnu::always_inline]] static inline void load_line(const float* from, Float (&x)[4]) {
        const float32x4x4_t line = vld1q_f32_x4(from);
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; ++i)
            x[i] = line.val[i];
    }
    // The larger one; NaN if either is.
    [[gnu::always_inline]] static inline Float greatest(Float a, Float b) {
        return vmaxq_f32(a, b);
    }
    [[gnu::always_inline]] static inline void load_halves(const uint16_t* from, Float& value) {
        value = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
    }
    [[gnu::always_inline]] static inline void load_eight_halves(const uint16_t* from, Float& low,
                                                                Float& high) {
        const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(from));
        low = vcvt_f32_f16(vget_low_f16(halves));
        high = vcvt_high_f32_f16(halves);
    }
    template <size_t kRows>
    [[gnu::always_inline]] static inline void store_weights(const Float (&weights)[kRows][2], uint16_t* to) {
        uint16x8_t atoms[kRows];
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r)
            atoms[r] = vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(weights[r][0]), weights[r][1]));
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r)
            vst1q_u16(to + r * lanes::kOctet, atoms[r]);
    }
    // a * b + sum, rounded once.
    [[gnu::always_inline]] static inline Float fma(Float a, Float b, Float sum) {
        return vfmaq_f32(sum, a, b);
    }
    [[gnu::always_inline]] static inline Float fma(Float a, float b, Float sum) {
        return vfmaq_n_f32(sum, a, b);
    }
    // Eight sums, the upper four added to the lower ones.
    [[gnu::always_inline]] static inline Float halve(const Float (&sums)[2]) {
        return sums[0] + sums[1];
    }
    // Sums of neighbours: two of a, two of b.
    [[gnu::always_inline]] static inline Float pairs(Float a, Float b) {
        return vpaddq_f32(a, b);
    }
};

}  // namespace

void weigh_scores(const ScoresToWeights& rows) {
    lanes::weigh_scores<NeonLanes>(rows);
}

void score_few(const FewScores& scores) {
    lanes::score_few<NeonLanes>(scores);
}

void weigh_few(const FewWeights& weights) {
    lanes::weigh_few<NeonLanes>(weights);
}

void add_few(const FewValues& values) {
    lanes::add_few<NeonLanes>(values);
}

void widen_few(const uint16_t* halves, size_t width, float* floats) {
    lanes::widen_few<NeonLanes>(halves, width, floats);
}

}  // namespace rknpu2::generic
