// SPDX-License-Identifier: MIT
// The event model alone: who waits for whom, who shares the memory, and that nothing gets lost.
#include "predict/timeline.hpp"

#include <gtest/gtest.h>

#include <random>

namespace rknpu2 {
namespace {

constexpr Machine kMachine{.dram_gbps = 30, .cpu_threads = 4};

Operation cpu(double compute_ns, double bytes, std::vector<size_t> after = {}) {
    return {.phase = "cpu",
            .parts = {{.compute_ns = compute_ns, .bytes = bytes, .gbps = 20}},
            .after = std::move(after)};
}

Operation npu(double fixed_ns, double compute_ns, double bytes, std::vector<size_t> after = {},
              size_t core = 0) {
    return {.phase = "npu",
            .server = core,
            .fixed_ns = fixed_ns,
            .parts = {{.compute_ns = compute_ns, .bytes = bytes, .gbps = 20}},
            .after = std::move(after)};
}

// Time of the only part, without the fixed time.
double alone_ns(const Operation& operation) {
    const Part& part = operation.parts.front();
    return std::max(part.compute_ns, part.bytes / part.gbps.with[0]);
}

TEST(Timeline, AChainAddsUp) {
    const std::vector<Operation> chain = {cpu(0, 2000), npu(41, 500, 4000, {0}), cpu(300, 1000, {1})};
    const Schedule schedule = make_schedule(chain, kMachine);
    EXPECT_DOUBLE_EQ(schedule.elapsed_ns, 100 + 41 + 500 + 300);
    EXPECT_EQ(critical_path(schedule), (std::vector<size_t>{0, 1, 2}));
    const Utilisation u = utilisation(chain, schedule, kMachine, 0, schedule.elapsed_ns);
    EXPECT_NEAR(u.cpu, 400 / 941.0, 1e-12);
    EXPECT_NEAR(u.npu, 541 / 941.0 / 3, 1e-12);
    EXPECT_NEAR(u.npu_launch, 41 / 941.0 / 3, 1e-12);
    EXPECT_NEAR(u.npu_core[0], 500 / 941.0, 1e-12);
    EXPECT_EQ(u.npu_core[1], 0);
    EXPECT_NEAR(u.dram, 7000 / (941 * 30.0), 1e-9);
}

TEST(Timeline, ServersOverlapAndShareTheMemory) {
    // Alone each needs 100 ns at 20 GB/s; together they ask for 40 of 30 GB/s.
    EXPECT_NEAR(make_schedule({cpu(0, 2000), npu(0, 0, 2000)}, kMachine).elapsed_ns, 4000 / 30.0, 1e-3);
    // What computes longer than it moves data is not held up.
    EXPECT_NEAR(make_schedule({cpu(400, 2000), npu(0, 0, 2000)}, kMachine).elapsed_ns, 400, 1e-3);
}

TEST(Timeline, TheCpuIsSlowerBesideTheNpu) {
    Machine machine = kMachine;
    machine.beside_npu = 0.8;
    // 10 of 20 GB/s of each fit into the memory; 80 of the CPU's 100 ns of work are done when the NPU ends.
    const std::vector<Operation> both = {cpu(0, 1000), npu(0, 100, 1000)};
    EXPECT_NEAR(make_schedule(both, kMachine).elapsed_ns, 100, 1e-6);
    EXPECT_NEAR(make_schedule({cpu(0, 2000), npu(0, 100, 1000)}, machine).elapsed_ns, 120, 1e-3);
    // Arithmetic is not slowed down, nor anything during a run call.
    EXPECT_NEAR(make_schedule({cpu(100, 0), npu(0, 100, 1000)}, machine).elapsed_ns, 100, 1e-6);
}

TEST(Timeline, SubmittingThreadsAreMissingFromTheTeam) {
    // For 40 ns one thread of four is left: 10 ns of work; then 90 more.
    const std::vector<Operation> three = {cpu(100, 0), npu(40, 10, 0), npu(40, 10, 0, {}, 1),
                                          npu(40, 10, 0, {}, 2)};
    EXPECT_NEAR(make_schedule(three, kMachine).elapsed_ns, 130, 1e-6);
    EXPECT_NEAR(make_schedule({cpu(100, 0), npu(40, 10, 0)}, kMachine).elapsed_ns, 110, 1e-6);
}

TEST(Timeline, CoresWorkByThemselvesAndShareTheBandwidth) {
    std::vector<Operation> two = {npu(0, 0, 1000), npu(0, 0, 3000, {}, 1)};
    for (Operation& operation : two)
        operation.parts.front().gbps.with = {10, 8, 6};
    // 1000 bytes each at 8 a nanosecond, and 2000 at 10.
    const Schedule schedule = make_schedule(two, kMachine);
    EXPECT_NEAR(schedule.spans[0].end_ns, 125, 1e-6);
    EXPECT_NEAR(schedule.elapsed_ns, 325, 1e-6);
}

// Jobs of one operation on core 0, and what takes their results.
std::vector<Operation> jobs(int64_t count, double results_ns) {
    std::vector<Operation> operations;
    for (int64_t job = 0; job < count; ++job) {
        operations.push_back(npu(0, 10, 0));
        operations.back().job = operations.back().order = job;
        operations.push_back(cpu(results_ns, 0, {operations.size() - 1}));
        operations.back().job = job;
    }
    return operations;
}

TEST(Timeline, AJobNeedsASlotAndALeadThatIsFree) {
    Machine machine = kMachine;
    machine.slots = 1;
    // The slot is free when the results are taken.
    EXPECT_NEAR(make_schedule(jobs(3, 5), machine).elapsed_ns, 45, 1e-6);
    machine.slots = 2;
    EXPECT_NEAR(make_schedule(jobs(3, 5), machine).elapsed_ns, 35, 1e-6);
    // The third goes to the NPU when the first has come back, at 10. Until 40 the CPU takes that one's results.
    machine.slots = 4;
    EXPECT_NEAR(make_schedule(jobs(4, 30), machine).spans[6].start_ns, 40, 1e-6);
    machine.jobs_in_lane = 3;
    EXPECT_NEAR(make_schedule(jobs(4, 30), machine).spans[6].start_ns, 30, 1e-6);
}

TEST(Timeline, TheCpuStaysInASection) {
    std::vector<Operation> operations = {cpu(10, 0), npu(0, 100, 0, {0}), cpu(10, 0, {1}), cpu(10, 0)};
    operations[3].order = 1;
    EXPECT_EQ(make_schedule(operations, kMachine).elapsed_ns, 120);
    operations[0].section = Operation::Section::kBegins;
    operations[2].section = Operation::Section::kEnds;
    EXPECT_EQ(make_schedule(operations, kMachine).spans[3].start_ns, 10);
    Machine machine = kMachine;
    machine.passes_meanwhile = 1;
    EXPECT_EQ(make_schedule(operations, machine).spans[3].start_ns, 120);
    operations[3].order = -1;
    operations[3].after = {0};
    EXPECT_EQ(make_schedule(operations, machine).spans[3].start_ns, 10);
    machine.passes_meanwhile = 0;
    const Schedule schedule = make_schedule(operations, machine);
    EXPECT_EQ(schedule.spans[3].start_ns, 120);
    EXPECT_EQ(critical_path(schedule), (std::vector<size_t>{0, 1, 2, 3}));
    // Ready only when the section waits already.
    operations[3].after = {4};
    operations.push_back(npu(0, 50, 0, {}, 1));
    EXPECT_EQ(make_schedule(operations, kMachine).spans[3].start_ns, 120);
    machine.sections = 2;
    EXPECT_EQ(make_schedule(operations, machine).spans[3].start_ns, 50);
}

std::vector<Operation> random_operations(std::mt19937& random) {
    const auto upto = [&](int most) { return std::uniform_int_distribution<int>(0, most)(random); };
    std::vector<Operation> operations;
    for (size_t i = 0; i < 60; ++i) {
        std::vector<size_t> after;
        for (int n = upto(2); n > 0 && i > 0; --n)
            after.push_back(static_cast<size_t>(upto(static_cast<int>(i) - 1)));
        operations.push_back(upto(1) == 0
                                 ? cpu(upto(500), upto(9000), after)
                                 : npu(upto(50), upto(500), upto(9000), after, static_cast<size_t>(upto(2))));
        operations.back().order = upto(20);
    }
    return operations;
}

TEST(Timeline, NothingIsLostOrDoneTwice) {
    for (unsigned seed = 1; seed <= 50; ++seed) {
        SCOPED_TRACE(testing::Message() << "seed " << seed);
        std::mt19937 random(seed);
        const std::vector<Operation> operations = random_operations(random);
        const Schedule schedule = make_schedule(operations, kMachine);
        double bytes = 0, moved = 0, busy[kServers] = {};
        for (size_t i = 0; i < operations.size(); ++i) {
            const Span& span = schedule.spans[i];
            for (const size_t earlier : operations[i].after)
                EXPECT_GE(span.start_ns, schedule.spans[earlier].end_ns);
            EXPECT_GE(span.end_ns - span.body_ns, alone_ns(operations[i]) * (1 - 1e-9));
            bytes += operations[i].bytes();
            busy[operations[i].server] += span.end_ns - span.start_ns;
            for (size_t j = 0; j < i; ++j) {
                if (operations[j].server != operations[i].server) continue;
                EXPECT_TRUE(schedule.spans[j].end_ns <= span.start_ns ||
                            span.end_ns <= schedule.spans[j].start_ns);
            }
        }
        for (const Bandwidth& piece : schedule.bandwidth) {
            moved += piece.bytes;
            EXPECT_LE(piece.bytes, kMachine.dram_gbps * (piece.end_ns - piece.start_ns) * (1 + 1e-6) + 1e-3);
        }
        EXPECT_NEAR(moved, bytes, bytes * 1e-6);
        double path = 0, end = 0;
        for (const size_t i : critical_path(schedule)) {
            EXPECT_EQ(schedule.spans[i].start_ns, end);  // without gaps
            end = schedule.spans[i].end_ns;
            path += schedule.spans[i].end_ns - schedule.spans[i].start_ns;
        }
        EXPECT_NEAR(path, schedule.elapsed_ns, 1e-6);
        EXPECT_LE(*std::max_element(busy, busy + kServers), schedule.elapsed_ns * (1 + 1e-9));
    }
}

}  // namespace
}  // namespace rknpu2
