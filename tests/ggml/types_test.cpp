// SPDX-License-Identifier: MIT
// What supports_op promises holds: every type that can be dequantised, non-square shapes, every kind of M, K
// that fits no alignment and K beyond one run, in the precision of GGML_RKNPU2_PRECISION.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {
namespace {

constexpr size_t kRows[] = {1, 3, 17, 300};

std::string precision() {
    const char* const name = std::getenv("GGML_RKNPU2_PRECISION");
    return name != nullptr && *name != '\0' ? name : "balanced";
}

// Relative error (root of the NMSE) against float64 arithmetic on the dequantised weight.
double largest_error() {
    if (precision() == "reference") return 1e-6;
    if (precision() == "exact") return 1e-3;  // an NMSE of 1e-6
    return 0.0316;                            // 1e-3
}

class TypesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        RKNPU2_NEEDS_HOST();
        host_ = GgmlHost::open_with_device();
        ASSERT_TRUE(host_);
        backend_ = new_backend(*host_);
    }

    bool can_be_dequantised(ggml_type type) const {
        const ggml_type_traits* const traits = host_->ggml.ggml_get_type_traits(type);
        return type == GGML_TYPE_F32 || traits->to_float != nullptr;
    }

    void check(ggml_type type, const Shape& shape) {
        check(type, shape, random_weight(*host_, type, shape.N, shape.K, random_));
    }

    // The error of a few int8 products is mostly chance, so it is taken over 64 or more.
    void check(ggml_type type, Shape shape, const std::vector<uint8_t>& weight) {
        if (precision() == "fast") shape.M *= std::max<size_t>(1, 64 / (shape.M * shape.N));
        SCOPED_TRACE(::testing::Message() << host_->ggml.ggml_type_name(type) << ", M " << shape.M << ", N "
                                          << shape.N << ", K " << shape.K << ", " << precision());
        StoredMatmul product(*host_, type, shape);
        product.set_weight(weight);
        ASSERT_TRUE(product.supported());
        const uint64_t runs = simulator_counts().runs;
        EXPECT_LT(product.error(backend_.get(), random_), largest_error());
        EXPECT_EQ(simulator_counts().runs > runs, precision() != "reference");
    }

    Random random_;
    std::unique_ptr<GgmlHost> host_;
    BackendPtr backend_{nullptr, nullptr};
};

TEST_F(TypesTest, EveryTypeThatCanBeDequantised) {
    size_t types = 0;
    for (int number = 0; number < GGML_TYPE_COUNT; ++number) {
        const auto type = static_cast<ggml_type>(number);
        if (!can_be_dequantised(type)) continue;
        ++types;
        const std::vector<uint8_t> weight = random_weight(*host_, type, 80, 768, random_);  // some are slow
        for (const size_t M : kRows)
            check(type, {M, 80, 768}, weight);
    }
    EXPECT_GE(types, 28U);  // as many as ggml 0.25 has
}

// ggml_prec_set_src(): what is to stay float is not rounded to 8 bits; the weight's other form stays what it
// was.
TEST_F(TypesTest, ActivationsThatTheHostWantsAsFloats) {
    const double as_floats = std::min(largest_error(), 1e-3);
    for (const ggml_type type : {GGML_TYPE_Q4_0, GGML_TYPE_F16}) {
        const Shape shape{17, 70, 768};
        StoredMatmul product(*host_, type, shape);
        const std::vector<uint8_t> weight = random_weight(*host_, type, shape.N, shape.K, random_);
        product.set_weight(weight);
        const std::vector<float> a = random_floats(random_, shape.M * shape.K);
        const auto compute = [&](ggml_prec sums, ggml_prec activations) {
            product.set_precisions(sums, activations);
            std::vector<float> out;
            EXPECT_EQ(product.compute(backend_.get(), a, out), GGML_STATUS_SUCCESS);
            return out;
        };
        const std::vector<float> usual = compute(GGML_PREC_UNDEFINED, GGML_PREC_UNDEFINED);
        for (const ggml_prec floats : {GGML_PREC_F32, GGML_PREC_BF16, GGML_PREC_F16}) {
            const std::vector<float> out = compute(GGML_PREC_UNDEFINED, floats);
            EXPECT_LT(relative_error(*host_, type, shape, weight, a, out), as_floats) << floats;
        }
        // Sums are float32 or int32 anyway, and 8 bits are what is done.
        for (const ggml_prec allowed : {GGML_PREC_Q8, GGML_PREC_Q4, GGML_PREC_UNDEFINED})
            EXPECT_EQ(compute(GGML_PREC_F32, allowed), usual) << allowed;
    }
}

TEST_F(TypesTest, WidthsThatFitNoAlignment) {
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16}) {
        for (const size_t K : {1U, 31U, 33U, 100U, 1023U})
            check(type, {17, 70, K});
        for (const size_t N : {1U, 15U, 33U, 127U})
            check(type, {3, N, 96});
    }
}

TEST_F(TypesTest, WidthsBeyondOneRun) {
    for (const ggml_type type : {GGML_TYPE_F16, GGML_TYPE_Q4_0, GGML_TYPE_Q6_K, GGML_TYPE_IQ4_XS}) {
        check(type, {1, 48, 8192 + 256});
        check(type, {17, 33, 2 * 8192 + 512});
    }
    check(GGML_TYPE_F32, {3, 40, 8192 + 1});
}

TEST_F(TypesTest, MoreColumnsThanOneTile) {
    check(GGML_TYPE_Q4_0, {2, 12345, 64});
    check(GGML_TYPE_Q8_0, {300, 4100, 32});
}

// ggml's CPU backend says yes to weights that it cannot convert, and crashes on them: that is not our
// promise.
TEST_F(TypesTest, OtherTypesAreRefused) {
    for (const ggml_type type : {GGML_TYPE_I32, GGML_TYPE_F64}) {
        StoredMatmul product(*host_, type, {2, 32, 64});
        EXPECT_FALSE(product.supported()) << host_->ggml.ggml_type_name(type);
    }
}

}  // namespace
}  // namespace rknpu2::test
