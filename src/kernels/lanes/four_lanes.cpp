// SPDX-License-Identifier: MIT
// Vectors of four floats, which every machine has (NEON, SSE2), with the compiler's own vector types: what
// the generic tier makes of rotate_lanes.hpp, store_lanes.hpp, dequantise_lanes.hpp, attention_lanes.hpp and
// few_tokens_lanes.hpp. Wider ones would be taken apart into single numbers on a machine that does not have them.
#include <bit>
#include <cstring>

#include "kernels/lanes/attention_lanes.hpp"
#include "kernels/lanes/dequantise_lanes.hpp"
#include "kernels/lanes/few_tokens_lanes.hpp"
#include "kernels/lanes/lanes.hpp"
#include "kernels/lanes/rotate_lanes.hpp"
#include "kernels/lanes/store_lanes.hpp"

namespace rknpu2::generic {
namespace {

struct FourLanes {
    static constexpr size_t kLanes = 4;
    static constexpr bool kStreams = false;  // no stores around the caches
    using Float = float __attribute__((vector_size(16)));
    using Int = int32_t __attribute__((vector_size(16)));
    using Unsigned = uint32_t __attribute__((vector_size(16)));
    using Short = int16_t __attribute__((vector_size(16)));
    using Byte = int8_t __attribute__((vector_size(16)));

    [[gnu::always_inline]] static inline void load(const float* from, Float& value) {
        std::memcpy(&value, from, sizeof value);
    }
    [[gnu::always_inline]] static inline void store(const Float& value, float* to) {
        std::memcpy(to, &value, sizeof value);
    }

    // The stages of a rotation at distances 1 and 2: every lane gets its partner's value, plus its own if it
    // is the lower one of the two, minus its own if it is the upper. A sign bit turns plus into minus.
    [[gnu::always_inline]] static inline void stages_within(Float& x) {
        constexpr int32_t kMinus = INT32_MIN;
        const Int first = reinterpret_cast<Int>(x) ^ Int { 0, kMinus, 0, kMinus };
        x = __builtin_shufflevector(x, x, 1, 0, 3, 2) + reinterpret_cast<Float>(first);
        const Int second = reinterpret_cast<Int>(x) ^ Int { 0, 0, kMinus, kMinus };
        x = __builtin_shufflevector(x, x, 2, 3, 0, 1) + reinterpret_cast<Float>(second);
    }

    // Magnitudes are ordered as their bits are, with every NaN above infinity.
    [[gnu::always_inline]] static inline void note_magnitude(const Float& x, Int& largest) {
        const Int bits = reinterpret_cast<Int>(x) & INT32_MAX;
        largest = bits > largest ? bits : largest;
    }

    // To nearest even, as the bits of kMagic + the integer (lanes.hpp): only the low byte of a lane counts.
    [[gnu::always_inline]] static inline Int round(Float steps) {
        return reinterpret_cast<Int>(steps + kMagic);
    }
    [[gnu::always_inline]] static inline Float to_float(Int rounded) {
        return reinterpret_cast<Float>(rounded) - kMagic;
    }
    // As int8_bits() does.
    [[gnu::always_inline]] static inline void clamp(Int& rounded, Float) {
        constexpr int32_t kLowest = std::bit_cast<int32_t>(kMagic - 127.0F);
        constexpr int32_t kHighest = std::bit_cast<int32_t>(kMagic + 127.0F);
        rounded = rounded < kLowest ? Int{kLowest, kLowest, kLowest, kLowest} : rounded;
        rounded = rounded > kHighest ? Int{kHighest, kHighest, kHighest, kHighest} : rounded;
    }
    // What the lanes of a sum of `count` rounded numbers add up to, modulo 2^32 without kMagic's bits.
    [[gnu::always_inline]] static inline int32_t sum(Unsigned sums, size_t count) {
        uint32_t total = 0;
        for (size_t i = 0; i < kLanes; ++i)
            total += sums[i];
        return static_cast<int32_t>(total - static_cast<uint32_t>(count) * std::bit_cast<uint32_t>(kMagic));
    }
    // One atom.
    [[gnu::always_inline]] static inline void store_atoms(const Int (&q)[4], int8_t* to, size_t) {
        const Short low = __builtin_shufflevector(reinterpret_cast<Short>(q[0]),
                                                  reinterpret_cast<Short>(q[1]), 0, 2, 4, 6, 8, 10, 12, 14);
        const Short high = __builtin_shufflevector(reinterpret_cast<Short>(q[2]),
                                                   reinterpret_cast<Short>(q[3]), 0, 2, 4, 6, 8, 10, 12, 14);
        const Byte atom = __builtin_shufflevector(reinterpret_cast<Byte>(low), reinterpret_cast<Byte>(high),
                                                  0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        std::memcpy(to, &atom, sizeof atom);
    }

    // Neighbouring columns of a row of results: one atom.
    [[gnu::always_inline]] static inline void load_columns(const float* atom, size_t, Float& value) {
        load(atom, value);
    }
    [[gnu::always_inline]] static inline void load_columns(const int32_t* atom, size_t, Float& value) {
        Int integers;
        std::memcpy(&integers, atom, sizeof integers);
        value = __builtin_convertvector(integers, Float);
    }

    // The larger one; b if either is NaN.
    [[gnu::always_inline]] static inline Float greatest(Float a, Float b) { return a > b ? a : b; }
    [[gnu::always_inline]] static inline void load_halves(const uint16_t* from, Float& value) {
        uint16_t halves __attribute__((vector_size(8)));
        std::memcpy(&halves, from, sizeof halves);
        const Int half = __builtin_convertvector(halves, Int);
        const Int magnitude = (half & 0x7FFF) << 13;
        Int bits = reinterpret_cast<Int>(reinterpret_cast<Float>(magnitude) * 0x1p112F);
        bits |= (magnitude >= (0x7C00 << 13)) & 0x7F800000;  // infinite or NaN
        value = reinterpret_cast<Float>(bits | ((half & 0x8000) << 16));
    }
    // An atom of halves for each row (attention_lanes.hpp): 0, or within a half's normal numbers.
    template <size_t kRows>
    [[gnu::always_inline]] static inline void store_weights(const Float (&weights)[kRows][2], uint16_t* to) {
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r) {
            const Short atom = __builtin_shufflevector(reinterpret_cast<Short>(half_bits(weights[r][0])),
                                                       reinterpret_cast<Short>(half_bits(weights[r][1])), 0,
                                                       2, 4, 6, 8, 10, 12, 14);
            std::memcpy(to + r * lanes::kOctet, &atom, sizeof atom);
        }
    }
    // a * b + sum, rounded once: a call for each lane where the machine has no such instruction.
    [[gnu::always_inline]] static inline Float fma(Float a, Float b, Float sum) {
        for (size_t i = 0; i < kLanes; ++i)
            sum[i] = __builtin_fmaf(a[i], b[i], sum[i]);
        return sum;
    }
    [[gnu::always_inline]] static inline Float fma(Float a, float b, Float sum) {
        return fma(a, lanes::all<FourLanes>(b), sum);
    }
    // Eight sums, the upper four added to the lower ones.
    [[gnu::always_inline]] static inline Float halve(const Float (&sums)[2]) {
        return sums[0] + sums[1];
    }
    // Sums of neighbours: two of a, two of b.
    [[gnu::always_inline]] static inline Float pairs(Float a, Float b) {
        return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
    }
    [[gnu::always_inline]] static inline Int half_bits(Float weight) {
        const Int bits = reinterpret_cast<Int>(weight);
        const Int half = (bits + ((bits >> 13) & 1) + (0xFFF - (112 << 23))) >> 13;
        return half > 0 ? half : Int{};
    }
};

}  // namespace

void rotate_rows(const RowsToRotate& rows) {
    lanes::rotate_rows<FourLanes>(rows);
}

void store_rows_int8(const Int8Rows& rows, Rounding rounding) {
    lanes::store_rows_int8<FourLanes>(rows, rounding);
}

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows) {
    lanes::dequantise_rows<FourLanes>(rows);
}
template void dequantise_rows(const CubeToRows<int32_t>&);
template void dequantise_rows(const CubeToRows<float>&);

#if !defined(__aarch64__)  // attention_neon.cpp
void weigh_scores(const ScoresToWeights& rows) {
    lanes::weigh_scores<FourLanes>(rows);
}

void score_few(const FewScores& scores) {
    lanes::score_few<FourLanes>(scores);
}

void weigh_few(const FewWeights& weights) {
    lanes::weigh_few<FourLanes>(weights);
}

void add_few(const FewValues& values) {
    lanes::add_few<FourLanes>(values);
}

void widen_few(const uint16_t* halves, size_t width, float* floats) {
    lanes::widen_few<FourLanes>(halves, width, floats);
}
#endif

}  // namespace rknpu2::generic
