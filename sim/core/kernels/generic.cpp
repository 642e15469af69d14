// SPDX-License-Identifier: MIT
// Plain C++ inner loops for the blocking of blocked.hpp, in a form that compilers vectorise.
#include <bit>
#include <cstring>

#include "core/kernels/blocked.hpp"
#include "core/kernels/tier.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using rknpu2::kTileK;

void widen_b(const int8_t* b, size_t tiles, int16_t* panel) {
    const size_t strip_size = 2 * tiles * kStrip * kStep;
    for (size_t t = 0; t < tiles; ++t) {
        for (size_t n = 0; n < kGroup; ++n) {
            const int8_t* from = b + (t * kGroup + n) * kTileK;
            int16_t* to = panel + (n / kStrip) * strip_size + (2 * t * kStrip + n % kStrip) * kStep;
            for (size_t i = 0; i < kStep; ++i)
                to[i] = widen_int8(from[i]);
            for (size_t i = 0; i < kStep; ++i)
                to[kStrip * kStep + i] = widen_int8(from[kStep + i]);
        }
    }
}

// Chunks are at most 8192 deep, so a partial sum stays below 2^27; only the total may wrap.
inline void store_sum(int32_t* to, int32_t sum, bool accumulate) {
    const uint32_t before = accumulate ? static_cast<uint32_t>(*to) : 0U;
    *to = static_cast<int32_t>(before + static_cast<uint32_t>(sum));
}

void multiply_strip(const int16_t* a, const int16_t* strip, size_t steps, int32_t* sums, bool accumulate) {
    for (size_t n = 0; n < kStrip; ++n) {
        int32_t sum = 0;
        for (size_t s = 0; s < steps; ++s) {
            const int16_t* x = a + s * kRowBlock * kStep;
            const int16_t* y = strip + (s * kStrip + n) * kStep;
            for (size_t i = 0; i < kStep; ++i)
                sum += x[i] * y[i];
        }
        store_sum(sums + n, sum, accumulate);
    }
}

void multiply(RowPanels a, const int16_t* panel, size_t steps, size_t row, size_t rows, size_t M,
              int32_t* sums, bool accumulate) {
    for (size_t strip = 0; strip < kGroup / kStrip; ++strip) {
        const int16_t* b = panel + strip * steps * kStrip * kStep;
        for (size_t m = row; m < row + rows; ++m) {
            const int16_t* x = a.data + (m / kRowBlock) * a.stride + (m % kRowBlock) * kStep;
            multiply_strip(x, b, steps, sums + (strip * M + m) * kStrip, accumulate);
        }
    }
}

void multiply_few(const int16_t* a, const int8_t* b, size_t tiles, size_t M, int32_t* sums, bool accumulate) {
    for (size_t n = 0; n < kGroup; ++n) {
        for (size_t m = 0; m < M; ++m) {
            int32_t sum = 0;
            for (size_t t = 0; t < tiles; ++t) {
                const int16_t* x = a + (2 * t * kRowBlock + m) * kStep;
                const int8_t* y = b + (t * kGroup + n) * kTileK;
                for (size_t i = 0; i < kStep; ++i)
                    sum += x[i] * y[i];
                for (size_t i = 0; i < kStep; ++i)
                    sum += x[kRowBlock * kStep + i] * y[kStep + i];
            }
            store_sum(sums + ((n / kStrip) * M + m) * kStrip + n % kStrip, sum, accumulate);
        }
    }
}

// fp16 to fp32 without branches: as a shifted integer the half is 2^-112 times its value, except at infinity
// and NaN, whose exponent is put right by hand.
inline float widen_one(uint16_t half) {
    const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
    const uint32_t magnitude = static_cast<uint32_t>(half & 0x7FFFU) << 13;
    const auto finite = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112F);
    const uint32_t special = magnitude | 0x7F800000U;
    return std::bit_cast<float>((magnitude >= 0x0F800000U ? special : finite) | sign);
}

void widen(const uint16_t* from, size_t count, float* to) {
    for (size_t i = 0; i < count; ++i)
        to[i] = widen_one(from[i]);
}

void transpose_tile(const uint16_t* tile, float* to) {
    for (size_t n = 0; n < kFloatGroup; ++n) {
        for (size_t k = 0; k < kTileK; ++k)
            to[k * kFloatGroup + n] = widen_one(tile[n * kTileK + k]);
    }
}

void multiply_float_row(const float* a, const float* tile, double* sums) {
    float lanes[kFloatGroup] = {};
    for (size_t k = 0; k < kTileK; ++k) {
        for (size_t n = 0; n < kFloatGroup; ++n)
            lanes[n] += a[k] * tile[k * kFloatGroup + n];
    }
    for (size_t n = 0; n < kFloatGroup; ++n)
        sums[n] += static_cast<double>(lanes[n]);
}

void multiply_floats(const FloatOperands& from, size_t rows, double* sums, size_t stride) {
    for (size_t i = 0; i < from.depth; ++i) {
        for (size_t g = 0; g < from.groups; ++g) {
            for (size_t r = 0; r < rows; ++r)
                multiply_float_row(from.a_at(i) + r * kTileK, from.tile_at(g, i),
                                   sums + (g * stride + r) * kFloatGroup);
        }
    }
}

constexpr IntKernels kInts = {widen_b, multiply, multiply_few};
constexpr FloatKernels kFloats = {widen, transpose_tile, multiply_floats};

}  // namespace

const KernelTier kGenericTier = {
    "generic", [](const Job& job, Scratch& scratch) { return load_a_blocked(kFloats, job, scratch); },
    [](const Job& job, Scratch& scratch) { return multiply_blocked(kInts, kFloats, job, scratch); }};

}  // namespace rknnsim
