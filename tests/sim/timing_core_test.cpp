// SPDX-License-Identifier: MIT
// The time model from inside: work, timeline, what is remembered of memory, and the bounds of it all.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "timing/clock.hpp"
#include "timing/trace.hpp"

namespace rknnsim {
namespace {

Profile shipped_profile() {
    Profile profile;
    const Outcome outcome = load_profile("", &profile);
    EXPECT_TRUE(outcome.ok()) << outcome.text;
    return profile;
}

TEST(Work, BlocksComeInOrderAndAddUp) {
    const Profile profile = shipped_profile();
    for (const MatmulShape& shape : {MatmulShape{MatmulType::kI8I8I32, true, 150, 2080, 96},
                                     {MatmulType::kF16F16F32, true, 9, 20000, 48},
                                     {MatmulType::kI4I4I16, true, 300, 64, 128},
                                     {MatmulType::kI8I8I8, false, 1, 32, 32}}) {
        const Work work = work_of(shape, profile);
        uint64_t blocks = 0, macs = 0, read_a = 0, read_b = 0, read_c = 0, write_c = 0, rows = 0;
        uint64_t most = UINT64_MAX;
        work.for_each_block([&](const Block& block) {
            if (rows % shape.M == 0) most = UINT64_MAX;  // a new segment
            EXPECT_LE(block.rows, most);                 // the rest comes last
            most = block.rows;
            rows += block.rows;
            ++blocks;
            macs += block.macs;
            read_a += block.read_a;
            read_b += block.read_b;
            read_c += block.read_c;
            write_c += block.write_c;
        });
        EXPECT_EQ(blocks, work.blocks);
        EXPECT_EQ(macs, uint64_t{shape.M} * shape.K * shape.N);
        EXPECT_EQ(macs, work.macs);
        EXPECT_EQ(read_a, work.read_a);
        EXPECT_EQ(read_b, work.read_b);
        EXPECT_EQ(read_c, work.read_c);
        EXPECT_EQ(write_c, work.write_c);
        const uint64_t segments = (shape.K + 8191) / 8192;
        EXPECT_EQ(rows, segments * shape.M);
        const uint64_t bits = shape.type == MatmulType::kI4I4I16 ? 4 : is_float(shape.type) ? 16 : 8;
        EXPECT_EQ(read_a, uint64_t{shape.M} * shape.K * bits / 8);
    }
}

// Costs made by hand: a run of `alone` ns that slows down with the cores.
std::shared_ptr<const RunCost> cost(double alone, double two, double three) {
    auto made = std::make_shared<RunCost>();
    made->by_cores = {Duration{alone, 10, alone}, Duration{two, 10, two}, Duration{three, 10, three}};
    return made;
}

struct Log : Timeline::Listener {
    std::vector<RunTime> runs;
    void on_run_time(const RunTime& run) override { runs.push_back(run); }
    void on_cpu_time(const char*, int, uint64_t, uint64_t) override {}
};

class TimelineTest : public ::testing::Test {
  protected:
    TimelineTest() : timeline_(log_) {
        for (int i = 0; i < 4; ++i)
            threads_[i].number = i + 1;
    }
    uint64_t run(int thread, int mask, std::shared_ptr<const RunCost> what, uint64_t submit,
                 const Dependencies& after = {}) {
        return timeline_.add_run(threads_[thread], static_cast<uint64_t>(thread), mask, std::move(what),
                                 submit, 0, 0, after);
    }

    Log log_;
    Timeline timeline_;
    HostThread threads_[4];
};

TEST_F(TimelineTest, OverlappingRunsShareWhileTheyOverlap) {
    // Alone 100 to 200: half of the first; together at half speed.
    run(0, 1, cost(200, 400, 600), 100);
    run(1, 2, cost(200, 400, 600), 200);
    timeline_.resolve();
    ASSERT_EQ(log_.runs.size(), 2U);
    EXPECT_EQ(log_.runs[0].start_ns, 100U);
    EXPECT_EQ(log_.runs[0].stop_ns, 400U);  // 100 ns alone, the other half at half speed
    EXPECT_DOUBLE_EQ(log_.runs[0].share[0], 0.5);
    EXPECT_DOUBLE_EQ(log_.runs[0].share[1], 0.5);
    EXPECT_EQ(log_.runs[1].start_ns, 200U);
    EXPECT_EQ(log_.runs[1].stop_ns, 500U);  // half together until 400, half alone
}

TEST_F(TimelineTest, LaterRoundsSeeTheCoresOfEarlierOnesBusy) {
    run(0, 1, cost(200, 400, 600), 100);
    timeline_.resolve();  // 100 to 300, alone
    run(1, 2, cost(200, 400, 600), 200);
    timeline_.resolve();
    ASSERT_EQ(log_.runs.size(), 2U);
    EXPECT_EQ(log_.runs[0].stop_ns, 300U);
    EXPECT_EQ(log_.runs[1].stop_ns, 450U);  // a quarter until 300, three quarters alone
    // A run that comes before the busy time meets it on its way.
    run(2, 4, cost(100, 1000, 5000), 50);
    timeline_.resolve();
    EXPECT_EQ(log_.runs[2].start_ns, 50U);
    EXPECT_GT(log_.runs[2].stop_ns, 150U);
}

TEST_F(TimelineTest, ARunBesideAnEarlierRoundsRunIsNotCutShort) {
    for (const int late : {1, 2, 4}) {
        Log log;
        Timeline timeline(log);
        HostThread threads[2];
        const int early = late == 4 ? 1 : 2 * late;
        timeline.add_run(threads[0], 1, early, cost(200, 400, 600), 100, 0, 0, {});
        timeline.resolve();  // 100 to 300
        timeline.add_run(threads[1], 2, late, cost(200, 400, 600), 50, 0, 0, {});
        timeline.resolve();
        ASSERT_EQ(log.runs.size(), 2U);
        EXPECT_EQ(log.runs[1].start_ns, 50U);
        EXPECT_EQ(log.runs[1].stop_ns, 350U) << "on core mask " << late;  // 50 alone, 200 together, 50 alone
        EXPECT_DOUBLE_EQ(log.runs[1].share[0] + log.runs[1].share[1], 1);
    }
}

TEST_F(TimelineTest, CoresAreGivenInTheOrderOfRequests) {
    run(0, 1, cost(100, 100, 100), 30);
    run(1, 1, cost(100, 100, 100), 20);
    run(2, 1, cost(100, 100, 100), 10);
    run(3, 0, cost(100, 100, 100), 40);  // any core: the first idle one
    timeline_.resolve();
    ASSERT_EQ(log_.runs.size(), 4U);
    EXPECT_EQ(log_.runs[0].thread, 3);
    EXPECT_EQ(log_.runs[0].start_ns, 10U);
    EXPECT_EQ(log_.runs[1].thread, 4);
    EXPECT_EQ(log_.runs[1].core, 1);
    EXPECT_EQ(log_.runs[2].thread, 2);
    EXPECT_EQ(log_.runs[2].start_ns, 110U);
    EXPECT_EQ(log_.runs[3].thread, 1);
    EXPECT_EQ(log_.runs[3].start_ns, 210U);
}

TEST_F(TimelineTest, ADelayHoldsTheCore) {
    timeline_.add_run(threads_[0], 1, 1, cost(100, 200, 300), 0, 0, 1000, {});
    run(1, 1, cost(100, 200, 300), 10);
    timeline_.resolve();
    ASSERT_EQ(log_.runs.size(), 2U);
    EXPECT_EQ(log_.runs[0].stop_ns, 1100U);
    EXPECT_EQ(log_.runs[1].start_ns, 1100U);
    EXPECT_EQ(log_.runs[1].stop_ns, 1200U);
}

TEST_F(TimelineTest, DependenciesHoldWithinAndAcrossRounds) {
    Dependencies after;
    after.add(run(0, 1, cost(100, 100, 100), 0));
    run(1, 2, cost(100, 100, 100), 5, after);
    timeline_.resolve();
    EXPECT_EQ(log_.runs[1].call_ns, 100U);
    EXPECT_EQ(log_.runs[1].start_ns, 105U);
    run(2, 4, cost(100, 100, 100), 5, after);
    timeline_.resolve();
    EXPECT_EQ(log_.runs[2].call_ns, 100U);
}

TEST_F(TimelineTest, AnOperationMayWaitForMoreOthersThanThereIsRoomFor) {
    Dependencies after;
    for (int i = 0; i < 40; ++i)
        after.add(timeline_.add_cpu(threads_[i % 3], "x", static_cast<uint64_t>(10 * i), {}));
    timeline_.add_cpu(threads_[3], "y", 1, after);
    timeline_.resolve();
    uint64_t latest = 0;
    for (int i = 0; i < 3; ++i)
        latest = std::max(latest, threads_[i].now);
    EXPECT_EQ(threads_[3].now, latest + 1);
}

class ClockTest : public ::testing::Test {
  protected:
    ClockTest() : pool_(uint64_t{1} << 32), clock_(shipped_profile(), {}) {
        problem_.b_layout = Layout::kNative;
        problem_.ac_native = true;
        problem_.K = 64;
        problem_.N = 96;
        for (auto& memory : memories_)
            memory = make();
    }
    std::shared_ptr<Memory> make() {
        auto memory = std::make_shared<Memory>();
        EXPECT_TRUE(pool_.allocate(0, 65536, true, &memory->allocation).ok());
        memory->size = 65536;
        return memory;
    }
    void run(uint64_t context, size_t M = 2) {
        clock_.on_run({.context = context,
                       .problem = problem_,
                       .M = M,
                       .core_mask = 1,
                       .operands = memories_,
                       .computed = true,
                       .delay_ns = 0});
    }
    // What the profile says of a sync of 64 KiB.
    static uint64_t sync_ns() {
        const Profile profile = shipped_profile();
        return static_cast<uint64_t>(std::llround(profile.sync_us * 1e3 + 65536 / profile.sync_gbps));
    }
    void sync(bool to_device) {
        clock_.on_sync({.memory = *memories_[2], .to_device = to_device, .from_device = !to_device});
    }

    MemoryPool pool_;
    VirtualClock clock_;
    Problem problem_;
    std::array<std::shared_ptr<Memory>, 3> memories_;
};

// Far more operations than the timeline remembers lie between the run and the one who waits for it.
TEST_F(ClockTest, WaitingForSomethingLongAgo) {
    run(1);
    const uint64_t end = clock_.last_run().end_ns;
    for (int i = 0; i < 40000; ++i)
        clock_.advance(1);
    std::thread([&] {
        sync(false);
        EXPECT_EQ(clock_.now(), end + sync_ns());
    }).join();
}

// Rows of different M cut the ranges of A and C in parts.
TEST_F(ClockTest, RangesInParts) {
    run(1, 2);
    run(1, 40);
    run(1, 7);
    const uint64_t end = clock_.last_run().end_ns;
    std::thread([&] {
        run(2, 20);
        EXPECT_EQ(clock_.last_run().call_ns, end);
    }).join();
}

TEST_F(ClockTest, ANewBufferAtAnOldAddressIsNew) {
    run(1);
    for (int i = 0; i < 20; ++i) {
        memories_[2] = make();
        std::thread([&] {
            sync(true);
            EXPECT_EQ(clock_.now(), sync_ns());
        }).join();
    }
}

TEST_F(ClockTest, ThreadsWithoutEnd) {
    for (int i = 0; i < 1500; ++i) {
        std::thread([&] {
            clock_.advance(7);
            EXPECT_GE(clock_.now(), 7U);
        }).join();
    }
    EXPECT_LE(clock_.totals().elapsed_ns, 7U * 1500);
}

TEST_F(ClockTest, AFullTraceCountsWhatItLeavesOut) {
    Trace trace(50);
    VirtualClock clock(shipped_profile(), {&trace});
    for (int i = 0; i < 100; ++i) {
        clock.on_run({.context = 1,
                      .problem = problem_,
                      .M = 2,
                      .core_mask = 1,
                      .operands = memories_,
                      .computed = true,
                      .delay_ns = 0});
    }
    clock.settled([&] {
        char* text = nullptr;
        size_t size = 0;
        FILE* file = open_memstream(&text, &size);
        EXPECT_TRUE(trace.write(file));
        std::fclose(file);
        const nlohmann::json json = nlohmann::json::parse(text, text + size, nullptr, false);
        std::free(text);
        ASSERT_FALSE(json.is_discarded());
        const size_t slices = static_cast<size_t>(
            std::count_if(json["traceEvents"].begin(), json["traceEvents"].end(),
                          [](const nlohmann::json& event) { return event["ph"] == "X"; }));
        EXPECT_GT(slices, 20U);
        EXPECT_LE(slices, 50U);
        EXPECT_GT(trace.dropped(), 100U);
        EXPECT_EQ(json["otherData"]["dropped"], trace.dropped());
    });
}

}  // namespace
}  // namespace rknnsim
