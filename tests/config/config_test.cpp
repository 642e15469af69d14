// SPDX-License-Identifier: MIT
#include "config/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace rknpu2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Clears every setting around a test, and puts nothing back: tests set what they need.
class ConfigTest : public ::testing::Test {
  protected:
    void SetUp() override { clear(); }
    void TearDown() override { clear(); }
    static void clear() {
        for (const SettingInfo& setting : describe_settings())
            unsetenv(setting.name);
        unsetenv("GGML_RKNPU2_PRECISON");
        unsetenv("RKNPU2_CACHE");
    }
};

TEST_F(ConfigTest, DefaultsWithoutEnvironment) {
    const Result<Config> config = Config::from_environment();
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(config.value().runtime, "auto");
    EXPECT_EQ(config.value().precision, Precision::kBalanced);
    EXPECT_EQ(config.value().cores, 3);
    EXPECT_EQ(config.value().columns, 16384);
    EXPECT_TRUE(config.value().checksums_file.empty());
    EXPECT_TRUE(config.value().fuse);
    EXPECT_EQ(on_error_text(config.value().on_error), "retry,reset,fail");
    EXPECT_EQ(config.value().lock, "auto");
    EXPECT_TRUE(config.value().unknown.empty());
}

TEST_F(ConfigTest, ReadsEachSetting) {
    setenv("GGML_RKNPU2_RUNTIME", "sim", 1);
    setenv("GGML_RKNPU2_PRECISION", "exact", 1);
    setenv("GGML_RKNPU2_CORES", "2", 1);
    setenv("GGML_RKNPU2_COLUMNS", "4096", 1);
    setenv("GGML_RKNPU2_THREADS", "5", 1);
    setenv("GGML_RKNPU2_AFFINITY", "4-6,1", 1);
    setenv("GGML_RKNPU2_STATS", "/tmp/x.json", 1);
    setenv("GGML_RKNPU2_CHECKSUMS", "/tmp/y.txt", 1);
    setenv("GGML_RKNPU2_EXPERTS", "npu", 1);
    setenv("GGML_RKNPU2_COHERENCY", "lines", 1);
    setenv("GGML_RKNPU2_FUSE", "0", 1);
    const Result<Config> config = Config::from_environment();
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(config.value().runtime, "sim");
    EXPECT_EQ(config.value().precision, Precision::kExact);
    EXPECT_EQ(config.value().cores, 2);
    EXPECT_EQ(config.value().columns, 4096);
    EXPECT_EQ(config.value().threads, 5);
    EXPECT_THAT(config.value().affinity, ElementsAre(4, 5, 6, 1));
    EXPECT_EQ(config.value().counters_file, "/tmp/x.json");
    EXPECT_EQ(config.value().checksums_file, "/tmp/y.txt");
    EXPECT_EQ(config.value().experts, Experts::kNpu);
    EXPECT_EQ(config.value().coherency, CoherencyChoice::kLines);
    EXPECT_FALSE(config.value().fuse);
}

TEST_F(ConfigTest, TheWeightCacheIsOffOrADirectory) {
    setenv("RKNPU2_CACHE", "/some/cache", 1);
    const std::pair<const char*, const char*> places[] = {
        {"", ""}, {"off", ""}, {"auto", "/some/cache/weights"}, {"./here", "./here"}, {"/a b/c", "/a b/c"}};
    for (const auto& [text, directory] : places) {
        setenv("GGML_RKNPU2_WEIGHT_CACHE", text, 1);
        const Result<Config> config = Config::from_environment();
        ASSERT_TRUE(config.ok()) << text;
        EXPECT_EQ(config.value().weight_cache_directory, directory) << text;
        EXPECT_EQ(config.value().weight_cache_mb, 8192);
    }
    setenv("GGML_RKNPU2_WEIGHT_CACHE_MB", "12", 1);
    EXPECT_EQ(Config::from_environment().value().weight_cache_mb, 12);
}

TEST_F(ConfigTest, PlainMatricesAreTheNpusOrTheModels) {
    EXPECT_EQ(Config::from_environment().value().matrices, Matrices::kAuto);
    for (const auto& [text, matrices] : {std::pair{"npu", Matrices::kNpu}, {"auto", Matrices::kAuto}}) {
        setenv("GGML_RKNPU2_MATRICES", text, 1);
        EXPECT_EQ(Config::from_environment().value().matrices, matrices);
    }
    setenv("GGML_RKNPU2_MATRICES", "cpu", 1);
    EXPECT_FALSE(Config::from_environment().ok());
}

TEST_F(ConfigTest, WhatIsDoneAfterAFailureIsAList) {
    for (const char* const text : {"fail", "cpu", "retry", "reset,retry", "retry,retry,reset,cpu",
                                   "retry,retry,retry,retry,retry,retry,retry,fail"}) {
        setenv("GGML_RKNPU2_ON_ERROR", text, 1);
        const Result<Config> config = Config::from_environment();
        ASSERT_TRUE(config.ok()) << text;
        EXPECT_EQ(on_error_text(config.value().on_error), text);
    }
}

TEST_F(ConfigTest, TheLockAndTheProfileAreAWordOrAFile) {
    for (const char* const text : {"auto", "none", "./lock", "/run/lock/npu"}) {
        setenv("GGML_RKNPU2_LOCK", text, 1);
        setenv("GGML_RKNPU2_PROFILE", text, 1);
        const Result<Config> config = Config::from_environment();
        ASSERT_TRUE(config.ok()) << text;
        EXPECT_EQ(config.value().lock, text);
        EXPECT_EQ(config.value().profile, text);
    }
}

TEST_F(ConfigTest, TheUsersProfilesAreInTheConfigurationDirectory) {
    const char* const home = std::getenv("HOME");
    const std::string before = home != nullptr ? home : "";
    setenv("XDG_CONFIG_HOME", "/etc/xdg", 1);
    EXPECT_EQ(Config::from_environment().value().profile_directory, "/etc/xdg/ggml-rknpu2");
    unsetenv("XDG_CONFIG_HOME");
    setenv("HOME", "/home/user", 1);
    EXPECT_EQ(Config::from_environment().value().profile_directory, "/home/user/.config/ggml-rknpu2");
    unsetenv("HOME");
    EXPECT_EQ(Config::from_environment().value().profile_directory, "");
    if (home != nullptr) setenv("HOME", before.c_str(), 1);
}

TEST_F(ConfigTest, MappingsOfMallocAreAWord) {
    for (const auto& [text, value] :
         {std::pair{"auto", MallocMmap::kAuto}, {"keep", MallocMmap::kKeep}, {"off", MallocMmap::kOff}}) {
        setenv("GGML_RKNPU2_MALLOC_MMAP", text, 1);
        EXPECT_EQ(Config::from_environment().value().malloc_mmap, value);
    }
}

TEST_F(ConfigTest, TheWaitAtAStartIsSeconds) {
    EXPECT_EQ(Config::from_environment().value().start_wait, 5);
    setenv("GGML_RKNPU2_START_WAIT", "0", 1);
    EXPECT_EQ(Config::from_environment().value().start_wait, 0);
}

TEST_F(ConfigTest, ContextsAreANumberOrAuto) {
    for (const auto& [text, contexts] : {std::pair{"auto", 0}, {"64", 64}, {"100000", 100000}}) {
        setenv("GGML_RKNPU2_CONTEXTS", text, 1);
        const Result<Config> config = Config::from_environment();
        ASSERT_TRUE(config.ok()) << text;
        EXPECT_EQ(config.value().contexts, contexts);
    }
}

TEST_F(ConfigTest, PrecisionsHaveTheirNames) {
    for (const auto& [text, precision] : {std::pair{"balanced", Precision::kBalanced},
                                          {"fast", Precision::kFast},
                                          {"exact", Precision::kExact},
                                          {"reference", Precision::kReference},
                                          {"naive", Precision::kNaive},
                                          {"compact", Precision::kCompact}}) {
        setenv("GGML_RKNPU2_PRECISION", text, 1);
        EXPECT_EQ(Config::from_environment().value().precision, precision);
        EXPECT_STREQ(precision_name(precision), text);
    }
    setenv("GGML_RKNPU2_AFFINITY", "3,2-3,", 1);
    EXPECT_THAT(Config::from_environment().value().affinity, ElementsAre(3, 2));
}

TEST_F(ConfigTest, ABudgetIsAShareOfEightBits) {
    EXPECT_EQ(Config::from_environment().value().compact_bytes, 0.63);
    for (const auto& [text, bytes] : {std::pair{"0.5", 0.5}, {"0.75", 0.75}, {"1", 1.0}, {"0.625", 0.625}}) {
        setenv("GGML_RKNPU2_COMPACT_BYTES", text, 1);
        EXPECT_NEAR(Config::from_environment().value().compact_bytes, bytes, 1e-12) << text;
    }
}

TEST_F(ConfigTest, RefusesWhatIsOutOfRangeByName) {
    const std::pair<const char*, const char*> bad[] = {
        {"GGML_RKNPU2_COMPACT_BYTES", "0.49"},
        {"GGML_RKNPU2_COMPACT_BYTES", "1.01"},
        {"GGML_RKNPU2_COMPACT_BYTES", "0."},
        {"GGML_RKNPU2_COMPACT_BYTES", ".7"},
        {"GGML_RKNPU2_COMPACT_BYTES", "0.7x"},
        {"GGML_RKNPU2_COMPACT_BYTES", "0.6.3"},
        {"GGML_RKNPU2_COLUMNS", "0"},
        {"GGML_RKNPU2_COLUMNS", "100"},
        {"GGML_RKNPU2_COLUMNS", "131136"},
        {"GGML_RKNPU2_CORES", "9"},
        {"GGML_RKNPU2_CORES", "0"},
        {"GGML_RKNPU2_CORES", "two"},
        {"GGML_RKNPU2_CORES", "2x"},
        {"GGML_RKNPU2_THREADS", "-1"},
        {"GGML_RKNPU2_PRECISION", "best"},
        {"GGML_RKNPU2_AFFINITY", "3-1"},
        {"GGML_RKNPU2_AFFINITY", "a"},
        {"GGML_RKNPU2_AFFINITY", "1,,2"},
        {"GGML_RKNPU2_AFFINITY", ","},
        {"GGML_RKNPU2_AFFINITY", "1,,"},
        {"GGML_RKNPU2_AFFINITY", "99999"},
        {"GGML_RKNPU2_WEIGHT_CACHE", "on"},
        {"GGML_RKNPU2_WEIGHT_CACHE_MB", "0"},
        {"GGML_RKNPU2_ON_ERROR", "again"},
        {"GGML_RKNPU2_ON_ERROR", "retry,"},
        {"GGML_RKNPU2_ON_ERROR", ",cpu"},
        {"GGML_RKNPU2_ON_ERROR", "cpu,retry"},
        {"GGML_RKNPU2_ON_ERROR", "fail,cpu"},
        {"GGML_RKNPU2_ON_ERROR", "retry,retry,retry,retry,retry,retry,retry,retry,retry"},
        {"GGML_RKNPU2_START_WAIT", "61"},
        {"GGML_RKNPU2_START_WAIT", "-1"},
        {"GGML_RKNPU2_MALLOC_MMAP", "on"},
        {"GGML_RKNPU2_CONTEXTS", "63"},
        {"GGML_RKNPU2_CONTEXTS", "0"},
        {"GGML_RKNPU2_CONTEXTS", "many"},
        {"GGML_RKNPU2_LOCK", "off"},
        {"GGML_RKNPU2_PROFILE", "lines"},
        {"GGML_RKNPU2_FUSE", "off"},
    };
    for (const auto& [name, value] : bad) {
        clear();
        setenv(name, value, 1);
        const Result<Config> config = Config::from_environment();
        ASSERT_FALSE(config.ok()) << name << "=" << value;
        EXPECT_THAT(config.status().message(), HasSubstr(std::string(name) + "=" + value + ": must be "));
    }
}

TEST_F(ConfigTest, ReportsUnknownNames) {
    setenv("GGML_RKNPU2_PRECISON", "exact", 1);
    const Result<Config> config = Config::from_environment();
    ASSERT_TRUE(config.ok());
    EXPECT_THAT(config.value().unknown, ElementsAre("GGML_RKNPU2_PRECISON"));
}

}  // namespace
}  // namespace rknpu2
