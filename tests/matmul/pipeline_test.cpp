// SPDX-License-Identifier: MIT
#include "matmul/pipeline.hpp"
#include "plan/weight_plan.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <new>
#include <random>
#include <thread>

namespace rknpu2 {
namespace {

// Looks over the pipeline's shoulder: every task checks that what it needs is there.
class Watcher final : public Pipeline::Work {
  public:
    Watcher(const Pipeline::Shape& shape, uint32_t seed) : shape_(shape), seed_(seed) {
        quantised_ = std::vector<std::atomic<size_t>>(shape.chunk_parts.size());
        runs_ = std::vector<std::atomic<size_t>>(shape.rounds.size());
        dequantised_ = std::vector<std::atomic<size_t>>(shape.rounds.size());
        synced_ = std::vector<std::atomic<int>>(shape.chunk_parts.size() * shape.segments);
    }

    void quantise(size_t chunk, size_t part) override {
        EXPECT_LT(part, shape_.chunk_parts[chunk]);
        dawdle(5 * chunk + part);
        ++quantised_[chunk];
    }

    Status sync(size_t round, size_t run) override {
        expect_ready(round);
        dawdle(round + run_of(round, run).core);
        EXPECT_EQ(synced_[cube(round, run)].fetch_add(1), 0) << "told twice";
        return {};
    }

    Status run(size_t round, size_t run) override {
        const size_t core = run_of(round, run).core;
        expect_ready(round);
        EXPECT_EQ(synced_[cube(round, run)], 1) << "the device does not know the cube";
        EXPECT_FALSE(busy_[core].exchange(true)) << "two runs on one core";
        // The slot's former results are used up.
        if (round >= kResultSlots) {
            EXPECT_EQ(dequantised_[round - kResultSlots], shape_.rounds[round - kResultSlots].parts);
        }
        dawdle(7 * round + core);
        busy_[core] = false;
        ++runs_[round];
        if (total_runs_.fetch_add(1) != fails_at) return {};
        failed_round_ = round;
        return {StatusCode::kTimeout, "as asked"};
    }

    void dequantise(size_t round, size_t part) override {
        EXPECT_LT(part, shape_.rounds[round].parts);
        EXPECT_NE(round, failed_round_);
        EXPECT_EQ(runs_[round], shape_.rounds[round].strip->runs.size());
        dawdle(13 * round + part);
        ++dequantised_[round];
    }

    void expect_all_done() const {
        for (size_t round = 0; round < shape_.rounds.size(); ++round)
            EXPECT_EQ(dequantised_[round], shape_.rounds[round].parts);
    }

    size_t fails_at = SIZE_MAX;
    size_t throws_at = SIZE_MAX;  // this task of any kind
    bool has_thrown() const { return tasks_ > throws_at; }
    size_t total_runs() const { return total_runs_; }

  private:
    const Run& run_of(size_t round, size_t run) const { return shape_.rounds[round].strip->runs[run]; }
    size_t cube(size_t round, size_t run) const {
        return shape_.rounds[round].chunk * shape_.segments + run_of(round, run).segment;
    }
    void expect_ready(size_t round) const {
        const size_t chunk = shape_.rounds[round].chunk;
        if (shape_.quantised) return;
        EXPECT_EQ(quantised_[chunk], shape_.chunk_parts[chunk]);
    }
    void dawdle(size_t what) {
        if (tasks_.fetch_add(1) == throws_at) throw std::bad_alloc();
        std::minstd_rand random(static_cast<uint32_t>(seed_ * 7919 + what));
        if (random() % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    }

    const Pipeline::Shape& shape_;
    uint32_t seed_;
    std::vector<std::atomic<size_t>> quantised_;
    std::vector<std::atomic<size_t>> runs_;
    std::vector<std::atomic<size_t>> dequantised_;
    std::vector<std::atomic<int>> synced_;
    std::array<std::atomic<bool>, rk3588::kCores> busy_{};
    std::atomic<size_t> tasks_{0};
    std::atomic<size_t> total_runs_{0};
    std::atomic<size_t> failed_round_{SIZE_MAX};
};

// `segments`: of the runs of each core.
RunStrip strip_of(const std::array<std::vector<size_t>, rk3588::kCores>& segments) {
    RunStrip strip;
    for (size_t core = 0; core < segments.size(); ++core) {
        for (const size_t segment : segments[core])
            strip.runs.push_back({core, segment, 0, {}, 0});
        strip.first_run[core + 1] = strip.runs.size();
    }
    return strip;
}

struct Work {
    Pipeline::Shape shape;
    std::vector<RunStrip> strips;
};

Work random_work(std::minstd_rand& random) {
    Work work;
    Pipeline::Shape& shape = work.shape;
    shape.segments = 1 + random() % 3;
    const size_t chunks = 1 + random() % 5;
    for (size_t c = 0; c < chunks; ++c)
        shape.chunk_parts.push_back(1 + random() % 6);
    work.strips.resize(1 + random() % 3);
    for (RunStrip& strip : work.strips) {
        std::array<std::vector<size_t>, rk3588::kCores> segments;
        segments[random() % 3].push_back(random() % shape.segments);  // at least one
        for (auto& of_core : segments) {
            for (size_t runs = random() % 3; runs > 0; --runs)
                of_core.push_back(random() % shape.segments);
        }
        strip = strip_of(segments);
        for (size_t c = 0; c < chunks; ++c)
            shape.rounds.push_back({c, &strip, 1 + random() % 4});
    }
    shape.quantised = random() % 4 == 0;
    return work;
}

void work_together(Pipeline& pipeline, Watcher& watcher, size_t threads) {
    std::vector<std::thread> team;
    for (size_t t = 1; t < threads; ++t)
        team.emplace_back([&] { pipeline.work(watcher); });
    pipeline.work(watcher);
    for (std::thread& thread : team)
        thread.join();
}

// How many threads may be awake without a task.
class PipelineTest : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Waiting, PipelineTest, ::testing::Values(0, 2, 16), [](const auto& test) {
    return test.param == 0 ? "Sleeping" : test.param == 2 ? "SpinningTwo" : "Spinning";
});

// On a board seven threads share four cores while three of them block in runs: a thread that looks for a task
// must not stand in the way of those that compute.
TEST_P(PipelineTest, NoMoreThreadsLookForTasksThanThereAreCores) {
    constexpr size_t kThreads = 7;
    Pipeline pipeline(GetParam());
    uint64_t spins = 0;
    uint64_t sleeps = 0;
    for (uint32_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::minstd_rand random(seed);
        const Work work = random_work(random);
        const Pipeline::Shape& shape = work.shape;
        CubeSync synced(shape.chunk_parts.size() * shape.segments);
        Watcher watcher(shape, seed);
        pipeline.begin(shape, synced);
        work_together(pipeline, watcher, kThreads);
        ASSERT_TRUE(pipeline.status().ok());
        EXPECT_LE(pipeline.waits().most_awake, static_cast<size_t>(GetParam()));
        spins += pipeline.waits().spins;
        sleeps += pipeline.waits().sleeps;
    }
    EXPECT_EQ(spins > 0, GetParam() > 0);
    if (GetParam() <= 2) {
        EXPECT_GT(sleeps, 0U);
    }
}

TEST_P(PipelineTest, EveryTaskFindsWhatItNeeds) {
    Pipeline pipeline(GetParam());
    for (uint32_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::minstd_rand random(seed);
        const Work work = random_work(random);
        const Pipeline::Shape& shape = work.shape;
        CubeSync synced(shape.chunk_parts.size() * shape.segments);
        Watcher watcher(shape, seed);
        pipeline.begin(shape, synced);
        work_together(pipeline, watcher, 1 + seed % 6);
        ASSERT_TRUE(pipeline.status().ok());
        watcher.expect_all_done();
    }
}

TEST_P(PipelineTest, AFailureEndsItAndTheNextCallWorks) {
    Pipeline pipeline(GetParam());
    for (uint32_t seed = 1; seed <= 30; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::minstd_rand random(seed);
        const Work work = random_work(random);
        const Pipeline::Shape& shape = work.shape;
        CubeSync synced(shape.chunk_parts.size() * shape.segments);
        Watcher failing(shape, seed);
        failing.fails_at = 0;
        pipeline.begin(shape, synced);
        work_together(pipeline, failing, 1 + seed % 6);
        EXPECT_EQ(pipeline.status().code(), StatusCode::kTimeout);
        if (seed % 6 == 0) {
            EXPECT_EQ(failing.total_runs(), 1U) << "a lone thread ran on after the failure";
        }
        synced.reset(shape.chunk_parts.size() * shape.segments);
        Watcher watcher(shape, seed);
        pipeline.begin(shape, synced);
        work_together(pipeline, watcher, 1 + seed % 6);
        EXPECT_TRUE(pipeline.status().ok());
        watcher.expect_all_done();
    }
}

// Whatever kind of task it is, and whoever waits for it.
TEST_P(PipelineTest, ATaskThatThrowsEndsItAndTheNextCallWorks) {
    Pipeline pipeline(GetParam());
    for (uint32_t seed = 1; seed <= 60; ++seed) {
        SCOPED_TRACE(::testing::Message() << "seed " << seed);
        std::minstd_rand random(seed);
        const Work work = random_work(random);
        const Pipeline::Shape& shape = work.shape;
        CubeSync synced(shape.chunk_parts.size() * shape.segments);
        Watcher failing(shape, seed);
        failing.throws_at = random() % 12;
        pipeline.begin(shape, synced);
        work_together(pipeline, failing, 1 + seed % 6);
        EXPECT_EQ(pipeline.status().code(),
                  failing.has_thrown() ? StatusCode::kOutOfMemory : StatusCode::kOk);
        synced.reset(shape.chunk_parts.size() * shape.segments);
        Watcher watcher(shape, seed);
        pipeline.begin(shape, synced);
        work_together(pipeline, watcher, 1 + seed % 6);
        EXPECT_TRUE(pipeline.status().ok());
        watcher.expect_all_done();
    }
}

// A run ends only when the next chunk is quantised, and that chunk is quantised only once the run has begun:
// without overlap each would wait for the other.
class Waiting final : public Pipeline::Work {
  public:
    static constexpr size_t kChunks = 4;

    void quantise(size_t chunk, size_t) override {
        if (!wait_until([&] { return begun_ >= chunk; })) ++gave_up_;
        const std::lock_guard lock(mutex_);
        ++quantised_;
        changed_.notify_all();
    }
    Status sync(size_t, size_t) override { return {}; }
    Status run(size_t round, size_t) override {
        {
            const std::lock_guard lock(mutex_);
            ++begun_;
            changed_.notify_all();
        }
        if (wait_until([&] { return quantised_ >= std::min(round + 2, kChunks); })) return {};
        return {StatusCode::kTimeout, "nothing was quantised meanwhile"};
    }
    void dequantise(size_t, size_t) override {}

    size_t gave_up() const { return gave_up_; }

  private:
    template <typename Condition>
    bool wait_until(const Condition& condition) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(20), condition);
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    size_t quantised_ = 0;
    size_t begun_ = 0;
    std::atomic<size_t> gave_up_{0};
};

TEST_P(PipelineTest, QuantisesWhileTheNpuRuns) {
    Pipeline::Shape shape;
    shape.chunk_parts.assign(Waiting::kChunks, 1);
    const RunStrip strip = strip_of({{{}, {0}, {}}});
    for (size_t chunk = 0; chunk < Waiting::kChunks; ++chunk)
        shape.rounds.push_back({chunk, &strip, 1});
    CubeSync synced(Waiting::kChunks);
    Pipeline pipeline(GetParam());
    Waiting work;
    pipeline.begin(shape, synced);
    std::thread other([&] { pipeline.work(work); });
    pipeline.work(work);
    other.join();
    EXPECT_TRUE(pipeline.status().ok()) << pipeline.status().to_string();
    EXPECT_EQ(pipeline.cpu_tasks(), 8U);
    EXPECT_EQ(work.gave_up(), 0U) << "chunks that waited in vain for the run before them";
    EXPECT_LE(pipeline.overlapped_tasks(), 8U);
}

}  // namespace
}  // namespace rknpu2
