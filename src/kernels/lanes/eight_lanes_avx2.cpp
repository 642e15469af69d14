// SPDX-License-Identifier: MIT
// The tier kAvx2: rotate_lanes.hpp, store_lanes.hpp, dequantise_lanes.hpp, attention_lanes.hpp and few_tokens_lanes.hpp
// with vectors of eight floats.
//
// This file alone is compiled for AVX2, F16C and FMA, so it must not contain anything that another file could share. It has
// templates over EightLanes and functions of the namespace avx2, and calls no inline function of the library.
#include <immintrin.h>

#include <bit>

#include "kernels/lanes/attention_lanes.hpp"
#include "kernels/lanes/dequantise_lanes.hpp"
#include "kernels/lanes/few_tokens_lanes.hpp"
#include "kernels/lanes/rotate_lanes.hpp"
#include "kernels/lanes/store_lanes.hpp"

namespace rknpu2::avx2 {
namespace {

struct EightLanes {
    static constexpr size_t kLanes = 8;
    static constexpr bool kStreams = true;
    using Float = float __attribute__((vector_size(32)));
    using Int = int32_t __attribute__((vector_size(32)));
    using Unsigned = uint32_t __attribute__((vector_size(32)));

    [[gnu::always_inline]] static inline void load(const float* from, Float& value) {
        value = _mm256_loadu_ps(from);
    }
    [[gnu::always_inline]] static inline void store(const Float& value, float* to) {
        _mm256_storeu_ps(to, value);
    }
    // To an aligned address, around the caches, in no order with other stores until end_streams().
    [[gnu::always_inline]] static inline void stream(const Float& value, float* to) {
        _mm256_stream_ps(to, value);
    }
    [[gnu::always_inline]] static inline void end_streams() { _mm_sfence(); }

    // The stages of a rotation at distances 1, 2 and 4, as in FourLanes.
    [[gnu::always_inline]] static inline void stages_within(Float& x) {
        constexpr int32_t kMinus = INT32_MIN;
        const Int first = reinterpret_cast<Int>(x) ^ Int { 0, kMinus, 0, kMinus, 0, kMinus, 0, kMinus };
        x = _mm256_permute_ps(x, 0xB1) + reinterpret_cast<Float>(first);
        const Int second = reinterpret_cast<Int>(x) ^ Int { 0, 0, kMinus, kMinus, 0, 0, kMinus, kMinus };
        x = _mm256_permute_ps(x, 0x4E) + reinterpret_cast<Float>(second);
        const Int third = reinterpret_cast<Int>(x) ^ Int { 0, 0, 0, 0, kMinus, kMinus, kMinus, kMinus };
        x = _mm256_permute2f128_ps(x, x, 1) + reinterpret_cast<Float>(third);
    }

    // Magnitudes are ordered as their bits are, with every NaN above infinity.
    [[gnu::always_inline]] static inline void note_magnitude(const Float& x, Int& largest) {
        const Int bits = reinterpret_cast<Int>(x) & INT32_MAX;
        largest = reinterpret_cast<Int>(
            _mm256_max_epi32(reinterpret_cast<__m256i>(bits), reinterpret_cast<__m256i>(largest)));
    }

    // To nearest even, in the default rounding mode.
    [[gnu::always_inline]] static inline Int round(Float steps) {
        return reinterpret_cast<Int>(_mm256_cvtps_epi32(steps));
    }
    [[gnu::always_inline]] static inline Float to_float(Int rounded) {
        return _mm256_cvtepi32_ps(reinterpret_cast<__m256i>(rounded));
    }
    // `steps` is not NaN. What is too large for an integer came out of round() as the least one.
    [[gnu::always_inline]] static inline void clamp(Int& rounded, Float steps) {
        const __m256i low = _mm256_cvtps_epi32(_mm256_min_ps(steps, _mm256_set1_ps(127.0F)));
        rounded = reinterpret_cast<Int>(_mm256_max_epi32(low, _mm256_set1_epi32(-127)));
    }
    [[gnu::always_inline]] static inline int32_t sum(Unsigned sums, size_t) {
        uint32_t total = 0;
        for (size_t i = 0; i < kLanes; ++i)
            total += sums[i];
        return std::bit_cast<int32_t>(total);
    }
    // Two atoms. Packing works in halves of a register: what it gives are runs of four elements in the order
    // 0 2 4 6 1 3 5 7.
    [[gnu::always_inline]] static inline void store_atoms(const Int (&q)[4], int8_t* to,
                                                          size_t column_stride) {
        const __m256i low =
            _mm256_packs_epi32(reinterpret_cast<__m256i>(q[0]), reinterpret_cast<__m256i>(q[1]));
        const __m256i high =
            _mm256_packs_epi32(reinterpret_cast<__m256i>(q[2]), reinterpret_cast<__m256i>(q[3]));
        const __m256i atoms = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high),
                                                          _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(atoms));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + column_stride), _mm256_extracti128_si256(atoms, 1));
    }

    // Neighbouring columns of a row of results: two atoms.
    [[gnu::always_inline]] static inline void load_columns(const float* atom, size_t group_step,
                                                           Float& value) {
        value = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(atom)),
                                     _mm_loadu_ps(atom + group_step), 1);
    }
    [[gnu::always_inline]] static inline void load_columns(const int32_t* atom, size_t group_step,
                                                           Float& value) {
        const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(atom));
        const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(atom + group_step));
        value = _mm256_cvtepi32_ps(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1));
    }

    // The larger one; b if either is NaN.
    [[gnu::always_inline]] static inline Float greatest(Float a, Float b) { return _mm256_max_ps(a, b); }
    [[gnu::always_inline]] static inline void load_halves(const uint16_t* from, Float& value) {
        value = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    // An atom of halves for each row (attention_lanes.hpp).
    template <size_t kRows>
    [[gnu::always_inline]] static inline void store_weights(const Float (&weights)[kRows][1], uint16_t* to) {
#pragma GCC unroll 4
        for (size_t r = 0; r < kRows; ++r)
            _mm_storeu_si128(reinterpret_cast<__m128i*>(to + r * lanes::kOctet),
                             _mm256_cvtps_ph(weights[r][0], _MM_FROUND_TO_NEAREST_INT));
    }
    // a * b + sum, rounded once.
    [[gnu::always_inline]] static inline Float fma(Float a, Float b, Float sum) {
        return _mm256_fmadd_ps(a, b, sum);
    }
    [[gnu::always_inline]] static inline Float fma(Float a, float b, Float sum) {
        return _mm256_fmadd_ps(a, _mm256_set1_ps(b), sum);
    }
    // Eight sums, the upper four added to the lower ones.
    [[gnu::always_inline]] static inline __m128 halve(const Float (&sums)[1]) {
        return _mm_add_ps(_mm256_castps256_ps128(sums[0]), _mm256_extractf128_ps(sums[0], 1));
    }
    // Sums of neighbours: two of a, two of b.
    [[gnu::always_inline]] static inline __m128 pairs(__m128 a, __m128 b) {
        return _mm_hadd_ps(a, b);
    }
};

}  // namespace

void rotate_rows(const RowsToRotate& rows) {
    lanes::rotate_rows<EightLanes>(rows);
}

void store_rows_int8(const Int8Rows& rows, Rounding rounding) {
    lanes::store_rows_int8<EightLanes>(rows, rounding);
}

template <typename Element>
void dequantise_rows(const CubeToRows<Element>& rows) {
    lanes::dequantise_rows<EightLanes>(rows);
}
template void dequantise_rows(const CubeToRows<int32_t>&);
template void dequantise_rows(const CubeToRows<float>&);

void weigh_scores(const ScoresToWeights& rows) {
    lanes::weigh_scores<EightLanes>(rows);
}

void score_few(const FewScores& scores) {
    lanes::score_few<EightLanes>(scores);
}

void weigh_few(const FewWeights& weights) {
    lanes::weigh_few<EightLanes>(weights);
}

void add_few(const FewValues& values) {
    lanes::add_few<EightLanes>(values);
}

void widen_few(const uint16_t* halves, size_t width, float* floats) {
    lanes::widen_few<EightLanes>(halves, width, floats);
}

}  // namespace rknpu2::avx2
