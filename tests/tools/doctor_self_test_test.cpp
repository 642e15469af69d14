// The self-test: passes on devices that multiply by the specification, and sees every way to be wrong.
#include "doctor_self_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "flawed_runtime.hpp"
#include "runtime/rknn_runtime.hpp"

namespace rknpu2 {
namespace {

using test::Flaw;
using test::FlawedRuntime;
using ::testing::HasSubstr;

SelfTestCase small(NpuArithmetic arithmetic, bool integers) {
    SelfTestCase test;
    test.arithmetic = arithmetic;
    test.M = 3;
    test.K = 96;
    test.N = 64;
    test.integers = integers;
    return test;
}

const SelfTestCase kInt = small(NpuArithmetic::kInt8, true);
const SelfTestCase kWholeHalf = small(NpuArithmetic::kFloat16, true);
const SelfTestCase kHalf = small(NpuArithmetic::kFloat16, false);

template <typename Value>
Flaw last_result(std::function<void(Value& value)> change) {
    Flaw flaw;
    flaw.spoil = [change](NpuMemory& result) {
        change(reinterpret_cast<Value*>(result.data())[result.size() / sizeof(Value) - 1]);
    };
    return flaw;
}

SelfTestResult with_flaw(Flaw flaw, const SelfTestCase& test) {
    FlawedRuntime runtime(std::move(flaw));
    return run_self_test(runtime, test);
}

TEST(DoctorSelfTest, ADeviceByTheSpecificationPasses) {
    FlawedRuntime runtime;
    const std::vector<SelfTestResult> results = run_self_tests(runtime, true);
    EXPECT_EQ(results.size(), self_test_cases(true).size());
    for (const SelfTestResult& result : results) {
        const Check check = check_of(result);
        EXPECT_EQ(check.health, Health::kOk) << check.title << ": " << check.found;
    }
    EXPECT_EQ(runtime.state().contexts, 0);
    EXPECT_EQ(runtime.state().memories, 0);
}

TEST(DoctorSelfTest, TheSimulatorPassesAllAndAddsAsItSays) {
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(RKNPU2_SIMULATOR);
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    for (const SelfTestResult& result : run_self_tests(*runtime.value(), false)) {
        const Check check = check_of(result);
        EXPECT_EQ(check.health, Health::kOk) << check.title << ": " << check.found;
        if (result.test.arithmetic == NpuArithmetic::kInt8) continue;
        EXPECT_EQ(result.as_simulator, result.test.M * result.test.N) << check.title;
    }
}

TEST(DoctorSelfTest, CasesCoverWhatThePlugInDoes) {
    for (const bool quick : {false, true}) {
        std::set<std::string> ids;
        std::set<int> cores;
        std::set<Binding> bindings;
        for (const SelfTestCase& test : self_test_cases(quick)) {
            SelfTestResult result;
            result.test = test;
            EXPECT_TRUE(ids.insert(check_of(result).id).second) << check_of(result).id;
            cores.insert(test.core);
            bindings.insert(test.binding);
        }
        EXPECT_EQ(cores.size(), 3U);
        EXPECT_EQ(bindings.size(), 3U);
    }
}

TEST(DoctorSelfTest, OneBitOfOneResultIsSeen) {
    const SelfTestResult integers = with_flaw(last_result<int32_t>([](int32_t& x) { x ^= 1; }), kInt);
    EXPECT_TRUE(integers.ran);
    EXPECT_EQ(integers.wrong, 1U);
    ASSERT_TRUE(integers.first.has_value());
    EXPECT_EQ(integers.first->m, 2U);
    EXPECT_EQ(integers.first->n, 63U);
    EXPECT_EQ(std::fabs(integers.first->got - integers.first->expected), 1);
    const Check check = check_of(integers);
    EXPECT_EQ(check.health, Health::kProblem);
    EXPECT_THAT(check.found, HasSubstr("1 of 192 results wrong, first at row 2 column 63"));
    EXPECT_NE(check.advice, "");

    const auto next = [](float& x) { x = std::nextafter(x, std::numeric_limits<float>::infinity()); };
    EXPECT_EQ(with_flaw(last_result<float>(next), kWholeHalf).wrong, 1U);
    EXPECT_EQ(with_flaw(last_result<float>(next), kHalf).wrong, 0U);  // within rounding
}

TEST(DoctorSelfTest, FloatsBeyondRoundingAreSeen) {
    const auto add = [](float by) { return last_result<float>([by](float& x) { x += by; }); };
    EXPECT_EQ(with_flaw(add(0.01F), kHalf).wrong, 1U);
    EXPECT_EQ(with_flaw(add(std::numeric_limits<float>::quiet_NaN()), kHalf).wrong, 1U);
    EXPECT_EQ(with_flaw(add(std::numeric_limits<float>::infinity()), kHalf).wrong, 1U);
    const SelfTestResult result = with_flaw(add(0.01F), kHalf);
    EXPECT_GT(result.worst, 1);
    EXPECT_LT(result.as_simulator, 192U);
}

TEST(DoctorSelfTest, ARunThatNeverHappenedIsSeen) {
    Flaw flaw;
    flaw.no_run = true;
    for (const SelfTestCase& test : {kInt, kWholeHalf, kHalf})
        EXPECT_EQ(with_flaw(flaw, test).wrong, 192U);
}

TEST(DoctorSelfTest, SlicesInTheWrongPlaceAreSeen) {
    Flaw flaw;
    flaw.slices_from_start = true;
    SelfTestCase test = kInt;
    test.binding = Binding::kSlices;
    EXPECT_GT(with_flaw(flaw, test).wrong, 0U);
    EXPECT_TRUE(with_flaw({}, test).passed());
}

TEST(DoctorSelfTest, ErrorsAreProblemsAndThreeTimeoutsEndIt) {
    Flaw flaw;
    flaw.run_status = Status(StatusCode::kDeviceError, "it burns");
    SelfTestResult result = with_flaw(flaw, kInt);
    EXPECT_FALSE(result.ran);
    EXPECT_EQ(check_of(result).health, Health::kProblem);
    EXPECT_THAT(check_of(result).found, HasSubstr("it burns"));
    result.test.needed = false;
    EXPECT_EQ(check_of(result).health, Health::kWarning);

    flaw.run_status = Status(StatusCode::kTimeout, "no answer");
    FlawedRuntime runtime(flaw);
    const std::vector<SelfTestResult> results = run_self_tests(runtime, true);
    for (size_t i = 0; i < results.size(); ++i) {
        EXPECT_EQ(check_of(results[i]).health, i < 3 ? Health::kProblem : Health::kSkipped) << i;
        EXPECT_FALSE(results[i].passed());
    }
}

}  // namespace
}  // namespace rknpu2
