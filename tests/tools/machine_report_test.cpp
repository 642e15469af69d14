// SPDX-License-Identifier: MIT
#include "machine_report.hpp"
#include "support/missing_path.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace rknpu2 {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

TEST(MachineReport, MissingRuntimeIsInformation) {
    Config config;
    config.runtime = test::missing_path("librknnrt.so");
    config.cores = 2;
    config.threads = 3;
    config.affinity = {4, 5};
    config.unknown = {"GGML_RKNPU2_TYPO"};
    const MachineReport report = look_at_machine(config, test::missing_path());
    const json document = json::parse(to_json(report));
    EXPECT_EQ(document["schema"], 1);
    EXPECT_EQ(document["version"], RKNPU2_VERSION);
    EXPECT_EQ(document["runtime"]["setting"], test::missing_path("librknnrt.so"));
    EXPECT_EQ(document["runtime"]["found"], false);
    EXPECT_THAT(document["runtime"]["error"].get<std::string>(), HasSubstr("no such file"));
    EXPECT_EQ(document["npu_cores"], (json{{"used", 2}, {"total", 3}}));
    EXPECT_EQ(document["cpu"]["threads"], 3);
    EXPECT_EQ(document["cpu"]["affinity"], json({4, 5}));
    EXPECT_EQ(document["unknown_settings"], json({"GGML_RKNPU2_TYPO"}));
    EXPECT_GT(document["memory"]["total"].get<uint64_t>(), 0U);
    EXPECT_EQ(document["settings"].size(), describe_settings().size());
    EXPECT_THAT(to_text(report), HasSubstr("no such file"));
    EXPECT_THAT(to_text(report), HasSubstr("3 on CPUs 4, 5"));
}

TEST(MachineReport, SimulatorIsLookedForBesideTheTool) {
    Config config;
    config.runtime = "sim";
    const MachineReport report = look_at_machine(config, test::missing_path("bin"));
    EXPECT_THAT(report.runtime_error, HasSubstr(test::missing_path("sim/librknnrt.so")));
}

TEST(MachineReport, NotALibrary) {
    Config config;
    config.runtime = "/dev/null";
    const MachineReport report = look_at_machine(config, ".");
    EXPECT_THAT(report.runtime_error, HasSubstr("/dev/null"));
    EXPECT_EQ(report.runtime_path, "/dev/null");
}

TEST(MachineReport, TextListsEverySetting) {
    const std::string text = to_text(look_at_machine(Config(), "."));
    for (const SettingInfo& setting : describe_settings()) {
        EXPECT_THAT(text, HasSubstr(setting.name));
        EXPECT_THAT(text, HasSubstr(setting.help));
        EXPECT_THAT(text, HasSubstr(setting.range));
    }
}

}  // namespace
}  // namespace rknpu2
