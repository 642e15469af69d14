// SPDX-License-Identifier: MIT
// The self-test: passes on devices that multiply by the specification, and sees every way to be wrong.
#include "doctor_self_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <type_traits>

#include "doctor_report.hpp"
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
const SelfTestCase kInt4 = small(NpuArithmetic::kInt4, true);
const SelfTestCase kNarrowInt = small(NpuArithmetic::kInt8Narrow, true);
const SelfTestCase kNarrowHalf = small(NpuArithmetic::kFloat16Narrow, true);

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
    for (const SelfTestCase& test : self_test_cases(true)) {
        const Check check = check_of(run_self_test(runtime, test));
        EXPECT_EQ(check.health, Health::kOk) << check.title << ": " << check.found;
    }
    EXPECT_EQ(runtime.state().contexts, 0);
    EXPECT_EQ(runtime.state().memories, 0);
}

TEST(DoctorSelfTest, TheSimulatorPassesAllAndAddsAsItSays) {
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(RKNPU2_SIMULATOR);
    ASSERT_TRUE(runtime.ok()) << runtime.status().message();
    for (const SelfTestCase& test : self_test_cases(false)) {
        const SelfTestResult result = run_self_test(*runtime.value(), test);
        const Check check = check_of(result);
        EXPECT_EQ(check.health, Health::kOk) << check.title << ": " << check.found;
        if (operand_type(result.test.arithmetic) != DType::kFloat16) continue;
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

// By type and layout: int8 and fp16 to wide results have B native, normal or transposed with A and C native
// or normal, as has fp16 to fp16; int8 to int8 no transposed B, int4 only native B.
TEST(DoctorSelfTest, CasesCoverEveryTypeLayoutAndClassOfShape) {
    for (const bool quick : {false, true}) {
        std::map<std::tuple<NpuArithmetic, Layout, Layout>, std::vector<SelfTestCase>> modes;
        for (const SelfTestCase& test : self_test_cases(quick))
            modes[{test.arithmetic, test.ac_layout, test.b_layout}].push_back(test);
        std::map<NpuArithmetic, int> of_type;
        for (const auto& [mode, tests] : modes) {
            const auto& [type, ac, b] = mode;
            ++of_type[type];
            const size_t group = kernel_group(operand_type(type));
            const auto any = [&tests = tests](auto&& fits) {
                return std::any_of(tests.begin(), tests.end(), fits);
            };
            const SelfTestCase& first = tests.front();
            EXPECT_TRUE(any([](const SelfTestCase& t) { return t.M == 1; })) << first.what;
            EXPECT_TRUE(any([](const SelfTestCase& t) { return t.M == 7; })) << first.what;
            EXPECT_TRUE(any([](const SelfTestCase& t) { return t.M > 50 && t.M % 2 == 1; })) << first.what;
            EXPECT_TRUE(any([&](const SelfTestCase& t) { return t.K == 32 && t.N == group; })) << first.what;
            EXPECT_TRUE(any([&](const SelfTestCase& t) { return t.K % 64 != 0 && t.N % (2 * group) != 0; }))
                << first.what;
            EXPECT_TRUE(quick || any([](const SelfTestCase& t) { return t.K >= 8192; })) << first.what;
            EXPECT_TRUE(quick || any([](const SelfTestCase& t) { return t.N >= 4096; })) << first.what;
            if (operand_type(type) != DType::kFloat16) continue;
            EXPECT_TRUE(any([](const SelfTestCase& t) { return !t.integers; })) << first.what;
        }
        EXPECT_EQ(of_type, (std::map<NpuArithmetic, int>{{NpuArithmetic::kInt8, 6},
                                                         {NpuArithmetic::kFloat16, 6},
                                                         {NpuArithmetic::kInt4, 2},
                                                         {NpuArithmetic::kInt8Narrow, 4},
                                                         {NpuArithmetic::kFloat16Narrow, 6}}));
    }
}

// A device that takes one layout for another is wrong in every type that has both.
TEST(DoctorSelfTest, AMistakenLayoutIsSeen) {
    const auto misread = [](Layout ac, Layout b) {
        Flaw flaw;
        flaw.misread = [ac, b](ContextSpec& spec) {
            spec.ac_layout = ac;
            spec.b_layout = b;
        };
        return flaw;
    };
    constexpr Layout kLayouts[] = {Layout::kNormal, Layout::kNative, Layout::kTransposed};
    for (const SelfTestCase& test : {kInt, kWholeHalf, kHalf, kInt4, kNarrowInt, kNarrowHalf}) {
        for (const Layout ac : {Layout::kNormal, Layout::kNative}) {
            for (const Layout b : kLayouts) {
                SelfTestCase other = test;
                other.ac_layout = ac;
                other.b_layout = b;
                EXPECT_TRUE(with_flaw({}, other).passed()) << check_of(with_flaw({}, other)).found;
                const Layout wrong_ac = ac == Layout::kNormal ? Layout::kNative : Layout::kNormal;
                EXPECT_GT(with_flaw(misread(wrong_ac, b), other).wrong, 0U) << check_of({{}, other}).title;
                for (const Layout wrong_b : kLayouts) {
                    if (wrong_b == b) continue;
                    EXPECT_GT(with_flaw(misread(ac, wrong_b), other).wrong, 0U)
                        << check_of({{}, other}).title;
                }
            }
        }
    }
}

TEST(DoctorSelfTest, NarrowResultsAreComparedToTheBit) {
    const auto flip = [](auto& x) { x = static_cast<std::remove_reference_t<decltype(x)>>(x ^ 1); };
    EXPECT_EQ(with_flaw(last_result<int16_t>(flip), kInt4).wrong, 1U);
    EXPECT_EQ(with_flaw(last_result<int8_t>(flip), kNarrowInt).wrong, 1U);
    EXPECT_EQ(with_flaw(last_result<uint16_t>(flip), kNarrowHalf).wrong, 1U);
    Flaw no_run;
    no_run.no_run = true;
    for (const SelfTestCase& test : {kInt4, kNarrowInt, kNarrowHalf})
        EXPECT_GT(with_flaw(no_run, test).wrong, 190U);

    // Fractions in fp16: the two nearest numbers at most.
    SelfTestCase fractions = kNarrowHalf;
    fractions.integers = false;
    const auto add = [](int by) {
        return last_result<uint16_t>([by](uint16_t& x) { x = static_cast<uint16_t>(x + by); });
    };
    EXPECT_TRUE(with_flaw({}, fractions).passed());
    EXPECT_EQ(with_flaw(add(2), fractions).wrong, 1U);
    EXPECT_EQ(with_flaw(add(-2), fractions).wrong, 1U);
    EXPECT_EQ(with_flaw(add(0x8000), fractions).wrong, 1U);  // the sign
}

TEST(DoctorSelfTest, WhatIsNotClippedIsSeen) {
    SelfTestCase test = kInt4;
    test.K = 544;  // 544 times 64 is more than 16 bits hold
    EXPECT_TRUE(with_flaw({}, test).passed());
    Flaw wraps;
    wraps.spoil = [](NpuMemory& result) {
        *reinterpret_cast<int16_t*>(result.data()) = static_cast<int16_t>(544 * 64 - 0x10000);
    };
    const SelfTestResult result = with_flaw(wraps, test);
    EXPECT_EQ(result.wrong, 1U);
    EXPECT_EQ(result.first.expected, 32767);
}

// What passed of a type and layout shares a line; what failed has its own, with all that there is to say.
TEST(DoctorSelfTest, LinesOfWhatThePlugInDoesNotUse) {
    const auto result_of = [](size_t M, bool right) {
        SelfTestResult result;
        result.test = kInt4;
        result.test.what = "odd rows";
        result.test.use = Use::kOther;
        result.test.ac_layout = Layout::kNormal;
        result.test.M = M;
        result.state = StepState::kRan;
        if (!right) {
            result.wrong = 5;
            result.first = {2, 3, 4, 77};
        }
        return result;
    };
    const SelfTestResult left_out = {{StepState::kLeftOut, kTooMuchWentWrong}, result_of(9, true).test};
    const std::vector<Check> checks =
        checks_of({result_of(1, true), result_of(7, false), result_of(8, true), left_out});
    ASSERT_EQ(checks.size(), 3U);
    EXPECT_EQ(checks[0].health, Health::kProblem);
    EXPECT_EQ(checks[0].id, "self_test.int4_int16.ac_normal.b_native.7x96x64");
    EXPECT_EQ(checks[0].title, "int4 to int16, B native, A and C normal, odd rows");
    EXPECT_EQ(checks[0].found,
              "7x96x64 on core 0: 5 of 448 results wrong, first at row 2 column 3: 77 instead of 4");
    EXPECT_THAT(checks[0].advice, HasSubstr("the plug-in does not use this"));
    EXPECT_EQ(checks[1].health, Health::kOk);
    EXPECT_EQ(checks[1].id, "self_test.int4_int16.ac_normal.b_native");
    EXPECT_EQ(checks[1].title, "int4 to int16, B native, A and C normal");
    EXPECT_EQ(checks[1].found, "1x96x64, 8x96x64: every bit right");
    EXPECT_EQ(checks[2].health, Health::kSkipped);
    EXPECT_EQ(checks[2].found, "9x96x64: left out after three time-outs or crashes");
}

TEST(DoctorSelfTest, OneBitOfOneResultIsSeen) {
    const SelfTestResult integers = with_flaw(last_result<int32_t>([](int32_t& x) { x ^= 1; }), kInt);
    EXPECT_TRUE(integers.ran());
    EXPECT_EQ(integers.wrong, 1U);
    EXPECT_EQ(integers.first.m, 2U);
    EXPECT_EQ(integers.first.n, 63U);
    EXPECT_EQ(std::fabs(integers.first.got - integers.first.expected), 1);
    const Check check = check_of(integers);
    EXPECT_EQ(check.health, Health::kProblem);
    EXPECT_THAT(check.found, HasSubstr("1 of 192 results wrong, first at row 2 column 63"));
    EXPECT_NE(check.advice, "");
    // No digit of an int32 is lost.
    SelfTestResult large = integers;
    large.first = {0, 0, 2147483646, 2147483647};
    EXPECT_THAT(check_of(large).found, HasSubstr("2147483647 instead of 2147483646"));

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

TEST(DoctorSelfTest, ErrorsAreProblemsWhereThePlugInNeedsTheCase) {
    Flaw flaw;
    flaw.run_status = Status(StatusCode::kDeviceError, "it burns");
    SelfTestResult result = with_flaw(flaw, kInt);
    EXPECT_FALSE(result.ran());
    EXPECT_EQ(check_of(result).health, Health::kProblem);
    EXPECT_THAT(check_of(result).found, HasSubstr("it burns"));
    for (const Use use : {Use::kLargeModels, Use::kOther}) {
        result.test.use = use;
        EXPECT_EQ(check_of(result).health, Health::kWarning);
        EXPECT_NE(check_of(result).advice, "");
    }
}

}  // namespace
}  // namespace rknpu2
