// SPDX-License-Identifier: MIT
// The virtual clock seen through its C interface: predictions, threads, cores and what waits for what.
#include <barrier>
#include <cmath>
#include <functional>
#include <thread>

#include "sim/timing_fixture.hpp"

namespace rknnsim_test {
namespace {

// A shape that memory bounds, and that is quickly simulated.
constexpr Shape kStream{1, 2048, 1024};

struct Published {
    int type;
    Shape shape;
    int ac_layout;
    int cores;
    int in_tiles_of;  // 0: as the model wants
    double gops;
    double percent;  // how far the model may be
};

// N is what one core gets of it.
TEST_F(TimingTest, PublishedFiguresAreReproduced) {
    const Published rows[] = {
        {kI8I32, {128, 1024, 8192}, 1, 1, 0, 1800, 5},  {kI8I32, {128, 1024, 8192}, 1, 1, 0, 1877, 8},
        {kI8I32, {128, 2048, 2048}, 1, 1, 0, 1347, 20}, {kI8I32, {128, 2048, 2048}, 0, 1, 0, 1693, 20},
        {kF16F32, {128, 1024, 8192}, 1, 1, 0, 900, 5},  {kF16F32, {2048, 2048, 512}, 1, 1, 0, 574, 5},
        {kF16F32, {2048, 8192, 512}, 1, 1, 0, 74, 20},  {kI4I16, {128, 1024, 8192}, 1, 1, 0, 4000, 20},
        {kI8I32, {256, 3584, 1216}, 1, 3, 15, 700, 5},  {kI8I32, {256, 3584, 6336}, 1, 3, 15, 731, 5},
        {kI4I16, {1, 4096, 1408}, 1, 3, 0, 107, 10},  // 315 us
    };
    set("RKNNSIM_M_MAX", "2048");
    for (const Published& row : rows) {
        SCOPED_TRACE(::testing::Message()
                     << "type " << row.type << " M=" << row.shape.M << " K=" << row.shape.K
                     << " N=" << row.shape.N << ", published " << row.gops);
        double rows_before = 0;
        ASSERT_EQ(rknnsim_profile_get("tile_rows.int8", &rows_before), 0);
        if (row.in_tiles_of > 0) {
            ASSERT_EQ(rknnsim_profile_set("tile_rows.int8", row.in_tiles_of), 0);
        }
        const rknnsim_run_time time = predict(row.type, row.shape, row.cores, row.ac_layout);
        const double gops =
            2.0 * static_cast<double>(time.macs) * row.cores / static_cast<double>(time.end_ns);
        EXPECT_NEAR(gops, row.gops, row.gops * row.percent / 100);
        ASSERT_EQ(rknnsim_profile_set("tile_rows.int8", rows_before), 0);
    }
}

TEST_F(TimingTest, APredictionIsTheRuleByHand) {
    for (const auto& [name, value] : {std::pair{"mac_efficiency", 0.5},
                                      {"mixed_gbps.1", 10.0},
                                      {"submit_us", 20.0},
                                      {"row_task_us", 3.0},
                                      {"convert_gbps", 4.0}}) {
        ASSERT_EQ(rknnsim_profile_set(name, value), 0);
    }
    // 4 banks of 32 KiB hold 63 rows of 2080 bytes: tiles of 63 and 37 rows.
    const rknnsim_run_time time = predict(kI8I32, {100, 2080, 96});
    EXPECT_EQ(time.tile_rows, 63U);
    EXPECT_EQ(time.passes, 2U);
    EXPECT_EQ(time.macs, 100U * 2080 * 96);
    EXPECT_EQ(time.read_a_bytes, 100U * 2080);
    EXPECT_EQ(time.read_b_bytes, 2U * 2080 * 96);
    EXPECT_EQ(time.read_c_bytes, 0U);
    EXPECT_EQ(time.written_bytes, 100U * 96 * 4);
    double ns = 0, mac_ns = 0, dma_ns = 0;
    for (const double tile : {63.0, 37.0}) {
        const double mac = tile * 2080 * 96 / (1024 * 0.5);
        const double dma = (tile * 2080 + 2080 * 96 + tile * 96 * 4) / 10;
        mac_ns += mac;
        dma_ns += dma;
        ns += std::max(mac, dma);
    }
    EXPECT_EQ(time.start_ns, 20000U);
    EXPECT_EQ(time.submit_ns, 20000U);
    EXPECT_NEAR(static_cast<double>(time.stop_ns - time.start_ns), ns, 1);
    EXPECT_NEAR(static_cast<double>(time.mac_ns), mac_ns, 1);
    EXPECT_NEAR(static_cast<double>(time.dma_ns), dma_ns, 1);
    EXPECT_EQ(time.mac_ns + time.stall_ns, time.stop_ns - time.start_ns);
    EXPECT_NEAR(time.utilisation, 100.0 * 2080 * 96 / 1024 / ns, 1e-3);
    EXPECT_EQ(time.end_ns, time.stop_ns);
    // Normal layout: 8 banks, no row takes less than a task, and the CPU converts C.
    const rknnsim_run_time normal = predict(kI8I32, {100, 2080, 96}, 1, 0);
    EXPECT_EQ(normal.tile_rows, 100U);
    EXPECT_EQ(normal.stop_ns - normal.start_ns, 100U * 3000);
    EXPECT_EQ(normal.mac_ns + normal.stall_ns, normal.stop_ns - normal.start_ns);
    EXPECT_EQ(normal.convert_ns, 100U * 96 * 4 / 4);
    EXPECT_EQ(normal.end_ns, normal.stop_ns + normal.convert_ns);
    // One row is the same bytes in both layouts.
    const rknnsim_run_time one = predict(kI8I32, {1, 2080, 96}, 1, 0);
    EXPECT_EQ(one.end_ns, predict(kI8I32, {1, 2080, 96}).end_ns);
    EXPECT_EQ(one.convert_ns, 0U);
    // int4, and more columns than a task takes, go row by row.
    for (const auto& [type, shape] :
         {std::pair{kI4I16, Shape{5, 2080, 128}}, {kI8I32, {5, 2080, 8192 + 32}}}) {
        const rknnsim_run_time rows = predict(type, shape, 1, 0);
        EXPECT_EQ(rows.tile_rows, 1U);
        EXPECT_EQ(rows.passes, 5U);
        const uint64_t b_bytes = type == kI4I16 ? 2080 * 128 / 2 : 2080 * (8192 + 32);
        EXPECT_EQ(rows.read_b_bytes, 5 * b_bytes);
        EXPECT_EQ(predict(type, shape).passes, 1U);
        EXPECT_EQ(predict(type, shape).read_a_bytes,
                  type == kI4I16 ? 5U * 2080 / 2 : 2 * 5U * 2080);  // by each task of 8192 columns
    }
}

// fp16 of 2048 rows and 512 columns was timed on a board: 7.5, 49.7 and 232.6 ms for K of 2048, 4096, 8192,
// the second of which is 129 passes over B at 11 GB/s (docs/published-facts.csv, 45).
TEST_F(TimingTest, TilesOfFp16AreWhatTwoGroupsOfKernelsLeave) {
    for (const auto& [K, rows] : {std::pair<int, uint32_t>{512, 256}, {2048, 64}, {4096, 16}, {8192, 8}})
        EXPECT_EQ(predict(kF16F32, {2048, K, 512}).tile_rows, rows) << K;
    for (const auto& [K, ms] : {std::pair<int, double>{2048, 7.5}, {4096, 49.7}, {8192, 232.6}})
        EXPECT_NEAR(static_cast<double>(predict(kF16F32, {2048, K, 512}).end_ns) * 1e-6, ms, 0.2 * ms) << K;
    // int8 has four banks whatever K.
    for (const int K : {1024, 4096, 8192})
        EXPECT_EQ(predict(kI8I32, {128, K, 512}).tile_rows, 4U * 32768 / static_cast<unsigned>(K)) << K;
}

// int8 in normal layout was timed at 634 us for 128x2048x2048 and 3876 for 128x1024x8192 (the same, 43).
TEST_F(TimingTest, ATileInNormalLayoutHasSoManyResults) {
    EXPECT_EQ(predict(kI8I32, {128, 2048, 2048}, 1, 0).passes, 1U);
    EXPECT_EQ(predict(kI8I32, {128, 1024, 8192}, 1, 0).passes, 4U);
    EXPECT_NEAR(static_cast<double>(predict(kI8I32, {128, 2048, 2048}, 1, 0).end_ns), 634e3, 0.2 * 634e3);
    EXPECT_NEAR(static_cast<double>(predict(kI8I32, {128, 1024, 8192}, 1, 0).end_ns), 3876e3, 0.2 * 3876e3);
}

TEST_F(TimingTest, SegmentsOfKReadPartialSums) {
    // 8192 of K take 8 banks for a group of kernels; 4 are left: 8 rows of 16 KiB.
    const rknnsim_run_time time = predict(kF16F32, {9, 8192 + 96, 48});
    EXPECT_EQ(time.tile_rows, 8U);
    EXPECT_EQ(time.passes, 2U);
    EXPECT_EQ(time.read_b_bytes, 2U * (2 * 8192 + 96) * 48);
    EXPECT_EQ(time.read_a_bytes, 9U * (8192 + 96) * 2);
    EXPECT_EQ(time.read_c_bytes, 9U * 48 * 4);
    EXPECT_EQ(time.written_bytes, 2U * 9 * 48 * 4);
    set("RKNNSIM_K_MAX", "65536");
    const rknnsim_run_time longer = predict(kI8I32, {2, 3 * 8192 + 32, 64});
    EXPECT_EQ(longer.read_c_bytes, 3U * 2 * 64 * 4);
    EXPECT_EQ(longer.written_bytes, 4U * 2 * 64 * 4);
    EXPECT_EQ(longer.macs, 2U * (3 * 8192 + 32) * 64);
}

TEST_F(TimingTest, PredictionsAreChecked) {
    rknnsim_run_time time{};
    rknnsim_matmul matmul{kI8I32, 1, 33, 32, 1, 1, 1, 0};
    EXPECT_THAT(stderr_of([&] { EXPECT_EQ(rknnsim_predict(&matmul, &time), -5); }),
                ::testing::HasSubstr("K=33"));
    matmul.K = 64;
    for (const int cores : {0, 4}) {
        matmul.cores = cores;
        EXPECT_EQ(rknnsim_predict(&matmul, &time), -5);
    }
    matmul.cores = 1;
    matmul.ac_layout = 7;
    EXPECT_EQ(rknnsim_predict(&matmul, &time), -5);
    EXPECT_EQ(rknnsim_predict(nullptr, &time), -5);
    EXPECT_EQ(rknnsim_predict(&matmul, nullptr), -5);
    EXPECT_EQ(rknnsim_last_run(&time), -1);  // none yet
    double value = 0;
    EXPECT_EQ(rknnsim_profile_set("mac_efficiency", 1.5), -5);
    EXPECT_EQ(rknnsim_profile_set("tile_rows.int8", 2.5), -5);
    EXPECT_EQ(rknnsim_profile_set("no_such", 1), -5);
    EXPECT_EQ(rknnsim_profile_get("no_such", &value), -5);
    for (uint32_t i = 0; rknnsim_profile_name(i) != nullptr; ++i)
        EXPECT_EQ(rknnsim_profile_get(rknnsim_profile_name(i), &value), 0);
    EXPECT_EQ(rknnsim_profile_name(1000), nullptr);
}

TEST_F(TimingTest, ARunTakesWhatWasPredictedAndTotalsAreTheSum) {
    uint64_t busy = 0, submit = 0, read = 0, macs = 0, end = 0;
    for (const auto& [type, shape, layout] : {std::tuple{kI8I32, Shape{3, 576, 96}, 1},
                                              {kF16F32, Shape{5, 64, 208}, 0},
                                              {kI8I32, Shape{70, 96, 64}, 1}}) {
        Matmul matmul(type, shape, kBNative, layout);
        bind(matmul);
        for (int i = 0; i < 3; ++i) {
            ASSERT_EQ(matmul.run(), 0);
            const rknnsim_run_time time = last_run();
            const rknnsim_run_time expected = predict(type, shape, 1, layout);
            EXPECT_EQ(time.stop_ns - time.start_ns, expected.stop_ns - expected.start_ns);
            EXPECT_EQ(time.end_ns - time.call_ns, expected.end_ns);
            EXPECT_EQ(time.core, 0);
            EXPECT_EQ(time.context, matmul.ctx());
            EXPECT_GE(time.call_ns, end);
            end = time.end_ns;
            busy += time.stop_ns - time.start_ns;
            submit += time.submit_ns;
            read += time.read_a_bytes + time.read_b_bytes;
            macs += time.macs;
        }
    }
    const rknnsim_time_sums sums = totals();
    EXPECT_EQ(sums.all.runs, 9U);
    EXPECT_EQ(sums.core[0].busy_ns, busy);
    EXPECT_EQ(sums.all.busy_ns, busy);
    EXPECT_EQ(sums.all.mac_ns + sums.all.stall_ns, busy);
    EXPECT_EQ(sums.submit_ns, submit);
    EXPECT_EQ(sums.all.read_bytes, read);
    EXPECT_EQ(sums.all.macs, macs);
    EXPECT_EQ(sums.elapsed_ns, end);
    EXPECT_EQ(rknnsim_time_now(), end);
    EXPECT_NEAR(sums.core[0].busy, static_cast<double>(busy) / static_cast<double>(end), 1e-9);
    EXPECT_NEAR(sums.all.busy, sums.core[0].busy / 3, 1e-9);
}

// Each thread runs on the core of that mask; gives the runs after all have run.
std::vector<rknnsim_run_time> run_together(const std::vector<int>& masks, Shape shape, bool settle_each) {
    std::vector<rknnsim_run_time> times(masks.size());
    std::barrier all_have_run(static_cast<std::ptrdiff_t>(masks.size()));
    std::vector<std::thread> threads;
    for (size_t i = 0; i < masks.size(); ++i) {
        threads.emplace_back([&, i] {
            Matmul matmul(kI8I32, shape);
            EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), masks[i]), 0);
            EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
            EXPECT_EQ(matmul.run(), 0);
            if (!settle_each) all_have_run.arrive_and_wait();
            EXPECT_EQ(rknnsim_last_run(&times[i]), 0);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    return times;
}

TEST_F(TimingTest, ThreeCoresRunAtOnceAndShareTheMemory) {
    const std::vector<rknnsim_run_time> times = run_together({1, 2, 4}, kStream, false);
    const rknnsim_run_time together = predict(kI8I32, kStream, 3);
    const rknnsim_run_time alone = predict(kI8I32, kStream, 1);
    EXPECT_GT(together.end_ns, alone.end_ns);
    EXPECT_LT(together.end_ns, 2 * alone.end_ns);
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(times[i].core, static_cast<int>(i));
        EXPECT_EQ(times[i].start_ns, times[0].start_ns);
        EXPECT_NEAR(static_cast<double>(times[i].stop_ns), static_cast<double>(times[0].stop_ns), 2);
        EXPECT_NEAR(static_cast<double>(times[i].stop_ns - times[i].start_ns),
                    static_cast<double>(together.stop_ns - together.start_ns), 2);
        EXPECT_NEAR(static_cast<double>(times[i].dma_ns), static_cast<double>(together.dma_ns), 2);
    }
}

TEST_F(TimingTest, AutoTakesCoresThatAreFree) {
    const std::vector<rknnsim_run_time> times = run_together({0, 0, 0, 0}, kStream, false);
    int runs_on[3] = {};
    for (const rknnsim_run_time& time : times)
        ++runs_on[time.core];
    for (const int runs : runs_on)
        EXPECT_GE(runs, 1);
    EXPECT_LT(totals().elapsed_ns, 3 * predict(kI8I32, kStream, 3).end_ns);
}

TEST_F(TimingTest, OneCoreTakesOneRunAtATime) {
    for (const bool settle_each : {false, true}) {
        const std::vector<rknnsim_run_time> times = run_together({2, 2, 2}, kStream, settle_each);
        const rknnsim_run_time alone = predict(kI8I32, kStream, 1);
        for (size_t i = 0; i < 3; ++i) {
            EXPECT_EQ(times[i].core, 1);
            EXPECT_EQ(times[i].stop_ns - times[i].start_ns, alone.stop_ns - alone.start_ns);
            for (size_t j = 0; j < i; ++j) {
                EXPECT_TRUE(times[i].start_ns >= times[j].stop_ns || times[j].start_ns >= times[i].stop_ns);
            }
        }
    }
}

TEST_F(TimingTest, AResultMakesTheNextMatmulWait) {
    // int8 C is native A of the next one.
    Matmul first(kI8I8, {4, 2048, 96});
    Matmul second(kI8I8, {4, 96, 64});
    bind(first);
    ASSERT_EQ(first.run(), 0);
    const rknnsim_run_time produced = last_run();
    on_thread([&] {
        EXPECT_EQ(rknnsim_time_now(), 0U);  // this thread has done nothing yet
        ASSERT_EQ(rknn_matmul_set_io_mem(second.ctx(), first.c(), &second.attr().A), 0);
        double bind_us = 0;
        ASSERT_EQ(rknnsim_profile_get("bind_us", &bind_us), 0);
        EXPECT_EQ(rknnsim_time_now(), produced.end_ns + static_cast<uint64_t>(bind_us * 1e3));
        ASSERT_EQ(second.bind_b(), 0);
        ASSERT_EQ(second.bind_c(), 0);
        ASSERT_EQ(second.run(), 0);
        EXPECT_GE(last_run().call_ns, produced.end_ns);
    });
}

TEST_F(TimingTest, SyncsWaitForRuns) {
    ASSERT_EQ(rknnsim_profile_set("sync_us", 0) | rknnsim_profile_set("sync_gbps", 1e6), 0);
    constexpr uint64_t kNothing = 100;  // of a sync of some megabytes
    Matmul matmul(kI8I32, kStream);
    bind(matmul);
    on_thread([&] {
        ASSERT_EQ(rknn_mem_sync(matmul.ctx(), matmul.c(), 2), 0);
        EXPECT_LE(rknnsim_time_now(), kNothing);
    });
    ASSERT_EQ(matmul.run(), 0);
    const uint64_t end = last_run().end_ns;
    on_thread([&] {  // the result
        ASSERT_EQ(rknn_mem_sync(matmul.ctx(), matmul.c(), 2), 0);
        EXPECT_GE(rknnsim_time_now(), end);
        EXPECT_LE(rknnsim_time_now(), end + kNothing);
    });
    on_thread([&] {  // nobody has written A on the device
        ASSERT_EQ(rknn_mem_sync(matmul.ctx(), matmul.a(), 2), 0);
        EXPECT_LE(rknnsim_time_now(), kNothing);
    });
    for (rknn_tensor_mem* mem : {matmul.a(), matmul.b()}) {
        on_thread([&] {  // overwriting an input: its last user has to be done
            ASSERT_EQ(rknn_mem_sync(matmul.ctx(), mem, 1), 0);
            EXPECT_GE(rknnsim_time_now(), end);
            EXPECT_LE(rknnsim_time_now(), end + kNothing);
        });
    }
    on_thread([&] {  // calls on a context come one after the other
        ASSERT_EQ(matmul.bind_a(), 0);
        EXPECT_GT(rknnsim_time_now(), end);
    });
}

// What one thread hands over with a sync, a run of another one waits for, though slices are imported anew.
TEST_F(TimingTest, HandedOverSlicesMakeRunsWait) {
    Matmul matmul(kI8I32, {2, 64, 96});
    bind(matmul);
    rknn_tensor_mem* slice =
        rknn_create_mem_from_fd(matmul.ctx(), matmul.a()->fd, matmul.a()->virt_addr, 64, 32);
    ASSERT_NE(slice, nullptr);
    uint64_t handed = 0;
    on_thread([&] {
        ASSERT_EQ(rknnsim_time_advance(5000000), 0);
        ASSERT_EQ(rknn_mem_sync(matmul.ctx(), slice, 1), 0);
        handed = rknnsim_time_now();
    });
    EXPECT_GE(handed, 5000000U);
    ASSERT_EQ(matmul.run(), 0);
    EXPECT_EQ(last_run().call_ns, handed);
    ASSERT_EQ(rknn_destroy_mem(matmul.ctx(), slice), 0);
}

TEST_F(TimingTest, ThreadsCanHandOverTime) {
    ASSERT_EQ(rknnsim_time_advance(1234), 0);
    EXPECT_EQ(rknnsim_time_now(), 1234U);
    on_thread([] {
        ASSERT_EQ(rknnsim_time_advance_to(1000), 0);
        ASSERT_EQ(rknnsim_time_advance_to(500), 0);
        EXPECT_EQ(rknnsim_time_now(), 1000U);
        ASSERT_EQ(rknnsim_time_join(), 0);
        EXPECT_EQ(rknnsim_time_now(), 1234U);
        ASSERT_EQ(rknnsim_time_advance(766), 0);
    });
    EXPECT_EQ(rknnsim_time_now(), 1234U);
    ASSERT_EQ(rknnsim_time_join(), 0);
    EXPECT_EQ(rknnsim_time_now(), 2000U);
    EXPECT_EQ(totals().elapsed_ns, 2000U);
}

// Three threads, several runs each, no barrier: the host's scheduler must not show.
TEST_F(TimingTest, VirtualTimesDoNotDependOnTheHost) {
    rknnsim_time_sums first{};
    for (int round = 0; round < 12; ++round) {
        ASSERT_EQ(rknnsim_reset(), 0);
        std::vector<std::thread> threads;
        for (int core = 0; core < 3; ++core) {
            threads.emplace_back([core] {
                for (int i = 0; i < 4; ++i) {
                    Matmul matmul(kI8I32, {1 + core, 64 * (1 + i), 96 + 32 * core});
                    EXPECT_EQ(rknn_matmul_set_core_mask(matmul.ctx(), 1 << core), 0);
                    EXPECT_EQ(matmul.bind_a() | matmul.bind_b() | matmul.bind_c(), 0);
                    for (int run = 0; run < 5; ++run)
                        EXPECT_EQ(matmul.run(), 0);
                }
            });
        }
        for (std::thread& thread : threads)
            thread.join();
        const rknnsim_time_sums sums = totals();
        if (round == 0) first = sums;
        EXPECT_EQ(std::memcmp(&sums, &first, sizeof sums), 0)
            << "round " << round << ": " << sums.elapsed_ns << " ns, then " << first.elapsed_ns;
    }
    EXPECT_EQ(first.all.runs, 60U);
}

}  // namespace
}  // namespace rknnsim_test
