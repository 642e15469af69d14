// SPDX-License-Identifier: MIT
// Products whose chunks go through the NPU one after the other, in an order that a seed draws, and the same
// products one by one.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/gathered.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_flow.hpp"

namespace rknpu2::testing {

using Weight = std::shared_ptr<const PackedWeight>;
using Floats = std::vector<float>;

// Products, each with activations of its own; every chunk goes through one after the other.
class FlowTest : public ::testing::TestWithParam<Precision> {
  protected:
    static constexpr size_t kM = 45;
    const std::vector<FlowChunk> chunks_ = {{0, 16}, {16, 1}, {17, 28}};

    void SetUp() override {
        // Progress of packing that takes long is no concern of these tests.
        set_log_sink([this](LogLevel level, const std::string& line) {
            if (level != LogLevel::kInfo) lines_.push_back(line);
        });
    }
    void TearDown() override { set_log_sink({}); }

    void open(int cores, std::vector<OnError> on_error = {}) {
        state_.spoils_results = true;
        npu_ = new_device(state_, counters_, GetParam(), cores, std::move(on_error));
        add_group({200, 70}, 96);
        add_group({9, 5}, 4500);  // several segments
        add_group({4200}, 32);    // several strips on one core
    }

    void add_group(const std::vector<size_t>& sizes, size_t K) {
        inputs_.emplace_back(kM, 1, K, static_cast<uint32_t>(K));
        ordinary_ = inputs_.back().a;
        for (size_t k = 0; k < K; ++k) {  // rows whose scales are far
            inputs_.back().a[3 * K + k] *= 1e34F;
            inputs_.back().a[20 * K + k] *= 1e-38F;
        }
        weights_.emplace_back();
        for (const size_t N : sizes) {
            const Matrices weight(1, N, K, static_cast<uint32_t>(N));
            WeightSource source = weight.source();
            source.float_activations = N == 70 || N == 9;  // another form than its neighbour's
            if (GetParam() == Precision::kCompact) {
                source.name = "w" + std::to_string(N);
                npu_->use_stats(with_moments({{source, &ordinary_}}));
            }
            weights_.back().push_back(npu_->pack(source).take());
        }
    }

    std::vector<std::vector<Floats>> nothing() const {
        std::vector<std::vector<Floats>> out;
        for (const auto& product : weights_) {
            out.emplace_back();
            for (const Weight& weight : product)
                out.back().emplace_back(kM * weight->plan.N, 1e30F);
        }
        return out;
    }

    std::vector<std::vector<Floats>> one_by_one() {
        auto out = nothing();
        for (size_t p = 0; p < weights_.size(); ++p) {
            for (size_t i = 0; i < weights_[p].size(); ++i)
                EXPECT_TRUE(npu_->multiply(*weights_[p][i], inputs_[p].a.data(), kM, out[p][i].data()).ok());
        }
        return out;
    }

    void add_groups(NpuFlow& flow) const {
        for (const auto& product : weights_) {
            std::vector<const PackedWeight*> weights;
            for (const Weight& weight : product)
                weights.push_back(weight.get());
            flow.add_group(weights);
        }
    }

    // In an order that `seed` draws.
    Status flow(std::vector<std::vector<Floats>>& out, uint32_t seed) {
        NpuFlow flow(npu_->resources());
        add_groups(flow);
        RKNPU2_RETURN_IF_ERROR(flow.begin(chunks_));
        std::mt19937 random(seed);
        std::vector<size_t> next(chunks_.size());  // product of each chunk; those in the lane are not waiting
        std::vector<char> waits(chunks_.size(), 1);
        size_t left = chunks_.size();
        while (left > 0) {
            const size_t c = random() % chunks_.size();
            if (waits[c] != 0 && next[c] < weights_.size() && flow.has_room()) {
                quantise(flow, next[c], c, chunks_[c]);
                RKNPU2_RETURN_IF_ERROR(flow.submit(next[c], c));
                waits[c] = 0;
            } else if (flow.is_waiting() && random() % 2 == 0) {
                const Result<size_t> done = flow.next_done(random() % 2 == 0);
                RKNPU2_RETURN_IF_ERROR(done.status());
                if (done.value() == SIZE_MAX) continue;
                take(flow, next[done.value()], done.value(), chunks_[done.value()], out);
                waits[done.value()] = 1;
                left -= ++next[done.value()] == weights_.size() ? 1 : 0;
            }
        }
        return {};
    }

    void quantise(NpuFlow& flow, size_t product, size_t c, const FlowChunk& chunk) {
        const Matrices& x = inputs_[product];
        flow.prepare(product, c);
        for (size_t m = 0; m < chunk.count; m += 8)
            flow.quantise(product, c, m, std::min<size_t>(8, chunk.count - m),
                          x.a.data() + (chunk.m0 + m) * x.K, x.K);
    }

    void take(NpuFlow& flow, size_t product, size_t c, const FlowChunk& chunk,
              std::vector<std::vector<Floats>>& out) {
        for (size_t m = 0; m < chunk.count; m += 12) {
            std::vector<FloatRows> targets;
            for (size_t i = 0; i < out[product].size(); ++i) {
                const size_t N = weights_[product][i]->plan.N;
                targets.push_back({out[product][i].data() + (chunk.m0 + m) * N, N});
            }
            flow.results(product, c, m, std::min<size_t>(12, chunk.count - m), targets);
        }
        flow.used(c);
    }

    FakeState state_;
    Counters counters_;
    std::shared_ptr<NpuDevice> npu_;
    std::vector<Matrices> inputs_;
    std::vector<float> ordinary_;  // the last one's, before some were made far
    std::vector<std::vector<Weight>> weights_;
    std::vector<std::string> lines_;
};

}  // namespace rknpu2::testing
