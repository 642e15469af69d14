// SPDX-License-Identifier: MIT
// Several multiplications by the same activations: the same bits as one by one, in as few runs as their
// places allow.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;

class TogetherTest : public ::testing::TestWithParam<Precision> {
  protected:
    void SetUp() override { npu_ = testing::new_device(state_, counters_, GetParam()); }

    // Weights of these N, packed side by side.
    std::vector<Weight> pack_together(const std::vector<size_t>& sizes, size_t K) {
        std::vector<Matrices> matrices;
        for (const size_t N : sizes)
            matrices.emplace_back(1, N, K, static_cast<uint32_t>(N));
        std::vector<WeightSource> sources;
        for (const Matrices& x : matrices)
            sources.push_back(x.source());
        auto places = npu_->reserve(sources);
        EXPECT_TRUE(places.ok());
        std::vector<Weight> weights;
        for (size_t i = 0; i < sizes.size(); ++i)
            weights.push_back(npu_->pack(places.value()[i]).take());
        return weights;
    }

    Weight pack(size_t N, size_t K) {
        return npu_->pack(Matrices(1, N, K, static_cast<uint32_t>(N)).source()).take();
    }

    std::vector<std::vector<float>> multiply(const std::vector<Weight>& weights, const Activations& input) {
        std::vector<std::vector<float>> out;
        std::vector<NpuDevice::Product> products;
        for (const Weight& weight : weights)
            out.emplace_back(input.M * weight->plan.N, std::nanf(""));
        for (size_t i = 0; i < weights.size(); ++i)
            products.push_back({weights[i].get(), out[i].data()});
        const Status status = npu_->multiply(products, input);
        EXPECT_TRUE(status.ok()) << status.to_string();
        return out;
    }

    std::vector<std::vector<float>> one_by_one(const std::vector<Weight>& weights, const Activations& input) {
        std::vector<std::vector<float>> out;
        for (const Weight& weight : weights)
            out.push_back(multiply({weight}, input)[0]);
        return out;
    }

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
};

TEST_P(TogetherTest, TheSameBitsInOneRunForEachCore) {
    for (const auto& [M, K] : {std::pair<size_t, size_t>{1, 96}, {2, 576}, {37, 100}, {300, 64}}) {
        const Matrices x(M, 1, K, 3);
        const std::vector<Weight> weights = pack_together({200, 70, 96}, K);
        const Activations input{x.a.data(), M, 0};
        const std::vector<std::vector<float>> apart = one_by_one(weights, input);
        const uint64_t runs = counters_.runs;
        const uint64_t bytes = counters_.weight_bytes;
        EXPECT_EQ(multiply(weights, input), apart) << M << " x " << K;
        const size_t planes = weights[0]->plan.recipe.planes;
        const size_t rows = best_chunk_rows(kBoardRates, weights[0]->plan.recipe.arithmetic, M * planes, K,
                                            200 + 70 + 96, {1, weights[0]->plan.tiles.size()});
        const size_t chunks = ceil_div(M, rows / planes);
        EXPECT_EQ(counters_.runs - runs, 3 * chunks) << M << " x " << K;
        size_t packed = 0;
        for (const Weight& weight : weights)
            packed += weight->plan.packed_bytes();
        EXPECT_EQ(counters_.weight_bytes - bytes, packed * chunks);
    }
}

// Some of the weights want their activations as floats (WeightSource::float_activations): they are fp16's
// affair, whatever the precision, and the others keep their bits.
TEST_P(TogetherTest, FloatActivationsAreFloatsForThoseThatWantThem) {
    for (const size_t K : {576U, 9000U}) {
        Matrices x(3, 1, K, 3);
        for (size_t k = 0; k < K; ++k)
            x.a[K + k] *= 1e6F;  // beyond the largest half
        const Matrices plain(1, 200, K, 200);
        const Matrices floats(1, 70, K, 70);
        const std::vector<float> expected =
            multiply({npu_->pack(plain.source()).take()}, {x.a.data(), 3, 0})[0];
        std::vector<WeightSource> sources = {plain.source(), floats.source()};
        sources[1].float_activations = true;
        auto places = npu_->reserve(sources);
        ASSERT_TRUE(places.ok());
        std::vector<Weight> weights;
        for (size_t i = 0; i < sources.size(); ++i)
            weights.push_back(npu_->pack(places.value()[i]).take());
        if (GetParam() == Precision::kNaive) {  // it is there to compare with
            EXPECT_EQ(weights[1]->plan.recipe, recipe_of(Precision::kNaive));
            continue;
        }
        EXPECT_EQ(weights[1]->plan.recipe, recipe_of(Precision::kExact));
        EXPECT_EQ(weights[0]->plan.recipe.arithmetic, recipe_of(GetParam()).arithmetic);
        const uint64_t fp16 = counters_.fp16_matmuls;
        const std::vector<std::vector<float>> out = multiply(weights, {x.a.data(), 3, npu_->new_version()});
        EXPECT_EQ(counters_.fp16_matmuls - fp16, GetParam() == Precision::kExact ? 2U : 1U);
        EXPECT_EQ(out[0], expected);
        Matrices both = floats;
        both.M = 3;
        both.a = x.a;
        for (size_t m = 0; m < 3; ++m) {
            double off = 0;
            double total = 0;
            for (size_t n = 0; n < both.N; ++n) {
                const double exact = both.exact(m, n);
                off += (out[1][m * both.N + n] - exact) * (out[1][m * both.N + n] - exact);
                total += exact * exact;
            }
            EXPECT_LT(std::sqrt(off / total), 1e-3) << "K " << K << ", row " << m;
        }
    }
}

TEST_P(TogetherTest, EverySegmentOfKIsARun) {
    const Matrices x(3, 1, 8300, 3);
    const std::vector<Weight> weights = pack_together({100, 40}, 8300);
    const Activations input{x.a.data(), 3, 0};
    const std::vector<std::vector<float>> apart = one_by_one(weights, input);
    const uint64_t runs = counters_.runs;
    EXPECT_EQ(multiply(weights, input), apart);
    EXPECT_LE(counters_.runs - runs, 3U * 2);
}

TEST_P(TogetherTest, WeightsThatLieApartAreRunsOfTheirOwn) {
    const Matrices x(2, 1, 96, 3);
    const Weight a = pack(200, 96);
    const Weight between = pack(500, 96);
    const Weight b = pack(70, 96);
    const Activations input{x.a.data(), 2, 0};
    EXPECT_EQ(multiply({b, a}, input), one_by_one({b, a}, input));
    EXPECT_EQ(multiply({a, b, between}, input), one_by_one({a, b, between}, input));
}

TEST_P(TogetherTest, AWeightThatTakesAnothersPlaceIsSeenByTheDevice) {
    const Matrices x(2, 1, 96, 3);
    std::vector<Weight> weights = pack_together({192, 96}, 96);
    const Activations input{x.a.data(), 2, 0};
    multiply(weights, input);
    const std::byte* const place = (*weights[1]->cells)[0][0].data();
    weights[1].reset();
    auto fresh = npu_->pack(Matrices(1, 96, 96, 77).source());
    ASSERT_TRUE(fresh.ok());
    weights[1] = fresh.take();
    ASSERT_EQ((*weights[1]->cells)[0][0].data(), place) << "the test wants it in the same place";
    const int binds = state_.weight_binds;
    EXPECT_EQ(multiply(weights, input), one_by_one(weights, input));
    EXPECT_GT(state_.weight_binds, binds) << "binding is what tells the device";
}

TEST_P(TogetherTest, NoRunIsWiderThanTheSettingSays) {
    const Matrices x(1, 1, 32, 3);
    const Activations input{x.a.data(), 1, 0};
    std::vector<std::vector<float>> wide_runs;
    for (const auto& [columns, rounds] : {std::pair<int, uint64_t>{16384, 1}, {4096, 2}}) {
        npu_ = testing::new_device(state_, counters_, GetParam(), 3, {}, columns);
        const std::vector<Weight> weights = pack_together({7000, 7000, 20}, 32);
        const std::vector<std::vector<float>> apart = one_by_one(weights, input);
        const uint64_t runs = counters_.runs;
        EXPECT_EQ(multiply(weights, input), apart);
        EXPECT_EQ(counters_.runs - runs, 3 * rounds);  // 2 x 2336 columns for a core are more than 4096
        if (wide_runs.empty()) wide_runs = apart;
        EXPECT_EQ(apart, wide_runs) << columns;
    }
    const std::vector<Weight> wide = pack_together({30000, 64}, 32);
    EXPECT_EQ(multiply(wide, input), one_by_one(wide, input));
}

TEST_P(TogetherTest, AFailedRunFailsAllAndTheDeviceStaysUsable) {
    const Matrices x(3, 1, 96, 3);
    const std::vector<Weight> weights = pack_together({200, 70}, 96);
    const Activations input{x.a.data(), 3, npu_->new_version()};
    const std::vector<std::vector<float>> right = multiply(weights, input);
    std::vector<float> out(x.M * 200);
    const NpuDevice::Product product{weights[0].get(), out.data()};
    state_.runs_until_failure = 1;
    EXPECT_EQ(npu_->multiply({&product, 1}, input).code(), StatusCode::kTimeout);
    EXPECT_EQ(multiply(weights, input), right);
}

// Multiplies what it gets element by element.
class Times final : public Epilogue {
  public:
    Times(size_t M, size_t N) : N_(N), out_(M * N, std::nanf("")), calls_(M * N) {}
    void apply(const ResultBlock& block) noexcept override {
        for (size_t i = 0; i < block.rows; ++i) {
            for (size_t j = 0; j < block.columns; ++j) {
                const size_t at = (block.m + i) * N_ + block.n + j;
                out_[at] = block.products[0][i * block.stride + j] * block.products[1][i * block.stride + j];
                ++calls_[at];
            }
        }
    }
    const std::vector<float>& out() const { return out_; }
    bool each_once() const {
        return std::all_of(calls_.begin(), calls_.end(), [](const auto& count) { return count == 1; });
    }

  private:
    size_t N_;
    std::vector<float> out_;
    std::vector<std::atomic<int>> calls_;
};

TEST_P(TogetherTest, AnEpilogueSeesWhatWouldHaveBeenWritten) {
    for (const auto& [M, N, K] : {std::tuple<size_t, size_t, size_t>{1, 200, 96},
                                  {5, 70, 8300},
                                  {300, 100, 64},
                                  {2, 30000, 32},
                                  {4097, 33, 32}}) {
        const Matrices x(M, 1, K, 3);
        const std::vector<Weight> side_by_side = pack_together({N, N}, K);
        const std::vector<Weight> apart = {pack(N, K), pack(N, K)};
        for (const std::vector<Weight>& weights : {side_by_side, apart}) {
            const Activations input{x.a.data(), M, 0};
            const std::vector<std::vector<float>> results = one_by_one(weights, input);
            std::vector<std::vector<float>> out(2, std::vector<float>(M * N));
            Times times(M, N);
            const NpuDevice::Product products[] = {{weights[0].get(), out[0].data()},
                                                   {weights[1].get(), out[1].data()}};
            ASSERT_TRUE(npu_->multiply(products, input, &times).ok());
            EXPECT_TRUE(times.each_once());
            for (size_t i = 0; i < M * N; ++i)
                ASSERT_EQ(times.out()[i], results[0][i] * results[1][i])
                    << M << " x " << N << " x " << K << " " << i;
        }
    }
}

TEST_P(TogetherTest, AnEpilogueOfWeightsThatWantOtherFormsSeesAllAtTheEnd) {
    const Matrices x(3, 1, 96, 3);
    const std::vector<Weight> weights = pack_together({100, 100}, 96);
    const Activations input{x.a.data(), 3, 0};
    std::vector<std::vector<float>> out(2, std::vector<float>(3 * 100));
    const bool two_planes = weights[0]->plan.recipe.planes == 2;
    const NpuDevice::Product products[] = {
        {weights[0].get(), out[0].data(), two_planes ? size_t{1} : size_t{0}},
        {weights[1].get(), out[1].data()}};
    Times times(3, 100);
    ASSERT_TRUE(npu_->multiply(products, input, &times).ok());
    EXPECT_TRUE(times.each_once());
    if (!two_planes) return;
    for (size_t i = 0; i < 300; ++i)
        ASSERT_EQ(times.out()[i], out[0][i] * out[1][i]);
}

INSTANTIATE_TEST_SUITE_P(Precisions, TogetherTest,
                         ::testing::Values(Precision::kNaive, Precision::kFast, Precision::kBalanced,
                                           Precision::kExact),
                         [](const auto& test) { return std::string(precision_name(test.param)); });

}  // namespace
}  // namespace rknpu2
