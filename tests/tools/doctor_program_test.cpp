// SPDX-License-Identifier: MIT
// The program rknpu2-doctor from outside: text, JSON and exit status, on fake boards and the
// simulator, well and with faults.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "doctor_self_test.hpp"
#include "fake_board.hpp"
#include "program_run.hpp"
#include "support/missing_path.hpp"
#include "timing/profile.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;
using test::FakeBoard;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Outcome;
using ::testing::StartsWith;
using testing::text_of;

class DoctorProgram : public ::testing::Test {
  protected:
    Outcome run(const std::string& arguments, const std::string& environment = "") const {
        return testing::run_program(RKNPU2_DOCTOR_PROGRAM, arguments, environment, board_.root());
    }
    std::string root() const { return "--root '" + board_.root() + "' "; }

    FakeBoard board_;
};

// What the simulator's checker says of other rules than those that the doctor breaks on purpose.
std::string other_findings(const std::string& text) {
    std::istringstream lines(text);
    std::string others;
    for (std::string line; std::getline(lines, line);) {
        bool expected = line.starts_with("rknnsim: check: exit: in all:");
        for (const char* const rule : {"[clipped]", "[missing-sync]", "[needless-sync]", "[many-contexts]"})
            expected = expected || line.find(rule) != std::string::npos;
        if (!expected) others += line + "\n";
    }
    return others;
}

// The lines of a report that are of that health.
std::vector<std::string> ids(const json& report, const std::string& health) {
    std::vector<std::string> found;
    for (const json& check : report["checks"]) {
        if (check["health"] == health) found.push_back(check["id"]);
    }
    return found;
}

TEST_F(DoctorProgram, AHealthyBoardWithTheSimulator) {
    const std::string report = board_.root() + "/report.json";
    const Outcome outcome =
        run(root() + "--runtime sim --quick --output '" + report + "'", "RKNNSIM_CHECK=warn");
    EXPECT_EQ(outcome.status, 0) << outcome.out;
    // What the doctor does wrong on purpose, to see what comes of it; nothing else may be said.
    EXPECT_EQ(other_findings(outcome.err), "");
    EXPECT_THAT(outcome.out, HasSubstr("  ok       NPU driver: rknpu 0.9.8\n"));
    EXPECT_THAT(outcome.out, HasSubstr("SIMULATED"));
    EXPECT_THAT(outcome.out, HasSubstr(" 0 warnings, 0 problems, 3 skipped\n"));

    const json document = json::parse(text_of(report));
    EXPECT_EQ(document["schema"], 1);
    EXPECT_EQ(document["tool"], "rknpu2-doctor");
    EXPECT_EQ(document["version"], RKNPU2_VERSION);
    EXPECT_EQ(document["health"], "ok");
    EXPECT_EQ(document["board"], "Radxa ROCK 5B");
    EXPECT_EQ(document["quick"], true);
    EXPECT_EQ(document["runtime"]["simulated"], true);
    EXPECT_EQ(document["measurements"]["clock"], "virtual");
    for (const json& shape : document["measurements"]["shapes"])
        EXPECT_NEAR(shape["ratio"].get<double>(), 1, 0.001) << shape;
}

TEST_F(DoctorProgram, TheJsonHasOneShape) {
    const Outcome outcome = run(root() + "--runtime sim --quick --json");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const json document = json::parse(outcome.out);
    std::set<std::string> names;
    for (const auto& [name, value] : document.items())
        names.insert(name);
    EXPECT_EQ(names, (std::set<std::string>{"schema", "tool", "version", "when", "quick", "root", "board",
                                            "kernel", "health", "running", "runtime", "checks", "self_test",
                                            "readings", "coherency", "measurements"}));
    std::set<std::string> seen;
    for (const json& check : document["checks"]) {
        EXPECT_EQ(check.size(), 5U) << check;
        EXPECT_TRUE(seen.insert(check["id"]).second) << check["id"];
        EXPECT_TRUE(check["title"].is_string() && check["found"].is_string() && check["advice"].is_string());
    }
    EXPECT_FALSE(document["self_test"].empty());
    for (const json& test : document["self_test"]) {
        EXPECT_TRUE(test["passed"]) << test;
        EXPECT_EQ(test.contains("as_simulator"), test["type"] == "fp16") << test;
    }
}

// What it measures comes from the runtime, not from the profile that it compares with.
TEST_F(DoctorProgram, ADisagreementInTimesIsReported) {
    std::string slow = board_.root() + "/slow.profile";
    rknnsim::Profile profile;
    ASSERT_TRUE(rknnsim::load_profile("", &profile).ok());
    profile.submit_us = 71;
    profile.stream_gbps[2] = 12.5;
    std::string text;
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters())
        text += std::string(parameter.name) + " = " + std::to_string(parameter.value(profile)) + "\n";
    board_.write("/slow.profile", text);
    const Outcome outcome = run(root() + "--runtime sim --quick --json", "RKNNSIM_PROFILE='" + slow + "'");
    EXPECT_EQ(outcome.status, 0) << outcome.err;  // slow is no problem, only a warning
    const json document = json::parse(outcome.out);
    EXPECT_EQ(document["health"], "warning");
    EXPECT_THAT(ids(document, "warning"),
                ::testing::UnorderedElementsAre("speed.int8.1x32x32.1", "speed.int8.1x4096x4096.3"));
}

TEST_F(DoctorProgram, LostAndFailingRunsAreProblems) {
    // Lost without a word: only the comparison can tell.
    Outcome outcome = run(root() + "--runtime sim --quick --json", "RKNNSIM_FAULTS=lost:nth=3:code=0");
    EXPECT_EQ(outcome.status, 1);
    json document = json::parse(outcome.out);
    EXPECT_EQ(document["health"], "problem");
    EXPECT_EQ(ids(document, "problem"), std::vector<std::string>{"self_test.int8.7x96x96"});
    EXPECT_EQ(document["self_test"][2]["wrong"], 7 * 96);
    EXPECT_EQ(document["self_test"][2]["first_wrong"]["got"], 0x55555555);

    outcome =
        run(root() + "--runtime sim --quick --json", "RKNNSIM_FAULTS=fail:rknn_matmul_run:from=1:code=-2");
    EXPECT_EQ(outcome.status, 1);
    document = json::parse(outcome.out);
    EXPECT_EQ(ids(document, "problem").size(), 3U);  // three cases
    EXPECT_THAT(ids(document, "skipped"), ::testing::Contains("speed"));
    size_t left_out = 0;
    for (const json& test : document["self_test"])
        left_out += test["error"] == "left out after three time-outs or crashes" ? 1 : 0;
    EXPECT_EQ(left_out, document["self_test"].size() - 3);
    EXPECT_EQ(document["self_test"].back()["ran"], false);
    EXPECT_TRUE(document["measurements"].is_null());
}

// A library that crashes or does not return: the report names the case, and the doctor ends.
TEST_F(DoctorProgram, ACrashAndAHangAreNamed) {
    for (const auto& [kind, ending] : {std::pair("crash", "ended by signal 6 (Aborted)"),
                                       std::pair("block", "gave no answer for 3 s and was stopped")}) {
        const std::string report = board_.root() + "/report.json";
        const Outcome outcome = run(root() + "--runtime sim --quick --patience 3 --output '" + report + "'",
                                    std::string("RKNNSIM_FAULTS=") + kind + ":rknn_matmul_run:nth=3");
        EXPECT_EQ(outcome.status, 1) << outcome.err;
        const json document = json::parse(text_of(report));
        EXPECT_EQ(document["running"], "");
        EXPECT_EQ(ids(document, "problem").size(), 3U);  // three cases
        EXPECT_THAT(ids(document, "skipped"), ::testing::Contains("speed"));
        EXPECT_EQ(document["self_test"][2]["error"], std::string("the process with the runtime ") + ending);
        EXPECT_EQ(document["self_test"][0]["passed"], true);
        EXPECT_EQ(document["self_test"].back()["error"], "left out after three time-outs or crashes");
    }
}

// Lost runs in types and layouts that the plug-in does not use: found, and named with the shape.
TEST_F(DoctorProgram, AWrongResultInAnyTypeAndLayoutIsNamed) {
    // The number of the run of seven rows in that type and layout, from 1.
    const auto number = [&](NpuArithmetic arithmetic, Layout ac, Layout b) {
        int runs = 0;
        for (const SelfTestCase& test : self_test_cases(true)) {
            runs += test.binding == Binding::kRows ? 2 : 1;
            if (test.arithmetic == arithmetic && test.ac_layout == ac && test.b_layout == b && test.M == 7)
                return std::to_string(runs);
        }
        ADD_FAILURE() << "there is no such case";
        return std::string("1");
    };
    std::string faults = "RKNNSIM_FAULTS=seed:0";
    for (const std::string& run : {number(NpuArithmetic::kInt8, Layout::kNormal, Layout::kNormal),
                                   number(NpuArithmetic::kFloat16, Layout::kNative, Layout::kTransposed),
                                   number(NpuArithmetic::kInt4, Layout::kNormal, Layout::kNative),
                                   number(NpuArithmetic::kFloat16Narrow, Layout::kNormal, Layout::kNormal)})
        faults += ",lost:nth=" + run + ":code=0";
    const Outcome outcome = run(root() + "--runtime sim --quick", faults);
    EXPECT_EQ(outcome.status, 1);
    for (const char* const line :
         {"int8 to int32, all normal, odd rows, odd groups: 7x96x96 on core 0: 672 of 672 results wrong, "
          "first "
          "at row 0 column 0: 1431655765 instead of 1572864 -> ",
          "fp16 to fp32, B transposed, A and C native, odd rows, odd groups: 7x96x48 on core 0: 336 of 336 ",
          "int4 to int16, B native, A and C normal, odd rows, odd groups: 7x96x192 on core 0: 1344 of 1344 "
          "results wrong, first at row 0 column 0: 21845 instead of 6144 -> ",
          "fp16 to fp16, all normal, odd rows, odd groups: 7x96x48 on core 0: 336 of 336 results wrong, "})
        EXPECT_THAT(outcome.out, HasSubstr(std::string("  problem  ") + line));
    EXPECT_THAT(outcome.out, HasSubstr(" 0 warnings, 4 problems, "));
}

// The runtime refuses what only others use: a warning, and the board is fit all the same.
TEST_F(DoctorProgram, ARefusalOfWhatThePlugInDoesNotUseIsAWarning) {
    const Outcome outcome = run(root() + "--runtime sim --quick --json", "RKNNSIM_TP_NORM_TYPES=1,4");
    EXPECT_EQ(outcome.status, 0);
    const json document = json::parse(outcome.out);
    EXPECT_EQ(document["health"], "warning");
    const std::vector<std::string> warnings = ids(document, "warning");
    ASSERT_EQ(warnings.size(), 6U);
    for (const std::string& id : warnings) {
        EXPECT_THAT(id, StartsWith("self_test.int8_int32.ac_"));
        EXPECT_THAT(id, HasSubstr(".b_transposed."));
    }
    for (const json& test : document["self_test"])
        EXPECT_EQ(test["ran"], !(test["type"] == "int8" && test["b_layout"] == "transposed")) << test;
}

TEST_F(DoctorProgram, ABoardWithoutARuntime) {
    const Outcome outcome = run(root() + "--runtime /dev/null");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.out, HasSubstr("  problem  runtime: cannot load /dev/null"));
    EXPECT_THAT(outcome.out, HasSubstr("  skipped  self-test: "));
    EXPECT_THAT(outcome.out, HasSubstr("  skipped  speed: "));
}

TEST_F(DoctorProgram, ProblemsOfTheSystemAreTheExitStatus) {
    board_.write("/sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.2\n");
    board_.write(FakeBoard::cpufreq("policy0") + "scaling_governor", "powersave\n");
    const Outcome outcome = run(root() + "--runtime sim --system");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.out, HasSubstr("  problem  NPU driver: rknpu 0.9.2 is too old"));
    EXPECT_THAT(outcome.out, HasSubstr("  warning  CPU clock: policy0 powersave"));
    EXPECT_THAT(outcome.out, HasSubstr(" 1 warnings, 1 problems, 3 skipped\n"));
}

TEST_F(DoctorProgram, TheSystemAloneLeavesTheNpuAlone) {
    const Outcome outcome =
        run(root() + "--runtime sim --system --json", "RKNNSIM_FAULTS=fail:rknn_matmul_run:from=1:code=-2");
    EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
    const json document = json::parse(outcome.out);
    EXPECT_EQ(document["health"], "ok");
    EXPECT_EQ(document["runtime"]["simulated"], true);
    EXPECT_EQ(ids(document, "skipped"), (std::vector<std::string>{"self_test", "reading", "speed"}));
    EXPECT_TRUE(document["self_test"].empty());
    EXPECT_TRUE(document["measurements"].is_null());
}

// A PC: what only a board has is left out with the simulator, and asked for otherwise.
TEST_F(DoctorProgram, APc) {
    board_.remove("/proc/device-tree");
    const Outcome simulated = run(root() + "--runtime sim --system");
    EXPECT_EQ(simulated.status, 0);
    EXPECT_THAT(simulated.out, HasSubstr("  skipped  chip: not an RK3588"));
    EXPECT_THAT(simulated.out, Not(HasSubstr("NPU driver")));
    const Outcome none = run(root() + "--quick", "GGML_RKNPU2_RUNTIME=" + test::missing_path("none.so"));
    EXPECT_EQ(none.status, 1);
    EXPECT_THAT(none.out, HasSubstr("  problem  chip: no device tree of an RK3588"));
    EXPECT_THAT(none.out, HasSubstr("  problem  runtime: GGML_RKNPU2_RUNTIME=" +
                                    test::missing_path("none.so") + ": no such file"));
}

TEST_F(DoctorProgram, WhatItCannotDoIsStatusTwoAndOneLine) {
    const auto refused = [&](const std::string& arguments, const std::string& part,
                             const std::string& environment = "") {
        const Outcome outcome = run(arguments, environment);
        EXPECT_EQ(outcome.status, 2) << arguments;
        EXPECT_EQ(outcome.out, "");
        EXPECT_THAT(outcome.err, StartsWith("rknpu2-doctor: "));
        EXPECT_THAT(outcome.err, HasSubstr(part));
        EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    };
    refused("--wrong", "--wrong");
    refused("--root " + test::missing_path(), "--root " + test::missing_path() + " is not a folder");
    refused("--system --board-profile mine", "--board-profile excludes --system");
    refused("--runtime sim", "GGML_RKNPU2_CORES=9", "GGML_RKNPU2_CORES=9");
    refused(root() + "--runtime /dev/null --output " + test::missing_path("report.json"),
            "cannot write " + test::missing_path("report.json"));
    EXPECT_EQ(run("--help").status, 0);
    EXPECT_THAT(run("--version").out, HasSubstr(RKNPU2_VERSION));
}

}  // namespace
}  // namespace rknpu2
