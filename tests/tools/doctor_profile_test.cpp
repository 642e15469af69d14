// SPDX-License-Identifier: MIT
// What is measured on a simulator is what its profile says, and the file that comes of it is read back.
#include "doctor_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>

#include "doctor_report.hpp"
#include "flawed_runtime.hpp"
#include "predict/board_profile.hpp"
#include "runtime/rknn_runtime.hpp"
#include "support/failing_threads.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;

// Measurements that a device of that profile would give.
Measurements as_by(const rknnsim::Profile& profile) {
    Measurements all;
    all.rounds = 1;
    all.bind_us = profile.bind_us;
    for (const SpeedShape& shape : speed_shapes(false)) {
        Speed speed;
        speed.shape = shape;
        speed.run_us = predicted_us(shape, profile);
        all.speeds.push_back(speed);
    }
    return all;
}

// A board that is slower than the simulator takes it to be, in every way that is measured.
rknnsim::Profile slow_board() {
    rknnsim::Profile profile = simulator_profile();
    const double stream[] = {8, 14, 17};
    const double mixed[] = {7, 11, 13};
    for (int i = 0; i < rknnsim::kCores; ++i) {
        profile.stream_gbps[i] = stream[i];
        profile.mixed_gbps[i] = mixed[i];
    }
    profile.mac_efficiency = 0.45;
    profile.submit_us = 71;
    profile.bind_us = 3;
    return profile;
}

MeasuredParameter parameter(const MeasuredProfile& measured, const std::string& name) {
    for (const MeasuredParameter& p : measured.parameters) {
        if (p.name == name) return p;
    }
    ADD_FAILURE() << name << " is missing";
    return {};
}

TEST(DoctorProfile, WhatABoardIsLikeIsFoundFromItsTimes) {
    const rknnsim::Profile board = slow_board();
    const MeasuredProfile measured = fit_profile(as_by(board), simulator_profile());
    for (const char* name : {"stream_gbps.1", "stream_gbps.2", "stream_gbps.3", "mixed_gbps.1",
                             "mixed_gbps.2", "mixed_gbps.3", "mac_efficiency", "submit_us", "bind_us"}) {
        double expected = 0;
        ASSERT_TRUE(rknnsim::get_parameter(name, board, &expected).ok());
        const MeasuredParameter found = parameter(measured, name);
        // The smallest run's own microsecond is taken from the profile that is started from.
        EXPECT_NEAR(found.value / expected, 1, 0.01) << name;
        EXPECT_TRUE(found.measured()) << name;
        EXPECT_THAT(found.source, HasSubstr("measured: "));
    }
    EXPECT_FALSE(parameter(measured, "bank_bytes").measured());
    EXPECT_FALSE(parameter(measured, "clock_mhz").measured());
    EXPECT_LT(measured.profile.error_worst, 1.02);
}

TEST(DoctorProfile, ErrorsSayHowFarTheModelIsFromTheTimes) {
    Measurements measurements = as_by(slow_board());
    measurements.speeds.back().run_us *= 3;  // a shape that is not fitted to
    const MeasuredProfile measured = fit_profile(measurements, simulator_profile());
    EXPECT_NEAR(measured.profile.error_worst, 3, 0.05);
    EXPECT_LT(measured.profile.error_typical, 1.02);
    EXPECT_THAT(check_of(measurements.speeds.back(), slow_board()).advice, HasSubstr("report it"));
    EXPECT_EQ(check_of(measurements.speeds.back(), slow_board()).health, Health::kWarning);
    EXPECT_EQ(check_of(measurements.speeds.front(), slow_board()).health, Health::kOk);
}

TEST(DoctorProfile, TimesThatNoValueExplainsChangeNothing) {
    Measurements measurements = as_by(simulator_profile());
    for (Speed& speed : measurements.speeds) {
        if (speed.shape.M == 128 && speed.shape.arithmetic == NpuArithmetic::kInt8) speed.run_us /= 4;
    }
    const MeasuredProfile measured = fit_profile(measurements, simulator_profile());
    EXPECT_FALSE(parameter(measured, "mac_efficiency").measured());
    EXPECT_EQ(measured.profile.mac_efficiency, simulator_profile().mac_efficiency);
    EXPECT_THAT(parameter(measured, "mac_efficiency").source, HasSubstr("not measured: 128x1024x4096 int8"));
}

TEST(DoctorProfile, TheFileIsReadBackByTheSimulatorAndByPredict) {
    const MeasuredProfile measured = fit_profile(as_by(slow_board()), simulator_profile());
    DoctorReport report;
    report.when = "2026-11-27T12:00:00Z";
    report.board = "a board\nwith = two lines";  // must not become a line of the profile
    report.runtime.library = "librknnrt.so";
    report.system = {{"system.npu_clock", Health::kOk, "NPU clock", "1000 of 1000 MHz", ""}};
    const std::string text = to_profile_text(measured, provenance_of(report));
    EXPECT_THAT(text, HasSubstr("rknpu2-doctor " RKNPU2_VERSION " on 2026-11-27T12:00:00Z"));
    EXPECT_THAT(text, HasSubstr("# NPU clock: 1000 of 1000 MHz\n"));
    EXPECT_THAT(text, HasSubstr("# board: a board with = two lines;"));

    rknnsim::Profile back;
    const rknnsim::Outcome outcome = rknnsim::parse_profile(text, "doctor.profile", &back);
    ASSERT_TRUE(outcome.ok()) << outcome.text;
    const Result<BoardProfile> board = parse_board_profile(text, "doctor.profile");
    ASSERT_TRUE(board.ok()) << board.status().message();
    for (const rknnsim::ProfileParameter& p : rknnsim::profile_parameters()) {
        double value = 0;
        ASSERT_TRUE(rknnsim::get_parameter(p.name, measured.profile, &value).ok());
        EXPECT_NEAR(p.value(back), value, 1e-8 * value) << p.name;
        double npu = 0;
        ASSERT_TRUE(rknnsim::get_parameter(p.name, board.value().npu, &npu).ok());
        EXPECT_EQ(npu, p.value(back)) << p.name;
    }
}

// As the examination does it with --quick.
Status measure_all(NpuRuntime& runtime, const RuntimeClock& clock, Measurements& all) {
    Bench bench{runtime, clock, true};
    for (const SpeedShape& shape : speed_shapes(true))
        RKNPU2_RETURN_IF_ERROR(measure(bench, shape, all));
    return measure_bind(bench, all);
}

// On the simulator the virtual clock has to give the model's own times, on one core and on three.
TEST(DoctorMeasure, TheSimulatorsTimesAreItsPredictions) {
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(RKNPU2_SIMULATOR);
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    const RuntimeClock clock(RKNPU2_SIMULATOR);
    ASSERT_TRUE(clock.simulated());
    Measurements measured;
    const Status status = measure_all(*runtime.value(), clock, measured);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_TRUE(measured.virtual_clock);
    EXPECT_EQ(measured.bind_us, simulator_profile().bind_us);
    EXPECT_EQ(measured.speeds.size(), speed_shapes(true).size());
    for (const Speed& speed : measured.speeds) {
        EXPECT_NEAR(speed.run_us / predicted_us(speed.shape, simulator_profile()), 1, 0.001)
            << speed_text(speed.shape);
        EXPECT_EQ(speed.low_us, speed.high_us) << speed_text(speed.shape);
    }
    EXPECT_FALSE(RuntimeClock(test::missing_path("none.so")).simulated());
    EXPECT_GT(RuntimeClock(test::missing_path("none.so")).now(), 0U);
}

// Without a simulator it is the wall clock; and a core that fails among others ends the round.
TEST(DoctorMeasure, ElsewhereTimesAreRealOnes) {
    test::Flaw flaw;
    flaw.no_run = true;
    flaw.lasts_us = 300;
    test::FlawedRuntime runtime(flaw);
    const RuntimeClock clock(test::missing_path("none.so"));
    Measurements measured;
    const Status status = measure_all(runtime, clock, measured);
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_FALSE(measured.virtual_clock);
    EXPECT_EQ(measured.rounds, 5U);
    for (const Speed& speed : measured.speeds) {
        EXPECT_GE(speed.low_us, 300) << speed_text(speed.shape);
        EXPECT_LE(speed.low_us, speed.run_us) << speed_text(speed.shape);
        EXPECT_LE(speed.run_us, speed.high_us) << speed_text(speed.shape);
    }
    EXPECT_EQ(runtime.state().contexts, 0);
    EXPECT_EQ(runtime.state().memories, 0);

    flaw.run_status = Status(StatusCode::kDeviceError, "it burns");
    test::FlawedRuntime burning(flaw);
    EXPECT_EQ(measure_all(burning, clock, measured).message(), "it burns");
}

// A second or a third core has no thread to run on.
TEST(DoctorMeasure, ThreadsThatCannotBeHadAreAFailure) {
    test::Flaw flaw;
    flaw.no_run = true;
    for (const int first : {1, 2}) {
        test::FlawedRuntime runtime(flaw);
        fail_threads(first, INT_MAX);
        Measurements measured;
        const Status status = measure_all(runtime, RuntimeClock(test::missing_path("none.so")), measured);
        fail_threads(0, 0);
        EXPECT_THAT(status.message(), HasSubstr("cannot start a thread for each NPU core"));
    }
}

}  // namespace
}  // namespace rknpu2
