#include <bit>
#include <cstring>
#include <limits>

#include "kernels/generic.hpp"
#include "kernels/lanes.hpp"
#include "kernels/scale.hpp"
#include "matrix/layout.hpp"

namespace rknpu2::generic {
namespace {

// Rows in the inner loop: neighbouring rows of an atom column share cache lines, which are thus written
// whole.
template <typename Lanes>
[[gnu::always_inline]] inline void store_rows(const float* x, size_t row_stride, size_t M, size_t K,
                                              size_t K_padded, size_t M_total, size_t m0,
                                              typename Lanes::Element* native, const float* scales) {
    using Element = typename Lanes::Element;
    constexpr size_t kAtom = kAtomBytes / sizeof(Element);
    float factors[kRowGroup];
    for (size_t m = 0; m < M; ++m)
        factors[m] = storing_factor(scales[m]);
    const size_t whole = K / kAtom * kAtom;
    Element* column = native + m0 * kAtom;
    for (size_t k = 0; k < K_padded; k += kAtom, column += M_total * kAtom) {
        for (size_t m = 0; m < M; ++m) {
            const float factor = factors[m];
            Element* atom = column + m * kAtom;
            if (factor == 0.0F || k >= K) {
                std::memset(atom, 0, kAtomBytes);
            } else if (k < whole) {
                Lanes::template store<kAtom>(x + m * row_stride + k, factor, atom);
            } else {
                float padded[kAtom] = {};
                std::memcpy(padded, x + m * row_stride + k, (K - k) * sizeof(float));
                Lanes::template store<kAtom>(padded, factor, atom);
            }
        }
    }
}

}  // namespace

// Floats without their sign are ordered as their bit patterns are, with every NaN above infinity: an integer
// maximum needs no care for NaN and vectorises, which float compares in a reduction do not.
RKNPU2_CLONES float row_absmax(const float* x, size_t K) {
    int32_t largest = 0;
    for (size_t k = 0; k < K; ++k) {
        const int32_t bits = std::bit_cast<int32_t>(x[k]) & 0x7FFFFFFF;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7F800000 ? std::bit_cast<float>(largest) : std::numeric_limits<float>::quiet_NaN();
}

RKNPU2_CLONES void store_rows_int8(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                                   size_t M_total, size_t m0, int8_t* native, const float* scales) {
    store_rows<Int8Lanes>(x, row_stride, M, K, K_padded, M_total, m0, native, scales);
}

RKNPU2_CLONES void store_rows_fp16(const float* x, size_t row_stride, size_t M, size_t K, size_t K_padded,
                                   size_t M_total, size_t m0, uint16_t* native, const float* scales) {
    store_rows<HalfLanes>(x, row_stride, M, K, K_padded, M_total, m0, native, scales);
}

}  // namespace rknpu2::generic
