// SPDX-License-Identifier: MIT
// Results of few rows are taken by columns, those of more by rows: the bits are those of each row alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/multiplication.hpp"
#include "matmul/npu_device.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using testing::Matrices;
using Weight = std::shared_ptr<const PackedWeight>;

struct Shape {
    std::vector<size_t> sizes;  // N of each weight
    size_t K;
    int cores;
    int columns;
    Precision precision;
    size_t M;
    bool side_by_side;
    bool odd_rows;  // some with Inf, NaN, zeros alone, or far numbers
};

Shape random_shape(std::mt19937& random) {
    constexpr size_t kLengths[] = {70, 150, 1000, 4096, 8300};
    constexpr Precision kPrecisions[] = {Precision::kFast, Precision::kBalanced, Precision::kExact};
    Shape shape;
    shape.K = kLengths[random() % std::size(kLengths)];
    for (size_t i = 1 + random() % 3; i > 0; --i)
        shape.sizes.push_back(1 + random() % (shape.K <= 150 ? 6000 : 100));
    shape.cores = 1 + static_cast<int>(random() % 3);
    shape.columns = random() % 2 == 0 ? 512 : 16384;
    shape.precision = kPrecisions[random() % std::size(kPrecisions)];
    shape.M = 1 + random() % (kFewResultRows + 4);
    shape.side_by_side = random() % 2 == 0;
    shape.odd_rows = random() % 3 == 0;
    return shape;
}

std::vector<Weight> pack(NpuDevice& npu, const Shape& shape) {
    std::vector<Matrices> matrices;
    std::vector<WeightSource> sources;
    for (size_t i = 0; i < shape.sizes.size(); ++i)
        matrices.emplace_back(1, shape.sizes[i], shape.K, static_cast<uint32_t>(i));
    for (const Matrices& x : matrices)
        sources.push_back(x.source());
    std::vector<Weight> weights;
    if (shape.side_by_side) {
        auto places = npu.reserve(sources);
        EXPECT_TRUE(places.ok());
        for (auto& place : places.value())
            weights.push_back(npu.pack(place).take());
        return weights;
    }
    for (const WeightSource& source : sources)
        weights.push_back(npu.pack(source).take());
    return weights;
}

// Bits, since NaN equals nothing.
std::vector<uint32_t> bits_of(const std::vector<float>& floats) {
    std::vector<uint32_t> bits(floats.size());
    std::memcpy(bits.data(), floats.data(), floats.size() * sizeof(float));
    return bits;
}

std::vector<std::vector<float>> multiply(NpuDevice& npu, const std::vector<Weight>& weights, const float* a,
                                         size_t M, Epilogue* epilogue = nullptr) {
    std::vector<std::vector<float>> out;
    std::vector<NpuDevice::Product> products;
    for (const Weight& weight : weights)
        out.emplace_back(M * weight->plan.N, M == 1 ? 7.0F : std::nanf(""));
    for (size_t i = 0; i < weights.size(); ++i)
        products.push_back({weights[i].get(), out[i].data()});
    const Status status = npu.multiply(products, {a, M, 0}, epilogue);
    EXPECT_TRUE(status.ok()) << status.to_string();
    return out;
}

// Keeps what it is given.
class Keep final : public Epilogue {
  public:
    Keep(size_t products, size_t M, size_t N)
        : N_(N), out_(products, std::vector<float>(M * N, std::nanf(""))) {}
    void apply(const ResultBlock& block) noexcept override {
        for (size_t p = 0; p < out_.size(); ++p)
            for (size_t i = 0; i < block.rows; ++i)
                std::copy_n(block.products[p] + i * block.stride, block.columns,
                            out_[p].data() + (block.m + i) * N_ + block.n);
    }
    const std::vector<float>& out(size_t product) const { return out_[product]; }

  private:
    size_t N_;
    std::vector<std::vector<float>> out_;
};

TEST(FewRowsTest, TheBitsOfEachRowAlone) {
    size_t three_cores = 0, in_bands = 0, two_planes = 0, in_strips = 0;
    for (uint32_t seed = 1; seed <= 18; ++seed) {
        std::mt19937 random(seed);
        Shape shape = random_shape(random);
        const bool with_epilogue = random() % 2 == 0;
        if (with_epilogue) shape.sizes.assign(2, shape.sizes[0]);
        SCOPED_TRACE(::testing::Message() << "seed " << seed << ": " << shape.M << " rows of " << shape.K);
        FakeState state;
        Counters counters;
        const auto npu =
            testing::new_device(state, counters, shape.precision, shape.cores, {}, shape.columns);
        const std::vector<Weight> weights = pack(*npu, shape);
        const WeightPlan& plan = weights[0]->plan;
        three_cores += shape.cores == 3 ? 1 : 0;
        const bool few = shape.M > 1 && shape.M <= kFewResultRows;
        in_bands += few && shape.M * plan.tiles[0].n_count > kElementsPerBand ? 1 : 0;
        two_planes += plan.recipe.planes == 2 ? 1 : 0;
        in_strips += plan.strips() > 1 ? 1 : 0;
        Matrices x(shape.M, 1, shape.K, seed);
        if (shape.odd_rows) {
            constexpr float kOdd[] = {HUGE_VALF, NAN, 1e30F, 1e-40F};
            x.a[random() % x.a.size()] = kOdd[random() % std::size(kOdd)];
            std::fill_n(x.a.begin(), shape.K, 0.0F);
        }
        Keep keep(weights.size(), shape.M, shape.sizes[0]);
        const auto together = multiply(*npu, weights, x.a.data(), shape.M, with_epilogue ? &keep : nullptr);
        for (size_t m = 0; m < shape.M; ++m) {
            const auto alone = multiply(*npu, weights, x.a.data() + m * shape.K, 1);
            for (size_t i = 0; i < weights.size(); ++i) {
                const size_t N = shape.sizes[i];
                const float* const row = (with_epilogue ? keep.out(i) : together[i]).data() + m * N;
                ASSERT_EQ(bits_of({row, row + N}), bits_of(alone[i])) << "row " << m << " of weight " << i;
            }
        }
    }
    for (const size_t count : {three_cores, in_bands, two_planes, in_strips})
        EXPECT_GT(count, 0U) << three_cores << ' ' << in_bands << ' ' << two_planes << ' ' << in_strips;
}

}  // namespace
}  // namespace rknpu2
