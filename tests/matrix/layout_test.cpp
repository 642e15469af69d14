// SPDX-License-Identifier: MIT
#include "matrix/layout.hpp"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

namespace rknpu2 {
namespace {

// A layout is right when it is a bijection onto 0 .. size-1 and puts known elements where the specification
// says.
template <typename Index>
void expect_bijection(size_t rows, size_t columns, Index index) {
    std::vector<bool> seen(rows * columns);
    for (size_t r = 0; r < rows; ++r) {
        for (size_t c = 0; c < columns; ++c) {
            const size_t i = index(r, c);
            ASSERT_LT(i, seen.size()) << r << "," << c;
            ASSERT_FALSE(seen[i]) << r << "," << c;
            seen[i] = true;
        }
    }
}

TEST(Layout, NativeFormsAreBijections) {
    for (const DType type : {DType::kInt4, DType::kInt8, DType::kFloat16}) {
        const size_t g = kernel_group(type);
        for (const auto& [M, K, N] :
             {std::tuple<size_t, size_t, size_t>{5, 96, 3 * g}, {1, 64, g}, {7, 32, 2 * g}}) {
            expect_bijection(M, K, [&, m = M](size_t r, size_t k) { return a_index_native(r, k, m, type); });
            expect_bijection(
                K, N, [&, kk = K, nn = N](size_t k, size_t n) { return b_index_native(k, n, kk, nn, type); });
        }
    }
    expect_bijection(8192 + 64, 64,
                     [](size_t k, size_t n) { return b_index_native(k, n, 8192 + 64, 64, DType::kInt8); });
    for (const DType type : {DType::kInt8, DType::kInt16, DType::kInt32, DType::kFloat32}) {
        expect_bijection(5, 96, [&](size_t m, size_t n) { return c_index_native(m, n, 5, type); });
    }
}

TEST(Layout, KnownPositions) {
    // int8 A, M = 3: element (m=2, k=17) is in the second atom column, third row, byte 1.
    EXPECT_EQ(a_index_native(2, 17, 3, DType::kInt8), (1U * 3 + 2) * 16 + 1);
    // int8 B, K = 64, N = 96: (k=33, n=70) is in N-group 2, K-tile 1, kernel 6, byte 1. K and N differ, so a
    // swap shows.
    EXPECT_EQ(b_index_native(33, 70, 64, 96, DType::kInt8), ((2U * 2 + 1) * 32 + 6) * 32 + 1);
    // fp16 B: groups of 16 kernels.
    EXPECT_EQ(b_index_native(33, 70, 64, 96, DType::kFloat16), ((4U * 2 + 1) * 16 + 6) * 32 + 1);
    // int4 B: groups of 64 kernels.
    EXPECT_EQ(b_index_native(33, 70, 64, 128, DType::kInt4), ((1U * 2 + 1) * 64 + 6) * 32 + 1);
    // int32 C, M = 3.
    EXPECT_EQ(c_index_native(1, 6, 3, DType::kInt32), (1U * 3 + 1) * 4 + 2);
    // The second K segment starts after 8192 * N elements.
    EXPECT_EQ(b_index_native(8192, 0, 8192 + 32, 64, DType::kInt8), 8192U * 64);
}

TEST(Layout, ByLayout) {
    constexpr DType kType = DType::kFloat16;
    EXPECT_EQ(a_index(2, 17, 3, 64, kType, Layout::kNormal), 2U * 64 + 17);
    EXPECT_EQ(a_index(2, 17, 3, 64, kType, Layout::kNative), a_index_native(2, 17, 3, kType));
    EXPECT_EQ(b_index(33, 70, 64, 96, kType, Layout::kNormal), 33U * 96 + 70);
    EXPECT_EQ(b_index(33, 70, 64, 96, kType, Layout::kTransposed), 70U * 64 + 33);
    EXPECT_EQ(b_index(33, 70, 64, 96, kType, Layout::kNative), b_index_native(33, 70, 64, 96, kType));
    EXPECT_EQ(c_index(1, 9, 3, 96, kType, Layout::kNormal), 1U * 96 + 9);
    EXPECT_EQ(c_index(1, 9, 3, 96, kType, Layout::kNative), c_index_native(1, 9, 3, kType));
}

TEST(Layout, OneRowOfActivationsIsTheSameInBothForms) {
    for (size_t k = 0; k < 640; ++k)
        EXPECT_EQ(a_index_native(0, k, 1, DType::kInt8), a_index_normal(0, k, 640));
}

TEST(Layout, NibblesKeepTheirNeighbours) {
    uint8_t data[2] = {0, 0};
    for (int value = -8; value < 8; ++value) {
        int4_set(data, 1, value);
        int4_set(data, 2, -1 - value);
        EXPECT_EQ(int4_get(data, 1), value);
        EXPECT_EQ(int4_get(data, 2), -1 - value);
        EXPECT_EQ(int4_get(data, 0), 0);
        EXPECT_EQ(int4_get(data, 3), 0);
    }
}

}  // namespace
}  // namespace rknpu2
