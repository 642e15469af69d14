// SPDX-License-Identifier: MIT
// What is measured on a simulator is what its profile says; and what a wall clock gives.
#include "doctor_measure.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>

#include "flawed_runtime.hpp"
#include "runtime/rknn_runtime.hpp"
#include "support/failing_threads.hpp"
#include "support/missing_path.hpp"
#include "timing/profile.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;

TEST(DoctorMeasure, TimesFarFromThePredictionAreAWarning) {
    for (const double factor : {1.0, 1.4, 3.0, 1 / 3.0}) {
        const SpeedShape shape = speed_shapes(true).back();
        const Check check = check_of(Speed{shape, factor * predicted_us(shape)});
        const bool far = std::max(factor, 1 / factor) > 1.5;
        EXPECT_EQ(check.health, far ? Health::kWarning : Health::kOk) << factor;
        EXPECT_EQ(check.advice.find("report it") != std::string::npos, far) << factor;
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
    rknnsim::Profile profile;
    ASSERT_TRUE(rknnsim::load_profile("", &profile).ok());
    EXPECT_EQ(measured.bind_us, profile.bind_us);
    EXPECT_EQ(measured.speeds.size(), speed_shapes(true).size());
    for (const Speed& speed : measured.speeds) {
        EXPECT_NEAR(speed.run_us / predicted_us(speed.shape), 1, 0.001) << speed_text(speed.shape);
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
