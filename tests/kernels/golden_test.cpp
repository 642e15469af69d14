// SPDX-License-Identifier: MIT
// Every kernel's bits, in every tier, against digests that are checked in: the same on x86-64 and on AArch64,
// whatever the compiler made of the loops. The tests beside this one say what is right; this one says that it
// is the same everywhere.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/attention.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/digits.hpp"
#include "kernels/few_tokens.hpp"
#include "kernels/kernel_cases.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/reference_matmul.hpp"
#include "kernels/rotate.hpp"
#include "kernels/scale.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"
#include "support/golden.hpp"

namespace rknpu2 {
namespace {

using test::Bytes;
using test::Golden;
using test::Random;

struct Shape {
    size_t M, K, N;

    size_t K_padded() const { return round_up(K, kTileK); }
    std::string text() const { return std::to_string(M) + "x" + std::to_string(K) + "x" + std::to_string(N); }
};

// Odd and even sizes, one row, long rows, rows that mix (96 = 3 * 32, 576 = 9 * 64, 1120 = 5 * 7 * 32), more
// columns than rows.
constexpr Shape kShapes[] = {{1, 1, 1},     {1, 32, 32},   {3, 31, 5},    {4, 96, 33},
                             {5, 257, 64},  {7, 160, 129}, {2, 576, 17},  {9, 1120, 3},
                             {13, 512, 48}, {1, 4096, 96}, {6, 1536, 40}, {17, 64, 200}};

std::vector<float> rows_of(Random& random, size_t M, size_t K) {
    std::vector<float> rows(M * K);
    for (size_t m = 0; m < M; ++m)
        test::fill_row(random, rows.data() + m * K, K);
    return rows;
}

// Rows that sums of products stay finite for.
std::vector<float> ordinary(Random& random, size_t count) {
    std::vector<float> values(count);
    for (float& value : values)
        value = random.normal();
    return values;
}

void absmax(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    for (size_t m = 0; m < s.M; ++m)
        out.add(row_absmax(x.data() + m * s.K, s.K, tier));
}

void quantise(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    const size_t K_padded = s.K_padded();
    std::vector<int8_t> cube(s.M * K_padded);
    std::vector<float> scales(s.M), fine(s.M), sums(s.M, 0.25F);
    quantise_rows_int8({x.data(), s.K, s.M, s.K, K_padded, s.M, 0, cube.data()}, scales.data(), tier,
                       sums.data());
    out.add(cube.data(), cube.size());
    quantise_residuals_int8({x.data(), s.K, s.M, s.K, K_padded, s.M, 0, cube.data()}, scales.data(),
                            fine.data(), tier, sums.data());
    out.add(cube.data(), cube.size());
    out.add(scales.data(), s.M);
    out.add(fine.data(), s.M);
    out.add(sums.data(), s.M);
}

void quantise_scaled(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    std::vector<int8_t> cube(s.M * s.K_padded());
    std::vector<float> scales(s.M);
    quantise_rows_int8_scaled({x.data(), s.K, s.M, s.K, s.K_padded(), s.M, 0, cube.data()}, 0.03F,
                              scales.data(), tier);
    out.add(cube.data(), cube.size());
    out.add(scales.data(), s.M);
}

void convert(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    std::vector<uint16_t> cube(s.M * s.K_padded());
    std::vector<float> scales(s.M);
    convert_rows_fp16({x.data(), s.K, s.M, s.K, s.K_padded(), s.M, 0, cube.data()}, scales.data(), tier);
    out.add(cube.data(), cube.size());
    out.add(scales.data(), s.M);
}

template <typename Element>
void pack(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    constexpr bool kInt8 = sizeof(Element) == 1;
    const size_t N_padded = round_up(s.N, size_t{32});
    const std::vector<float> rows = rows_of(random, s.N, s.K);
    const std::vector<float> values = ordinary(random, s.K);
    std::vector<Element> block(N_padded * s.K_padded());
    std::vector<float> scales(s.N);
    for (size_t n = 0; n < s.N; ++n) {
        const float* const row = rows.data() + n * s.K;
        const float absmax = row_absmax(row, s.K, tier);
        scales[n] = kInt8 ? int8_scale(absmax) : fp16_scale(absmax);
        if (kInt8) out.add(rounding_error_int8(row, s.K, scales[n], values.data(), tier));
    }
    pack_rows(RowsToBlock<Element>{rows.data(), s.K, 0, s.N, 0, s.K, s.K_padded(), N_padded, block.data()},
              scales.data(), tier);
    out.add(block.data(), block.size());
    out.add(scales.data(), scales.size());
}

void rotate(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    const std::vector<float> factors = ordinary(random, s.K);
    std::vector<float> rotated(s.M * s.K_padded());
    rotate_rows({x.data(), s.K, s.M, s.K, s.K_padded(), rotated.data()}, tier);
    out.add(rotated.data(), rotated.size());
    rotate_rows({x.data(), s.K, s.M, s.K, s.K_padded(), rotated.data(), factors.data()}, tier);
    out.add(rotated.data(), rotated.size());
    mix_blocks(rotated.data(), s.M, s.K_padded(), tier);
    out.add(rotated.data(), rotated.size());
}

// What a store and an add leave in rows that had numbers before.
template <typename Native>
void give_back(Random& random, const Shape& s, const std::vector<Native>& native, TestTier tier, Bytes& out) {
    const std::vector<float> row_scales = ordinary(random, s.M);
    const std::vector<float> channel_scales = ordinary(random, s.N);
    for (const Accumulate mode : {Accumulate::kStore, Accumulate::kAdd}) {
        std::vector<float> rows = ordinary(random, s.M * s.N);
        dequantise_rows(CubeToRows<Native>{native.data(), s.M, 0, s.M, s.N, row_scales.data(),
                                           channel_scales.data(), rows.data(), s.N, mode},
                        tier);
        out.add(rows.data(), rows.size());
    }
}

void dequantise(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    std::vector<int32_t> native(s.M * round_up(s.N, size_t{32}));
    for (int32_t& value : native) {  // a sum of two, as the digests have it
        const auto first = static_cast<uint32_t>(random.bits());
        value = static_cast<int32_t>(first + static_cast<uint32_t>(random.bits()));
    }
    out.add(native.data(), native.size());
    give_back(random, s, native, tier, out);
}

void scale_fp32(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> native = rows_of(random, round_up(s.N, size_t{16}), s.M);
    give_back(random, s, native, tier, out);
}

// M rows of queries by K positions of N elements, at most 32 and rounded up to eights.
void few_tokens(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const size_t width = round_up(s.N, kFewStep), count = std::min(round_up(s.K, kFewStep), kFewPiece);
    const std::vector<float> queries = ordinary(random, s.M * width), slopes = ordinary(random, s.M);
    std::vector<uint16_t> halves(count * width), mask(count);
    for (uint16_t& half : halves)
        half = float_to_float16(random.normal());
    for (uint16_t& half : mask)
        half = random.one_in(3) ? kHiddenMask : float_to_float16(random.normal());
    std::vector<float> floats(halves.size()), scores(s.M * count), sums(s.M * width), maxima(s.M), all(s.M);
    widen_few(halves.data(), halves.size(), floats.data(), tier);
    out.add(floats.data(), floats.size());
    const std::vector<const uint16_t*> masks(s.M, mask.data());
    std::vector<const std::byte*> keys, values;
    for (size_t n = 0; n < count; ++n) {
        keys.push_back(reinterpret_cast<const std::byte*>(halves.data() + n * width));
        values.push_back(reinterpret_cast<const std::byte*>(floats.data() + n * width));
    }
    for (const bool are_halves : {true, false}) {
        const FewPositions cache{(are_halves ? keys : values).data(), count, width, are_halves};
        score_few({queries.data(), width, s.M, cache, scores.data(), count}, tier);
        out.add(scores.data(), scores.size());
        weigh_few({scores.data(), count, s.M, count, 0.2F, are_halves ? 0.0F : 20.0F, masks.data(),
                   slopes.data(), maxima.data(), all.data()},
                  tier);
        add_few({scores.data(), count, s.M, cache, sums.data(), width}, tier);
        for (const std::vector<float>* floats_of : {&scores, &maxima, &all, &sums})
            out.add(floats_of->data(), floats_of->size());
    }
}

void reference(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> a = rows_of(random, s.M, s.K);
    const std::vector<float> b = rows_of(random, s.N, s.K);
    std::vector<float> c(s.M * s.N);
    matmul_reference(a.data(), s.K, b.data(), s.M, s.N, s.K, c.data(), s.N, tier);
    out.add(c.data(), c.size());
}

// K positions, plain and with all that there is.
void weigh(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const size_t N = std::min(s.K, kAttentionBlock);
    const std::vector<float> scores = rows_of(random, round_up(N, size_t{4}), s.M);
    const std::vector<float> factors = ordinary(random, s.M), slopes = ordinary(random, s.M);
    std::vector<uint16_t> mask(s.M * N), weights(2 * kValueBlock * s.M);
    std::vector<const uint16_t*> masks(s.M);
    for (uint16_t& half : mask)
        half = random.one_in(3) ? uint16_t{0xFC00} : float_to_float16(random.normal());
    for (size_t m = 0; m < s.M; ++m)
        masks[m] = mask.data() + m * N;
    std::vector<float> maxima(s.M), sums(s.M);
    for (const bool plain : {true, false}) {
        weigh_scores({scores.data(),
                      s.M,
                      0,
                      s.M,
                      N,
                      factors.data(),
                      plain ? 0.0F : 20.0F,
                      plain ? nullptr : masks.data(),
                      slopes.data(),
                      {weights.data(), weights.data() + kValueBlock * s.M},
                      maxima.data(),
                      sums.data()},
                     tier);
        out.add(weights.data(), weights.size());
        out.add(maxima.data(), s.M);
        out.add(sums.data(), s.M);
    }
}

// N positions of K elements.
void pack_halves(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    std::vector<uint16_t> rows(s.N * s.K);
    for (uint16_t& half : rows)
        half = static_cast<uint16_t>(random.bits() & 0xBFFFU);
    std::vector<uint16_t> block(kAttentionBlock * s.K_padded());
    const HalvesToBlock from{reinterpret_cast<const std::byte*>(rows.data()),
                             s.K * 2,
                             s.K,
                             s.K_padded(),
                             7,
                             s.N,
                             nullptr,
                             block.data()};
    for (const bool keys : {true, false}) {
        static_cast<void>(keys ? pack_keys(from, tier) : pack_values(from, tier));
        out.add(block.data(), block.size());
    }
}

void digits(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    const std::vector<float> x = rows_of(random, s.M, s.K);
    std::vector<float> scales(s.M), sums(s.M, 0.25F);
    for (const size_t pieces : {1, 2, 4}) {
        std::vector<std::byte> cube(2 * pieces * s.M * s.K_padded() / 2);
        quantise_rows_digits(
            {x.data(), s.K, s.M, s.K, s.K_padded(), 2 * pieces * s.M, 0, s.M, pieces, cube.data()},
            scales.data(), tier, sums.data());
        out.add(reinterpret_cast<const uint8_t*>(cube.data()), cube.size());
        out.add(scales.data(), s.M);
        out.add(sums.data(), s.M);
    }
}

void codes(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    std::vector<int8_t> rows(s.N * s.K);
    for (int8_t& code : rows)
        code = static_cast<int8_t>(static_cast<int>(random.size(0, 15)) - 8);
    std::vector<std::byte> block(round_up(s.N, size_t{64}) * s.K_padded() / 2);
    pack_codes({rows.data(), s.K, 0, s.N, s.K, s.K_padded(), block.data()}, tier);
    out.add(reinterpret_cast<const uint8_t*>(block.data()), block.size());
}

void join(Random& random, const Shape& s, TestTier tier, Bytes& out) {
    std::vector<int16_t> native(round_up(s.N, size_t{8}) * s.M * 4);
    for (int16_t& sum : native)
        sum = static_cast<int16_t>(random.bits());
    std::vector<int32_t> joined(round_up(s.N, size_t{8}) * s.M);
    join_digits({native.data(), 4 * s.M, 0, s.M, s.N, s.M, 2}, joined.data(), tier);
    out.add(joined.data(), joined.size());
}

struct Kernel {
    const char* name;
    void (*run)(Random&, const Shape&, TestTier, Bytes&);
};
constexpr Kernel kKernels[] = {{"row_absmax", absmax},
                               {"quantise_rows_int8", quantise},
                               {"quantise_rows_int8_scaled", quantise_scaled},
                               {"convert_rows_fp16", convert},
                               {"pack_rows_int8", pack<int8_t>},
                               {"pack_rows_fp16", pack<uint16_t>},
                               {"quantise_rows_digits", digits},
                               {"pack_codes", codes},
                               {"join_digits", join},
                               {"rotate_rows", rotate},
                               {"dequantise_rows_int32", dequantise},
                               {"scale_rows_fp32", scale_fp32},
                               {"weigh_scores", weigh},
                               {"pack_halves", pack_halves},
                               {"few_tokens", few_tokens},
                               {"matmul_reference", reference}};

Bytes bytes_of(const Kernel& kernel, const Shape& shape, TestTier tier) {
    Random random(shape.M * 1000003 + shape.K * 1009 + shape.N);
    Bytes bytes;
    kernel.run(random, shape, tier, bytes);
    return bytes;
}

TEST(GoldenKernels, BitsAreTheSameOnEveryArchitecture) {
    Golden golden(KERNEL_DIGESTS);
    for (const Kernel& kernel : kKernels) {
        for (const Shape& shape : kShapes) {
            for (const TestTier tier : test_tiers()) {
                golden.check(std::string(kernel.name) + " " + shape.text(), kernel_tier_name(tier),
                             bytes_of(kernel, shape, tier));
            }
        }
    }
    golden.finish();
}

TEST(GoldenKernels, OneBitShows) {
    const Golden golden(KERNEL_DIGESTS);
    Bytes bytes = bytes_of(kKernels[0], kShapes[5], test_tiers().back());
    EXPECT_TRUE(golden.matches("row_absmax 7x160x129", bytes));
    bytes.flip_a_bit();
    EXPECT_FALSE(golden.matches("row_absmax 7x160x129", bytes));
}

}  // namespace
}  // namespace rknpu2
