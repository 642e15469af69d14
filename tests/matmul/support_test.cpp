#include "matmul/support.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace rknpu2 {
namespace {

MatmulProblem good() {
    MatmulProblem p;
    p.M = 3;
    p.N = 5;
    p.K = 7;
    p.weight_is_stored = p.weight_in_our_memory = p.weight_is_matrix = p.weight_is_contiguous = true;
    p.weight_can_be_dequantised = p.activations_are_float = p.activations_are_contiguous = true;
    return p;
}

TEST(Support, EveryConditionHasItsReason) {
    EXPECT_EQ(support(good()), Reason::kSupported);
    const auto refused = [](auto change) {
        MatmulProblem p = good();
        change(p);
        return support(p);
    };
    EXPECT_EQ(refused([](auto& p) { p.weight_is_stored = false; }), Reason::kWeightIsComputed);
    EXPECT_EQ(refused([](auto& p) { p.weight_in_our_memory = false; }), Reason::kWeightElsewhere);
    EXPECT_EQ(refused([](auto& p) { p.weight_in_compute_buffer = true; }), Reason::kWeightIsTemporary);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_rotation = true; }), Reason::kWeightIsRotation);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_matrix = false; }), Reason::kWeightHasMoreDimensions);
    EXPECT_EQ(refused([](auto& p) { p.weight_is_contiguous = false; }), Reason::kWeightHasGaps);
    EXPECT_EQ(refused([](auto& p) { p.weight_can_be_dequantised = false; }), Reason::kWeightType);
    EXPECT_EQ(refused([](auto& p) { p.activations_are_float = false; }), Reason::kActivationsType);
    EXPECT_EQ(refused([](auto& p) { p.activations_are_contiguous = false; }), Reason::kActivationsHaveGaps);
    for (size_t MatmulProblem::*dimension : {&MatmulProblem::M, &MatmulProblem::N, &MatmulProblem::K}) {
        EXPECT_EQ(refused([&](auto& p) { p.*dimension = 0; }), Reason::kEmpty);
    }
}

TEST(Support, ExpertsAreTakenAsMatricesAre) {
    MatmulProblem p = good();
    p.experts = 8;
    p.experts_used = 2;
    EXPECT_EQ(support(p), Reason::kSupported);
    p.activations_are_contiguous = false;
    EXPECT_EQ(support(p), Reason::kActivationsHaveGaps);
}

TEST(Support, ReasonsReadDifferently) {
    std::set<std::string> texts;
    for (int r = 0; r < kReasons; ++r)
        texts.insert(reason_text(static_cast<Reason>(r)));
    EXPECT_EQ(texts.size(), static_cast<size_t>(kReasons));
    EXPECT_FALSE(texts.contains("unknown reason"));
}

}  // namespace
}  // namespace rknpu2
