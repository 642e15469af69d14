// SPDX-License-Identifier: MIT
// The program rknpu2-info from outside: what it prints where, and its exit status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gguf/gguf_writer.hpp"
#include "program_run.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::Outcome;
using ::testing::StartsWith;

class InfoProgram : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = ::testing::TempDir() + "rknpu2-info-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory_ = pattern;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    std::string write(const std::string& name, const std::string& bytes) const {
        const std::string path = directory_ + "/" + name;
        std::ofstream(path, std::ios::binary) << bytes;
        return path;
    }

    Outcome run(const std::string& arguments, const std::string& environment = "") const {
        return testing::run_program(RKNPU2_INFO_PROGRAM, arguments, environment, directory_);
    }

    void expect_one_line_failure(const Outcome& outcome, const std::string& part) const {
        EXPECT_EQ(outcome.status, 1);
        EXPECT_EQ(outcome.out, "");
        EXPECT_THAT(outcome.err, StartsWith("rknpu2-info: "));
        EXPECT_THAT(outcome.err, HasSubstr(part));
        EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    }

    std::string directory_;
};

TEST_F(InfoProgram, OverviewWithoutARuntimeSucceeds) {
    const Outcome text = run("", "GGML_RKNPU2_RUNTIME=" + test::missing_path("librknnrt.so"));
    EXPECT_EQ(text.status, 0);
    EXPECT_EQ(text.err, "");
    EXPECT_THAT(text.out,
                HasSubstr("GGML_RKNPU2_RUNTIME=" + test::missing_path("librknnrt.so") + ": no such file"));
    const Outcome machine = run("--json", "GGML_RKNPU2_RUNTIME=" + test::missing_path("librknnrt.so"));
    EXPECT_EQ(machine.status, 0);
    EXPECT_EQ(json::parse(machine.out)["runtime"]["found"], false);
}

// The tool finds the simulator where the plug-in does, beside its own directory.
TEST_F(InfoProgram, OverviewWithTheSimulator) {
#ifdef RKNPU2_SIMULATOR
    const Outcome outcome = run("--json", "GGML_RKNPU2_RUNTIME=sim");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const json runtime = json::parse(outcome.out)["runtime"];
    EXPECT_EQ(runtime["found"], true) << runtime;
    EXPECT_EQ(runtime["simulated"], true);
    EXPECT_TRUE(std::filesystem::equivalent(runtime["path"].get<std::string>(), RKNPU2_SIMULATOR));
    EXPECT_NE(runtime["api_version"], "");
    EXPECT_THAT(run("", "GGML_RKNPU2_RUNTIME=sim").out, HasSubstr("a simulator"));
#else
    GTEST_SKIP() << "the target rknnrt is not part of this build";
#endif
}

TEST_F(InfoProgram, UnknownSettingIsAWarning) {
    const Outcome outcome = run("--json", "GGML_RKNPU2_PRECISON=exact");
    EXPECT_EQ(outcome.status, 0);
    EXPECT_THAT(outcome.err, HasSubstr("GGML_RKNPU2_PRECISON is not a setting"));
    EXPECT_EQ(json::parse(outcome.out)["unknown_settings"], json({"GGML_RKNPU2_PRECISON"}));
}

TEST_F(InfoProgram, BadSettingsFilesAndOptionsFailInOneLine) {
    expect_one_line_failure(run("", "GGML_RKNPU2_CORES=9"), "GGML_RKNPU2_CORES=9: must be 1 to 3");
    expect_one_line_failure(run(test::missing_path("none.gguf")),
                            test::missing_path("none.gguf") + ": cannot be read: No such file");
    expect_one_line_failure(run("'" + directory_ + "'"), "not a regular file");
    expect_one_line_failure(run("'" + write("empty.gguf", "") + "'"), "truncated");
    expect_one_line_failure(run("'" + write("text.gguf", "hello, world") + "' --json"), "not a GGUF file");
    const std::string whole = small_model().bytes();
    expect_one_line_failure(run("'" + write("cut.gguf", whole.substr(0, whole.size() - 1)) + "'"),
                            "truncated");
    expect_one_line_failure(run("--no-such-option"), "--no-such-option");
    expect_one_line_failure(run("--ngl many"), "--ngl");
    expect_one_line_failure(run("a.gguf b.gguf"), "b.gguf");
}

TEST_F(InfoProgram, ModelInBothForms) {
    const std::string path = write("small.gguf", small_model().bytes());
    const Outcome text = run("'" + path + "'", "GGML_RKNPU2_RUNTIME=" + test::missing_path());
    EXPECT_EQ(text.status, 0);
    EXPECT_THAT(text.out, HasSubstr("7 of 7 weight matrices on the NPU"));
    EXPECT_THAT(text.out, HasSubstr("the plan for a machine with an NPU"));
    const Outcome exact = run("'" + path + "' --json --ngl 1", "GGML_RKNPU2_PRECISION=exact");
    EXPECT_EQ(exact.status, 0);
    const json report = json::parse(exact.out);
    EXPECT_EQ(report["precision"], "exact");
    EXPECT_EQ(report["weight_matrices_on_npu"], 1);
    EXPECT_EQ(report["model"], path);
}

// As the plug-in chooses by: not what is compiled in.
TEST_F(InfoProgram, TimesOfAModelAreTheBoards) {
#ifdef RKNPU2_SIMULATOR
    const std::string path = write("small.gguf", small_model().bytes());
    const std::string slow = write("slow.rates", "version = 1\nnpu_run_us = 30000\n");
    const auto token_ms = [&](const std::string& rates) {
        const Outcome outcome =
            run("'" + path + "' --json", "GGML_RKNPU2_RUNTIME=sim GGML_RKNPU2_RATES='" + rates + "'");
        const json report = json::parse(outcome.out);
        EXPECT_THAT(report["rates"].get<std::string>(), HasSubstr(rates == slow ? slow : "the model's"));
        return report["precisions"][0]["token_ms"].get<double>();
    };
    const double model = token_ms("model");
    EXPECT_GT(model, 0);
    EXPECT_GT(token_ms(slow), 30 + model);
#else
    GTEST_SKIP() << "the target rknnrt is not part of this build";
#endif
}

TEST_F(InfoProgram, AFullDiskIsAFailure) {
    if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
    const Outcome outcome = run("--json >/dev/full");
    EXPECT_EQ(outcome.status, 1);
    EXPECT_THAT(outcome.err, HasSubstr("cannot write"));
}

TEST_F(InfoProgram, HelpAndVersion) {
    EXPECT_THAT(run("--help").out, HasSubstr("--ngl"));
    EXPECT_EQ(run("--help").status, 0);
    EXPECT_EQ(run("--version").out, "ggml-rknpu2 " RKNPU2_VERSION "\n");
}

// 30 layers of 7 matrices and the tied output head.
TEST_F(InfoProgram, DefaultModel) {
    const std::string model = RKNPU2_MODEL;
    if (model.empty()) GTEST_SKIP() << "RKNPU2_MODEL is not set";
    const std::pair<const char*, int> cases[] = {{"", 211}, {"--ngl 10", 64}, {"--ngl 0", 0}};
    for (const auto& [options, on_npu] : cases) {
        const Outcome outcome = run("'" + model + "' --json " + options);
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        const json report = json::parse(outcome.out);
        EXPECT_EQ(report["layers"], 30);
        EXPECT_EQ(report["weight_matrices"], 211);
        EXPECT_EQ(report["weight_matrices_on_npu"], on_npu) << options;
    }
}

}  // namespace
}  // namespace rknpu2
