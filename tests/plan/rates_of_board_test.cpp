// SPDX-License-Identifier: MIT
#include "plan/rates_of_board.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

constexpr size_t kK = 4096;

MatrixCall call_of(size_t N, double bits, size_t rows = 1) {
    return {kK, N, rows, static_cast<size_t>(static_cast<double>(kK * N) * bits / 8), false};
}

MeasuredRates rates_of_npu(double run_us, double gbps) {
    MeasuredRates rates;
    rates.set(Rate::kNpuRunUs, run_us);
    rates.set(Rate::kNpuStreamGbps, gbps);
    return rates;
}

TEST(RatesOfBoard, WhatIsNotMeasuredIsTheModels) {
    const BoardRates rates = rates_of_board({}, 3);
    EXPECT_EQ(rates.run_ns, kBoardRates.run_ns);
    EXPECT_EQ(rates.stream_gbps[2], kBoardRates.stream_gbps[2]);
    EXPECT_EQ(rates.cpu_four_bits.read_gbps, kBoardRates.cpu_four_bits.read_gbps);
    EXPECT_EQ(rates.wake_ns, kBoardRates.wake_ns);
    const BoardRates half = rates_of_board(rates_of_npu(7, kBoardRates.stream_gbps[2] / 2), 3);
    EXPECT_EQ(half.run_ns, 7000);
    EXPECT_DOUBLE_EQ(half.stream_gbps[0], kBoardRates.stream_gbps[0] / 2);
    EXPECT_DOUBLE_EQ(half.mixed_gbps[2], kBoardRates.mixed_gbps[2] / 2);
}

// A profile tells the rate of all cores. With fewer the board's rate is as far from the model's as that.
TEST(RatesOfBoard, AProfileServesAnyNumberOfCores) {
    const double* const model = kBoardRates.stream_gbps;
    ASSERT_LT(model[0], model[1]);
    ASSERT_LT(model[1], model[2]);
    for (const double times : {1.0, 0.5, 1.25}) {
        const MeasuredRates of_profile = rates_of_npu(7, times * model[2]);
        for (const int cores : {1, 2, 3}) {
            const BoardRates rates = rates_of_board(rates_of_cores(of_profile, cores), cores);
            EXPECT_EQ(rates.run_ns, 7000);
            for (size_t i = 0; i < rk3588::kCores; ++i)
                EXPECT_NEAR(rates.stream_gbps[i], times * model[i], 1e-9) << cores << " of " << i + 1;
        }
    }
    EXPECT_TRUE(rates_of_cores({}, 1).is_empty());
}

// What the model says of a board's calls leads back to that board.
TEST(RatesOfBoard, TimesOfAKnownBoardGiveItsRates) {
    for (const Precision precision : {Precision::kBalanced, Precision::kFast}) {
        for (const int cores : {1, 2, 3}) {
            for (const auto& [run_us, gbps] : {std::pair{20.0, 31.0}, {150.0, 4.0}, {3.0, 70.0}}) {
                Config config;
                config.precision = precision;
                config.cores = cores;
                const MeasuredRates board = rates_of_npu(run_us, gbps);
                const auto timed = [&](size_t N) {
                    const MatrixCall call = call_of(N, 8.5);
                    return TimedCall{call, matrix_target(call, config, rates_of_board(board, cores)).npu_us};
                };
                MeasuredRates found;
                ASSERT_TRUE(solve_npu(timed(256), timed(4096), config, found).ok());
                EXPECT_NEAR(*found[Rate::kNpuRunUs], run_us, 1e-3);
                EXPECT_NEAR(*found[Rate::kNpuStreamGbps], gbps, 1e-3);
            }
        }
    }
    const auto cpu = [&](double bits, double gbps, double macs) {
        const auto us = [&](const MatrixCall& call) {
            const double products = static_cast<double>(call.rows * call.K * call.N) / macs;
            return TimedCall{call, 4 + std::max(static_cast<double>(call.raw_bytes) / gbps, products) / 1e3};
        };
        return CpuTimes{us(call_of(256, bits)), us(call_of(4096, bits)), us(call_of(4096, bits, 16))};
    };
    MeasuredRates found;
    ASSERT_TRUE(solve_cpu(cpu(4.5, 11, 60), cpu(8.5, 22, 44), found).ok());
    EXPECT_NEAR(*found[Rate::kCpuFourBitGbps], 11, 1e-3);
    EXPECT_NEAR(*found[Rate::kCpuEightBitGbps], 22, 1e-3);
    EXPECT_NEAR(*found[Rate::kCpuFourBitMacs], 60, 1e-3);
    EXPECT_NEAR(*found[Rate::kCpuEightBitMacs], 44, 1e-3);
    EXPECT_NEAR(*found[Rate::kCpuRegionUs], 4, 1e-3);
}

TEST(RatesOfBoard, TimesThatCannotBeAreRefused) {
    MeasuredRates found;
    const TimedCall small{call_of(256, 8.5), 50}, large{call_of(4096, 8.5), 50};
    EXPECT_FALSE(solve_npu(small, large, Config(), found).ok());
    EXPECT_FALSE(solve_cpu({small, large, large}, {small, large, large}, found).ok());
}

TEST(RatesOfBoard, ALeastTimeThatIsAloneIsNotBelieved) {
    EXPECT_TRUE(least_is_credible({10, 11, 90, 90, 90}));
    EXPECT_TRUE(least_is_credible({90, 15, 90, 10, 90, 90, 90, 90}));
    EXPECT_FALSE(least_is_credible({90, 16, 90, 10, 90, 90, 90, 90}));
    EXPECT_FALSE(least_is_credible({90, 90, 90, 10, 90}));
    EXPECT_FALSE(least_is_credible({10, 11, 90, 90, 90, 90, 90, 90, 90}));
    EXPECT_TRUE(least_is_credible({10, 11, 12, 90, 90, 90, 90, 90, 90}));
    EXPECT_FALSE(least_is_credible({10}));
    EXPECT_FALSE(least_is_credible({}));
}

// A board with a slow NPU leaves single tokens to the CPU, one with a slow CPU does not, whatever the model says.
TEST(RatesOfBoard, TheBoardDecides) {
    Config config;
    for (const double bits : {4.5, 8.5}) {
        const MatrixCall call = call_of(4096, bits);
        MeasuredRates slow_npu = rates_of_npu(30, 2);
        EXPECT_EQ(matrix_target(call, config, rates_of_board(slow_npu, 3)).target, Target::kCpu) << bits;
        MeasuredRates slow_cpu;
        slow_cpu.set(bits < 6 ? Rate::kCpuFourBitGbps : Rate::kCpuEightBitGbps, 2);
        EXPECT_EQ(matrix_target(call, config, rates_of_board(slow_cpu, 3)).target, Target::kNpu) << bits;
    }
}

}  // namespace
}  // namespace rknpu2
