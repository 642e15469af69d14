// SPDX-License-Identifier: MIT
// Which rates count, when they are measured, and what becomes of kept files that are damaged or cannot be used.
#include "runtime/rates_choice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

MeasuredRates all_rates(double npu_gbps) {
    MeasuredRates rates;
    for (size_t i = 0; i < kRates; ++i)
        rates.set(static_cast<Rate>(i), 1 + static_cast<double>(i));
    rates.set(Rate::kNpuStreamGbps, npu_gbps);
    return rates;
}

class RatesChoiceTest : public ::testing::Test {
  protected:
    RatesChoiceTest() {
        std::string name = (fs::temp_directory_path() / "rknpu2-rates-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "cannot make " << name;
        root_ = name;
        config_.rates_directory = root_ + "/cache/rates";
        file_ = config_.rates_directory + "/" + key_.name() + ".rates";
    }
    ~RatesChoiceTest() override { fs::remove_all(root_); }

    RatesChoice choose(const MeasuredRates& of_profile = {}) {
        return choose_rates(config_, key_, of_profile, [&] {
            ++measured_;
            return found_;
        });
    }
    static void write(const std::string& path, const std::string& text) {
        fs::create_directories(fs::path(path).parent_path());
        std::ofstream(path, std::ios::binary) << text;
    }

    std::string root_, file_;
    Config config_;
    RatesKey key_{{"radxa-rock-5b", "2.3.2"}, size_t{16} << 30, 3, 4, "4,5,6,7", "0.25.3"};
    Result<MeasuredRates> found_ = all_rates(27);
    int measured_ = 0;
};

TEST_F(RatesChoiceTest, TheNameTellsWhatTheyHoldFor) {
    EXPECT_EQ(key_.name(), "radxa-rock-5b-2.3.2-16g-3n-4t");
    key_.memory_bytes -= size_t{300} << 20;  // the kernel keeps some
    EXPECT_EQ(key_.name(), "radxa-rock-5b-2.3.2-16g-3n-4t");
}

TEST_F(RatesChoiceTest, TheModelsAreNeverMeasured) {
    config_.rates = "model";
    EXPECT_TRUE(choose(all_rates(1)).rates.is_empty());
    config_.rates = "auto";
    key_.board.board = "simulator";
    const RatesChoice choice = choose();
    EXPECT_TRUE(choice.rates.is_empty());
    EXPECT_EQ(choice.info, "the model's, as always on a simulator");
    EXPECT_EQ(measured_, 0);
    EXPECT_FALSE(fs::exists(root_ + "/cache"));
}

TEST_F(RatesChoiceTest, TheSecondTimeTheKeptOnesServe) {
    const RatesChoice first = choose();
    EXPECT_EQ(first.rates, found_.value());
    EXPECT_EQ(first.info, "measured now, kept in " + file_);
    found_ = all_rates(5);
    const RatesChoice second = choose();
    EXPECT_EQ(second.rates, all_rates(27));
    EXPECT_EQ(second.info, "measured before, " + file_);
    EXPECT_THAT(second.warnings, IsEmpty());
    EXPECT_EQ(measured_, 1);
    key_.threads = 2;
    EXPECT_EQ(choose().rates, all_rates(5)) << "another number of threads is another machine";
    key_.threads = 4;
    config_.rates = "measure";
    EXPECT_EQ(choose().rates, all_rates(5));
    config_.rates = "auto";
    EXPECT_EQ(choose().rates, all_rates(5)) << "the file was replaced";
    EXPECT_EQ(measured_, 3);
}

// The CPU's rates are those of the host's functions on some of its cores.
TEST_F(RatesChoiceTest, OtherCpusOrAnotherReleaseOfTheHostMeasureAgain) {
    choose();
    found_ = all_rates(5);
    key_.cpus = "0,1,2,3";
    EXPECT_EQ(choose().rates, all_rates(5));
    EXPECT_EQ(measured_, 2);
    found_ = all_rates(6);
    key_.library = "0.26.0";
    const RatesChoice choice = choose();
    EXPECT_EQ(choice.rates, all_rates(6));
    EXPECT_THAT(choice.warnings, IsEmpty());
    EXPECT_EQ(measured_, 3);
    EXPECT_EQ(choose().rates, all_rates(6));
    key_.library.clear();  // rknpu2-info has no host
    EXPECT_EQ(choose_rates(config_, key_, {}, nullptr).rates, all_rates(6));
    EXPECT_EQ(measured_, 3);
}

TEST_F(RatesChoiceTest, TheKeyNamesTheCpus) {
    const RuntimeInfo info;
    EXPECT_EQ(rates_key(config_, info, 4, {4, 5, 6, 7}, "0.25.3").cpus, "4,5,6,7");
    EXPECT_EQ(rates_key(config_, info, 4, {}, "0.25.3").cpus, "any");
}

// Nothing is measured with other arithmetic than eight bits, whatever is asked for; but what was kept serves.
TEST_F(RatesChoiceTest, OtherPrecisionsMeasureNothing) {
    for (const Precision precision : {Precision::kExact, Precision::kNaive}) {
        config_.precision = precision;
        for (const char* const rates : {"measure", "auto"}) {
            config_.rates = rates;
            const RatesChoice choice = choose();
            EXPECT_TRUE(choice.rates.is_empty());
            EXPECT_EQ(choice.info, std::string("the model's, as nothing is measured with precision ") +
                                       precision_name(precision));
        }
    }
    EXPECT_EQ(measured_, 0);
    for (const Precision precision : {Precision::kBalanced, Precision::kFast, Precision::kCompact}) {
        config_.precision = precision;
        config_.rates = "measure";
        EXPECT_EQ(choose().rates, found_.value());
    }
    EXPECT_EQ(measured_, 3);
    config_.precision = Precision::kExact;
    config_.rates = "auto";
    EXPECT_EQ(choose().rates, found_.value());
}

TEST_F(RatesChoiceTest, WithoutSomebodyToMeasureTheModelsServe) {
    const RatesChoice choice = choose_rates(config_, key_, {}, nullptr);
    EXPECT_TRUE(choice.rates.is_empty());
    EXPECT_EQ(choice.info, "not measured yet, so the model's");
}

TEST_F(RatesChoiceTest, ADamagedFileIsOneWarningAndIsReplaced) {
    const std::string good = rates_text(all_rates(27), key_);
    const std::pair<std::string, const char*> cases[] = {
        {good.substr(0, good.find("cpu_wake_us")), "a rate is missing"},
        {good.substr(0, good.size() - 4), "expected \"name = value\""},
        {"", "version is missing"},
        {"version = 2\n", "is of version 2, and this is 1"},
        {good + "colour = 3\n", "\"colour\" is not a name that belongs here"},
        {good.substr(0, good.find("npu_stream")) + "npu_stream_gbps = 1e9\n", "must be a number from"},
        {good + std::string(5000, '#'), "is too large"},
        {std::string("\0\1\2", 3), "line"},
    };
    for (const auto& [text, why] : cases) {
        SCOPED_TRACE(why);
        choose();
        write(file_, text);
        measured_ = 0;
        const RatesChoice choice = choose();
        EXPECT_EQ(choice.rates, found_.value());
        if (std::string(why) == "line") {
            EXPECT_EQ(choice.warnings.size(), 1U);
        } else {
            EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr(why)));
        }
        EXPECT_EQ(measured_, 1);
        EXPECT_THAT(choose().warnings, IsEmpty());
        EXPECT_EQ(measured_, 1) << "kept again";
    }
}

TEST_F(RatesChoiceTest, DirectoriesOfOthersAndWithoutRoomAreNotUsed) {
    // Somebody else could put a file there.
    fs::create_directories(config_.rates_directory);
    write(file_, rates_text(all_rates(1), key_));
    ASSERT_EQ(chmod(config_.rates_directory.c_str(), 0777), 0);
    RatesChoice choice = choose();
    EXPECT_EQ(choice.rates, all_rates(27));
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr("measured rates are not kept: ")));
    // It cannot be made.
    write(root_ + "/file", "");
    config_.rates_directory = root_ + "/file/rates";
    choice = choose();
    EXPECT_EQ(choice.rates, all_rates(27));
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr("measured rates are not kept: ")));
    // There is no home.
    config_.rates_directory.clear();
    choice = choose();
    EXPECT_EQ(choice.info, "measured now");
    EXPECT_THAT(choice.warnings, IsEmpty());
    EXPECT_EQ(measured_, 3);
}

TEST_F(RatesChoiceTest, TheProfileComesFirst) {
    MeasuredRates of_profile;
    of_profile.set(Rate::kNpuStreamGbps, 3);
    const RatesChoice choice = choose(of_profile);
    MeasuredRates both = found_.value();
    both.set(Rate::kNpuStreamGbps, 3);
    EXPECT_EQ(choice.rates, both);
    EXPECT_EQ(choice.info, "the board profile; others: measured now, kept in " + file_);
    EXPECT_EQ(measured_, 1);
    EXPECT_EQ(choose(all_rates(4)).info, "the board profile");
    key_.board.board = "simulator";
    EXPECT_EQ(choose(of_profile).rates, of_profile);
    EXPECT_EQ(measured_, 1);
}

TEST_F(RatesChoiceTest, WhatCannotBeMeasuredIsTheModels) {
    found_ = Status(StatusCode::kDeviceError, "the NPU did not answer");
    RatesChoice choice = choose();
    EXPECT_TRUE(choice.rates.is_empty());
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr("the NPU did not answer")));
    found_ = all_rates(1e6);
    choice = choose();
    EXPECT_TRUE(choice.rates.is_empty());
    EXPECT_THAT(choice.warnings, ElementsAre(HasSubstr("npu_stream_gbps is \"1000000\"")));
    EXPECT_FALSE(fs::exists(file_));
    choice = choose_rates(config_, key_, {}, []() -> Result<MeasuredRates> { throw std::bad_alloc(); });
    EXPECT_TRUE(choice.rates.is_empty());
    EXPECT_THAT(choice.warnings,
                ElementsAre(HasSubstr("rates cannot be measured, so the model's are used: ")));
}

TEST_F(RatesChoiceTest, AFileOfTheUsers) {
    config_.rates = root_ + "/mine";
    EXPECT_THAT(choose().warnings,
                ElementsAre(HasSubstr("GGML_RKNPU2_RATES, so the model's rates are used: ")));
    write(config_.rates, "version = 1\nnpu_stream_gbps = 2\n");
    const RatesChoice choice = choose(all_rates(9));
    MeasuredRates expected;
    expected.set(Rate::kNpuStreamGbps, 2);
    EXPECT_EQ(choice.rates, expected);
    EXPECT_EQ(choice.info, config_.rates);
    EXPECT_EQ(measured_, 0);
}

}  // namespace
}  // namespace rknpu2
