// SPDX-License-Identifier: MIT
// Results of every type and layout on random shapes, none of them square.
#include <algorithm>
#include <cmath>

#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

class MatmulTest : public SimTest {};

struct Case {
    int type;
    Shape shape;
    int b_layout;
    int ac_layout;
};

// What the type of C makes of an exact result.
double as_output(int type, double exact) {
    switch (type) {
        case kI4I16:
            return std::clamp(exact, -32768.0, 32767.0);
        case kI8I8:
            return std::clamp(exact, -128.0, 127.0);
        default:
            return exact;
    }
}

void check(const Case& c, unsigned seed) {
    SCOPED_TRACE(::testing::Message()
                 << "type " << c.type << " M=" << c.shape.M << " K=" << c.shape.K << " N=" << c.shape.N
                 << " B " << c.b_layout << " AC " << c.ac_layout << " seed " << seed);
    const Operands operands = random_operands(c.type, c.shape, seed);
    Matmul matmul(c.type, c.shape, c.b_layout, c.ac_layout);
    ASSERT_EQ(matmul.created(), 0);
    const std::vector<double> got = matmul.compute(operands);
    const std::vector<double> want = expected(operands, c.shape);
    const double tolerance = c.type == kF16F32 ? 1e-5 : c.type == kF16F16 ? 1e-3 : 0.0;
    for (size_t i = 0; i < got.size(); ++i) {
        const double w = as_output(c.type, want[i]);
        const double allowed = tolerance * (std::abs(w) + std::sqrt(static_cast<double>(c.shape.K)));
        ASSERT_NEAR(got[i], w, allowed) << "element " << i / c.shape.N << "," << i % c.shape.N;
    }
}

TEST_F(MatmulTest, EveryTypeAndLayoutOnRandomShapes) {
    std::mt19937 random(20240229);
    unsigned seed = 1;
    for (const int type : {kI8I32, kF16F32, kI8I8, kF16F16, kI4I16}) {
        const int group = static_cast<int>(rknpu2::kernel_group(input_of(type)));
        for (const int b_layout : {kBNative, kBNormal, kBTransposed}) {
            const bool refused =
                (type == kI4I16 && b_layout != kBNative) || (type == kI8I8 && b_layout == kBTransposed);
            if (refused) continue;
            for (const int ac_layout : {1, 0}) {
                for (int i = 0; i < 4; ++i) {
                    const int K = 32 * (1 + static_cast<int>(random() % 9));
                    int N = group * (1 + static_cast<int>(random() % 5));
                    if (N == K) N += group;
                    const int M = i == 0 ? 1 : 1 + static_cast<int>(random() % 40);
                    check({type, {M, K, N}, b_layout, ac_layout}, seed++);
                }
            }
        }
    }
}

// D.2: K over 8192 makes B a sequence of segments.
TEST_F(MatmulTest, SegmentsOfK) {
    check({kI8I32, {3, 8192 + 96, 64}, kBNative, 1}, 100);
    check({kI8I32, {1, 8192 + 32, 32}, kBNative, 1}, 101);
    check({kF16F32, {5, 8192 + 64, 48}, kBNative, 1}, 102);
    check({kI4I16, {2, 8192 + 64, 128}, kBNative, 1}, 103);
    check({kI8I32, {3, 8192 + 96, 64}, kBNormal, 0}, 104);
    check({kF16F32, {2, 8192 + 96, 32}, kBTransposed, 0}, 105);
}

TEST_F(MatmulTest, ManyRows) {
    check({kI8I32, {301, 1056, 96}, kBNative, 1}, 200);
    check({kF16F32, {131, 160, 208}, kBNative, 1}, 201);
}

TEST_F(MatmulTest, ExtremeInt8ValuesAreExact) {
    const Shape shape{2, 10240, 32};
    Operands operands;
    operands.a.assign(static_cast<size_t>(shape.M) * shape.K, -128.0F);
    operands.b.assign(static_cast<size_t>(shape.K) * shape.N, -128.0F);
    Matmul matmul(kI8I32, shape);
    for (const double c : matmul.compute(operands))
        ASSERT_EQ(c, 16384.0 * 10240);
}

}  // namespace
}  // namespace rknnsim_test
