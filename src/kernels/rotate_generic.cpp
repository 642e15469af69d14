#include <cstring>

#include "kernels/generic.hpp"
#include "kernels/rotate.hpp"

namespace rknpu2::generic {
namespace {

// Written as vectors of four, since g++ turns butterflies over arrays into moves through memory. Four is what
// every machine has: wider ones are taken apart before the clone for AVX2 is made.
using Vector = float __attribute__((vector_size(16)));
using Bits = int32_t __attribute__((vector_size(16)));
inline constexpr size_t kLanes = 4;

[[gnu::always_inline]] inline void load(const float* from, Vector& value) {
    std::memcpy(&value, from, sizeof value);
}
[[gnu::always_inline]] inline void store(const Vector& value, float* to) {
    std::memcpy(to, &value, sizeof value);
}

// The stages at distances 1 and 2, within a vector: every lane gets its partner's value, plus its own if it
// is the lower one of the two, minus its own if it is the upper. A sign bit turns plus into minus.
[[gnu::always_inline]] inline void stages_within(Vector& x) {
    constexpr int32_t kMinus = INT32_MIN;
    const Bits first = reinterpret_cast<Bits>(x) ^ Bits { 0, kMinus, 0, kMinus };
    x = __builtin_shufflevector(x, x, 1, 0, 3, 2) + reinterpret_cast<Vector>(first);
    const Bits second = reinterpret_cast<Bits>(x) ^ Bits { 0, 0, kMinus, kMinus };
    x = __builtin_shufflevector(x, x, 2, 3, 0, 1) + reinterpret_cast<Vector>(second);
}

// The stages among kCount vectors from kDistance on, nearest first. Recursive, so that each index is a
// constant and the vectors stay in registers.
template <size_t kCount, size_t kDistance = 1>
[[gnu::always_inline]] inline void stages_among(Vector (&x)[kCount]) {
    if constexpr (kDistance < kCount) {
        for (size_t i = 0; i < kCount; ++i) {
            if ((i & kDistance) != 0) continue;
            const Vector low = x[i];
            const Vector high = x[i + kDistance];
            x[i] = low + high;
            x[i + kDistance] = low - high;
        }
        stages_among<kCount, 2 * kDistance>(x);
    }
}

// Eight vectors leave half of a PC's registers for the butterflies.
inline constexpr size_t kVectors = 8;
inline constexpr size_t kNear = kVectors * kLanes;

// All stages of kNear elements. factors may be nullptr.
[[gnu::always_inline]] inline void rotate_near(const float* in, const float* factors, float* out) {
    Vector x[kVectors];
    for (size_t i = 0; i < kVectors; ++i) {
        load(in + i * kLanes, x[i]);
        if (factors != nullptr) {
            Vector factor;
            load(factors + i * kLanes, factor);
            x[i] *= factor;
        }
        stages_within(x[i]);
    }
    stages_among(x);
    for (size_t i = 0; i < kVectors; ++i)
        store(x[i], out + i * kLanes);
}

// The stages at distances kDistance .. kDistance * kCount / 2 of that many elements.
template <size_t kCount, size_t kDistance>
[[gnu::always_inline]] inline void rotate_far(float* block) {
    for (size_t i = 0; i < kDistance; i += kLanes) {
        Vector x[kCount];
        for (size_t j = 0; j < kCount; ++j)
            load(block + j * kDistance + i, x[j]);
        stages_among(x);
        for (size_t j = 0; j < kCount; ++j)
            store(x[j], block + j * kDistance + i);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_block(const float* in, const float* factors, float* out) {
    for (size_t i = 0; i < kBlock; i += kNear)
        rotate_near(in + i, factors == nullptr ? nullptr : factors + i, out + i);
    if constexpr (kBlock <= kVectors * kNear) {
        if constexpr (kBlock > kNear) rotate_far<kBlock / kNear, kNear>(out);
    } else {
        for (size_t i = 0; i < kBlock; i += kVectors * kNear)
            rotate_far<kVectors, kNear>(out + i);
        rotate_far<kBlock / kVectors / kNear, kVectors * kNear>(out);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_row(const float* x, size_t K, size_t K_padded, const float* factors,
                                              float* out) {
    const size_t whole = K / kBlock * kBlock;
    for (size_t k = 0; k < whole; k += kBlock)
        rotate_block<kBlock>(x + k, factors == nullptr ? nullptr : factors + k, out + k);
    for (size_t k = whole; k < K_padded; k += kBlock) {
        float padded[kBlock] = {};
        for (size_t i = k; i < K && i < k + kBlock; ++i)
            padded[i - k] = factors == nullptr ? x[i] : x[i] * factors[i];
        rotate_block<kBlock>(padded, nullptr, out + k);
    }
}

template <size_t kBlock>
[[gnu::always_inline]] inline void rotate_blocks(const float* x, size_t row_stride, size_t M, size_t K,
                                                 size_t K_padded, const float* factors, float* out) {
    for (size_t m = 0; m < M; ++m)
        rotate_row<kBlock>(x + m * row_stride, K, K_padded, factors, out + m * K_padded);
}

}  // namespace

RKNPU2_CLONES void rotate_rows(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                               const float* factors, float* out) {
    static_assert(kLargestRotation == 512);
    switch (rotation_block(K_padded)) {
        case 512:
            return rotate_blocks<512>(x, row_stride, M, K, K_padded, factors, out);
        case 256:
            return rotate_blocks<256>(x, row_stride, M, K, K_padded, factors, out);
        case 128:
            return rotate_blocks<128>(x, row_stride, M, K, K_padded, factors, out);
        case 64:
            return rotate_blocks<64>(x, row_stride, M, K, K_padded, factors, out);
        default:
            return rotate_blocks<32>(x, row_stride, M, K, K_padded, factors, out);
    }
}

}  // namespace rknpu2::generic
