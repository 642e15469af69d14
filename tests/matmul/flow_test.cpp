// A flow's chunks, in whatever order, have the bits of multiplications that are computed one by one; also
// when runs fail on the way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cmath>
#include <new>
#include <random>
#include <stdexcept>
#include <thread>

#include "base/device_lock.hpp"
#include "base/log.hpp"
#include "matmul/fake_device.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_flow.hpp"
#include "support/failing_threads.hpp"

namespace rknpu2 {
namespace {

using testing::FakeState;
using ::testing::HasSubstr;
using testing::Matrices;
using Weight = std::shared_ptr<PackedWeight>;
using Floats = std::vector<float>;

// Products, each with activations of its own; every chunk goes through one after the other.
class FlowTest : public ::testing::TestWithParam<Precision> {
  protected:
    static constexpr size_t kM = 45;
    const std::vector<NpuFlow::Chunk> chunks_ = {{0, 16}, {16, 1}, {17, 28}};

    void SetUp() override {
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override { set_log_sink({}); }

    void open(int cores, std::vector<OnError> on_error = {}) {
        state_.spoils_results = true;
        npu_ = testing::new_device(state_, statistics_, GetParam(), cores, std::move(on_error));
        add_product({200, 70}, 96);
        add_product({9, 5}, 4500);  // several segments
        add_product({4200}, 32);    // several strips on one core
    }

    void add_product(const std::vector<size_t>& sizes, size_t K) {
        inputs_.emplace_back(kM, 1, K, static_cast<uint32_t>(K));
        for (size_t k = 0; k < K; ++k) {  // rows whose scales are far
            inputs_.back().a[3 * K + k] *= 1e34F;
            inputs_.back().a[20 * K + k] *= 1e-38F;
        }
        weights_.emplace_back();
        for (const size_t N : sizes) {
            const Matrices weight(1, N, K, static_cast<uint32_t>(N));
            WeightSource source = weight.source();
            source.float_activations = N == 70 || N == 9;  // another form than its neighbour's
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

    void add_products(NpuFlow& flow) const {
        for (const auto& product : weights_) {
            std::vector<const PackedWeight*> weights;
            for (const Weight& weight : product)
                weights.push_back(weight.get());
            flow.add_product(weights);
        }
    }

    // In an order that `seed` draws.
    Status flow(std::vector<std::vector<Floats>>& out, uint32_t seed) {
        NpuFlow flow(*npu_);
        add_products(flow);
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

    void quantise(NpuFlow& flow, size_t product, size_t c, const NpuFlow::Chunk& chunk) {
        const Matrices& x = inputs_[product];
        flow.prepare(product, c);
        for (size_t m = 0; m < chunk.count; m += 8)
            flow.quantise(product, c, m, std::min<size_t>(8, chunk.count - m),
                          x.a.data() + (chunk.m0 + m) * x.K, x.K);
    }

    void take(NpuFlow& flow, size_t product, size_t c, const NpuFlow::Chunk& chunk,
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
    Statistics statistics_;
    std::shared_ptr<NpuDevice> npu_;
    std::vector<Matrices> inputs_;
    std::vector<std::vector<Weight>> weights_;
    std::vector<std::string> lines_;
};

TEST_P(FlowTest, TheBitsOfOneByOneInAnyOrderOnAnyCores) {
    for (const int cores : {1, 3}) {
        inputs_.clear();
        weights_.clear();
        open(cores);
        const auto expected = one_by_one();
        for (uint32_t seed = 1; seed <= 2; ++seed) {
            auto out = nothing();
            const Status status = flow(out, seed);
            ASSERT_TRUE(status.ok()) << status.to_string();
            EXPECT_EQ(out, expected) << cores << " cores, seed " << seed;
        }
        EXPECT_EQ(one_by_one(), expected);  // and afterwards the device is as it was
    }
}

// A vendor's library may not take contexts and imports from threads that run.
TEST_P(FlowTest, ImportsNothingOnTheThreadsOfTheLane) {
    open(3, {OnError::kRetry, OnError::kReset});
    const std::thread::id here = std::this_thread::get_id();
    std::atomic<int> imports{0};
    std::atomic<int> elsewhere{0};
    state_.before_import = [&] {
        ++imports;
        if (std::this_thread::get_id() != here) ++elsewhere;
    };
    state_.runs_until_failure = 5;  // contexts are made anew, too
    auto out = nothing();
    ASSERT_TRUE(flow(out, 1).ok());
    EXPECT_GT(imports, 0);
    EXPECT_EQ(elsewhere, 0);
}

TEST_P(FlowTest, ChunksWhoseRunsFailAreSubmittedAgain) {
    open(3, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    for (const int first : {0, 3, 10}) {
        const uint64_t failed = statistics_.faults.failed;
        state_.failing_runs = 1;
        state_.runs_until_failure = first;
        auto out = nothing();
        const Status status = flow(out, static_cast<uint32_t>(first));
        ASSERT_TRUE(status.ok()) << status.to_string();
        EXPECT_EQ(out, expected) << "run " << first;
        EXPECT_EQ(statistics_.faults.failed - failed, 1U);
    }
    EXPECT_EQ(statistics_.faults.retried, 3U);
    ASSERT_EQ(lines_.size(), 3U);
    EXPECT_THAT(lines_[0], HasSubstr("the fake does not answer"));
    EXPECT_THAT(lines_[0], HasSubstr("trying again in new contexts"));
}

TEST_P(FlowTest, EverythingIsDroppedWhenThatDoesNotHelp) {
    open(1, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    state_.failing_runs = 2;
    state_.runs_until_failure = 1;
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    EXPECT_EQ(statistics_.faults.reset + statistics_.faults.retried, statistics_.faults.failed);
}

TEST_P(FlowTest, WithoutAStepLeftTheFlowFailsAndTheDeviceStaysUsable) {
    open(3);
    const auto expected = one_by_one();
    state_.runs_until_failure = 2;
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.to_string(), HasSubstr("on core"));
    state_.runs_until_failure = -1;
    out = nothing();
    ASSERT_TRUE(flow(out, 2).ok());
    EXPECT_EQ(out, expected);
}

// Contexts that cannot be made once: at the beginning, and anew after a run has failed.
TEST_P(FlowTest, ContextsThatCannotBeMadeAreTriedAgain) {
    state_.context_failure = StatusCode::kDeviceError;
    open(3, {OnError::kRetry, OnError::kReset});
    const auto expected = one_by_one();
    for (const int nth : {0, 3}) {
        weights_.clear();
        inputs_.clear();
        open(3, {OnError::kRetry, OnError::kReset});
        const uint64_t failed = statistics_.faults.failed;
        state_.contexts_until_failure = nth;
        auto out = nothing();
        const Status status = flow(out, 1);
        ASSERT_TRUE(status.ok()) << status.to_string();
        EXPECT_EQ(out, expected) << "context " << nth;
        EXPECT_EQ(statistics_.faults.failed - failed, 1U);
    }
    const uint64_t failed = statistics_.faults.failed;
    std::atomic<bool> once{true};
    state_.before_run = [&] {
        if (once.exchange(false)) {
            state_.runs_until_failure = 0;
            state_.contexts_until_failure = 0;
        }
    };
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    EXPECT_EQ(statistics_.faults.failed - failed, 2U);
    EXPECT_EQ(statistics_.faults.given_up, 0U);
}

TEST_P(FlowTest, ContextsThatCannotBeMadeWithoutAStepLeft) {
    state_.context_failure = StatusCode::kDeviceError;
    open(3, {OnError::kFail});
    state_.contexts_until_failure = 0;
    auto out = nothing();
    EXPECT_EQ(flow(out, 1).code(), StatusCode::kDeviceError);
    EXPECT_EQ(statistics_.faults.failed, 1U);
    EXPECT_EQ(statistics_.faults.given_up, 1U);
    ASSERT_TRUE(flow(out, 1).ok());
}

// What throws in a run, on a thread of the lane or of the team, is a failure like others: want of memory may
// pass, what nobody expects is not tried again.
TEST_P(FlowTest, ARunThatThrowsIsAFailedRun) {
    open(3, {OnError::kRetry});
    const auto expected = one_by_one();
    std::atomic<int> runs{0};
    std::atomic<bool> memory{true};
    state_.before_run = [&] {
        if (runs++ != 4) return;
        if (memory) throw std::bad_alloc();
        throw std::runtime_error("it broke");
    };
    auto out = nothing();
    const Status status = flow(out, 1);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(out, expected);
    runs = 0;
    EXPECT_EQ(one_by_one(), expected);
    ASSERT_EQ(lines_.size(), 2U);
    for (const std::string& line : lines_) {
        EXPECT_THAT(line, HasSubstr("host memory"));
        EXPECT_THAT(line, HasSubstr("trying again in new contexts"));
    }
    memory = false;
    runs = 0;
    const Status broken = flow(out, 1);
    EXPECT_EQ(broken.code(), StatusCode::kInternal);
    EXPECT_THAT(broken.message(), HasSubstr("it broke"));
    runs = 4;
    const Status alone = npu_->multiply(*weights_[0][0], inputs_[0].a.data(), kM, out[0][0].data());
    EXPECT_EQ(alone.code(), StatusCode::kInternal);
    EXPECT_THAT(alone.message(), HasSubstr("it broke"));
    EXPECT_EQ(one_by_one(), expected);
}

// The n-th thread cannot be had, or that and all later ones: of the team, of the lane.
TEST_P(FlowTest, TheBitsAreTheSameWithFewerThreads) {
    open(3);
    const auto expected = one_by_one();
    const int team = team_size(npu_->config(), true) - 1;
    for (const int count : {1, INT_MAX}) {
        for (int first = 1; first <= team + 4; ++first) {
            if (count > 1 && first != 1 && first != team + 2) continue;  // none at all, one of the lane
            inputs_.clear();
            weights_.clear();
            fail_threads(first, count);
            open(3);
            EXPECT_EQ(one_by_one(), expected) << "thread " << first;
            auto out = nothing();
            const Status status = flow(out, static_cast<uint32_t>(first));
            ASSERT_TRUE(status.ok()) << status.to_string();
            EXPECT_EQ(out, expected) << "thread " << first;
            EXPECT_EQ(failed_threads() > 0, first < team + 4) << first;
            fail_threads(0, 0);
        }
    }
}

// Another process gets the NPU between chunks, and never while one of ours runs.
TEST_P(FlowTest, NobodyElseHasTheNpuWhileAChunkRuns) {
    open(1);
    const std::string path = ::testing::TempDir() + "flow-" + std::to_string(getpid()) + ".lock";
    npu_->use_lock(DeviceLock::open(path, statistics_.device_lock).take());
    std::atomic<bool> may_run{false};
    state_.before_run = [&] {
        while (!may_run)
            std::this_thread::yield();
    };
    LockCounters counters;
    const auto other = DeviceLock::open(path, counters).take();
    std::atomic<bool> stop{false};
    std::atomic<int> turns{0};
    std::atomic<int> overlaps{0};
    std::thread others([&] {
        while (!stop && other->acquire().ok()) {
            overlaps += state_.running;
            ++turns;
            other->release();
        }
    });
    {
        NpuFlow flow(*npu_, std::chrono::milliseconds(0));
        add_products(flow);
        ASSERT_TRUE(flow.begin(chunks_).ok());
        const auto submit = [&](size_t c) {
            quantise(flow, 0, c, chunks_[c]);
            EXPECT_TRUE(flow.submit(0, c).ok());
        };
        submit(0);
        while (state_.running == 0)
            std::this_thread::yield();
        EXPECT_FALSE(flow.has_room());
        submit(1);  // as if the turn had not been over when it was asked for room
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        may_run = true;
        for (int c = 0; c < 2; ++c)
            flow.used(flow.next_done(true).value());
        EXPECT_TRUE(flow.has_room());
        submit(2);
        flow.used(flow.next_done(true).value());
    }
    while (turns == 0)
        std::this_thread::yield();
    stop = true;
    others.join();
    EXPECT_EQ(overlaps, 0);
    unlink(path.c_str());
    unlink((path + ".queue").c_str());
}

// Weights have taken all there is. Then some go.
TEST_P(FlowTest, WithoutMemoryItDoesNotBegin) {
    open(3, {OnError::kFail});
    state_.domain_bytes = 0;
    std::vector<Weight> filling;
    for (const size_t N : {size_t{1024}, size_t{64}, size_t{1}}) {
        auto packed = npu_->pack(Matrices(1, N, 1024, 1).source());
        for (; packed.ok(); packed = npu_->pack(Matrices(1, N, 1024, 1).source()))
            filling.push_back(packed.take());
    }
    EXPECT_GT(filling.size(), 2U);
    auto out = nothing();
    EXPECT_EQ(flow(out, 1).code(), StatusCode::kOutOfMemory);
    filling.clear();
    state_.domain_bytes = SIZE_MAX;  // what is left of slabs is no place for work areas
    const auto expected = one_by_one();
    out = nothing();
    ASSERT_TRUE(flow(out, 1).ok());
    EXPECT_EQ(out, expected);
}

INSTANTIATE_TEST_SUITE_P(Precisions, FlowTest,
                         ::testing::Values(Precision::kFast, Precision::kBalanced, Precision::kExact));

TEST(Flow, IsNotForEverySetting) {
    Config config;
    EXPECT_TRUE(NpuFlow::possible(config));
    config.on_error = {OnError::kRetry, OnError::kCpu};
    EXPECT_FALSE(NpuFlow::possible(config));
    config.on_error = {};
    config.precision = Precision::kNaive;
    EXPECT_FALSE(NpuFlow::possible(config));
}

}  // namespace
}  // namespace rknpu2
