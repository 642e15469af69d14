// SPDX-License-Identifier: MIT
// Activations that are quantised once for several weights: the same bits, and never a stale one.
#include <gtest/gtest.h>

#include <cmath>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;

class ActivationsTest : public ::testing::TestWithParam<Precision> {
  protected:
    std::shared_ptr<NpuDevice> device(Precision precision) {
        return testing::new_device(state_, counters_, precision);
    }

    void SetUp() override { npu_ = device(GetParam()); }

    Weight pack(size_t N, size_t K, uint32_t seed) {
        return npu_->pack(Matrices(1, N, K, seed).source()).take();
    }

    std::vector<float> multiply(const Weight& weight, const Activations& input, size_t planes = 0) {
        std::vector<float> out(input.M * weight->plan.N, std::nanf(""));
        const Status status = npu_->multiply(*weight, input, out.data(), planes);
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    }

    uint64_t shared() const { return counters_.activations_shared; }

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
};

TEST_P(ActivationsTest, WeightsThatReadTheSameMatrixShareIt) {
    for (const auto& [M, K] : {std::pair<size_t, size_t>{1, 96}, {5, 576}, {300, 100}, {2, 8300}}) {
        const Matrices x(M, 1, K, 3);
        const Weight q = pack(70, K, 4);
        const Weight k = pack(33, K, 5);
        const std::vector<float> apart = multiply(k, {x.a.data(), M, 0});
        const uint64_t before = shared();
        const Activations input{x.a.data(), M, npu_->new_version()};
        multiply(q, input);
        EXPECT_EQ(shared(), before);
        EXPECT_EQ(multiply(k, input), apart) << M << " x " << K;
        EXPECT_EQ(multiply(k, input), apart);
        EXPECT_EQ(shared(), before + 2);
    }
}

// The second weight would cut the rows otherwise, into more pieces than are worked on at a time: what it
// shares is all rows at once, and they are multiplied once.
TEST_P(ActivationsTest, SharedRowsAreMultipliedOnceHoweverTheyAreCut) {
    const size_t M = 1200, K = 32;
    const Matrices x(M, 1, K, 3);
    const Weight narrow = pack(64, K, 4);
    const Weight wide = pack(4096, K, 5);
    const std::vector<float> apart = multiply(wide, {x.a.data(), M, 0});
    const Activations input{x.a.data(), M, npu_->new_version()};
    multiply(narrow, input);
    const uint64_t before = shared();
    std::vector<float> out(2 * apart.size(), -1.0F);
    const Status status = npu_->multiply(*wide, input, out.data());
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(shared(), before + 1);
    const auto end = out.begin() + static_cast<std::ptrdiff_t>(apart.size());
    EXPECT_TRUE(std::equal(out.begin(), end, apart.begin()));
    EXPECT_TRUE(std::all_of(end, out.end(), [](float value) { return value == -1.0F; }));
}

TEST_P(ActivationsTest, NothingIsSharedWithoutAPromise) {
    const Matrices x(3, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    multiply(w, {x.a.data(), 3, 0});
    multiply(w, {x.a.data(), 3, 0});
    multiply(w, {x.a.data(), 3, npu_->new_version()});
    multiply(w, {x.a.data(), 3, npu_->new_version()});
    EXPECT_EQ(shared(), 0U);
}

TEST_P(ActivationsTest, ANewVersionIsReadAnew) {
    Matrices x(3, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    const std::vector<float> before = multiply(w, {x.a.data(), 3, npu_->new_version()});
    x.a[100] += 1.0F;
    const std::vector<float> after = multiply(w, {x.a.data(), 3, npu_->new_version()});
    EXPECT_NE(after, before);
    EXPECT_EQ(after, multiply(w, {x.a.data(), 3, 0}));
}

TEST_P(ActivationsTest, OtherRowsOrAnotherMatrixAreNotMistakenForIt) {
    const Matrices x(8, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    const uint64_t version = npu_->new_version();
    multiply(w, {x.a.data(), 8, version});
    const std::vector<float> fewer = multiply(w, {x.a.data(), 3, version});
    const std::vector<float> others = multiply(w, {x.a.data() + 96, 3, version});
    EXPECT_EQ(shared(), 0U);
    EXPECT_EQ(fewer, multiply(w, {x.a.data(), 3, 0}));
    EXPECT_EQ(others, multiply(w, {x.a.data() + 96, 3, 0}));
}

// Another width in the meantime has the areas.
TEST_P(ActivationsTest, WhatWasOverwrittenIsQuantisedAgain) {
    const Matrices x(4, 1, 96, 3);
    const Matrices y(4, 1, 200, 4);
    const Weight w = pack(40, 96, 4);
    const Weight other = pack(40, 200, 4);
    const uint64_t version = npu_->new_version();
    const std::vector<float> first = multiply(w, {x.a.data(), 4, version});
    multiply(other, {y.a.data(), 4, version});
    EXPECT_EQ(multiply(w, {x.a.data(), 4, version}), first);
    EXPECT_EQ(shared(), 0U);
}

TEST_P(ActivationsTest, AMatrixThatIsWorkedOnInPartsIsSharedWithNobody) {
    const size_t M = kMostRowChunks * kMaxRows + 3;
    const Matrices x(M, 1, 32, 3);
    const Weight w = pack(16, 32, 4);
    const Activations input{x.a.data(), M, npu_->new_version()};
    const std::vector<float> first = multiply(w, input);
    EXPECT_EQ(multiply(w, input), first);
    EXPECT_EQ(shared(), 0U);
    const std::vector<float> last = multiply(w, {x.a.data() + (M - 1) * 32, 1, 0});
    if (GetParam() == Precision::kNaive) return;  // its scale is that of all rows
    EXPECT_EQ(std::vector<float>(first.end() - 16, first.end()), last);
}

TEST_P(ActivationsTest, AFailedRunLeavesNothingToShare) {
    const Matrices x(3, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    const Activations input{x.a.data(), 3, npu_->new_version()};
    std::vector<float> out(3 * 40);
    state_.runs_until_failure = 0;
    EXPECT_FALSE(npu_->multiply(*w, input, out.data()).ok());
    state_.runs_until_failure = -1;
    EXPECT_EQ(multiply(w, input), multiply(w, {x.a.data(), 3, 0}));
    EXPECT_EQ(shared(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Precisions, ActivationsTest,
                         ::testing::Values(Precision::kNaive, Precision::kFast, Precision::kBalanced,
                                           Precision::kExact),
                         [](const auto& test) { return std::string(precision_name(test.param)); });

class FormTest : public ActivationsTest {};

TEST_P(FormTest, AWeightWithOnePlaneDoesNotTakeThoseWithTwo) {
    const Matrices x(3, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    const Activations input{x.a.data(), 3, npu_->new_version()};
    const std::vector<float> two = multiply(w, input, 2);
    const std::vector<float> one = multiply(w, input, 1);
    EXPECT_NE(one, two);
    EXPECT_EQ(multiply(w, input, 2), two);
    EXPECT_EQ(shared(), 0U);
}

TEST_P(FormTest, OtherSmoothingIsAnotherForm) {
    const Matrices x(3, 1, 96, 3);
    const Weight w = pack(40, 96, 4);
    const auto changed = std::make_shared<PackedWeight>(*w);
    changed->input_factors.assign(96, 1.0F);
    changed->input_factors[7] = 4.0F;
    const Weight smoothed = changed;
    const Activations input{x.a.data(), 3, npu_->new_version()};
    const std::vector<float> plain = multiply(w, input);
    EXPECT_NE(multiply(smoothed, input), plain);
    EXPECT_EQ(shared(), 0U);
    multiply(smoothed, input);
    EXPECT_EQ(shared(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Balanced, FormTest, ::testing::Values(Precision::kBalanced));

}  // namespace
}  // namespace rknpu2
