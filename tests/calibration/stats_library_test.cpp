// SPDX-License-Identifier: MIT
// Statistics are found by the weight they are of, in one file or among many, and never taken for another's.
#include "calibration/stats_library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/log.hpp"
#include "matmul/gathered.hpp"
#include "matmul/matrices.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Matrices;
using ::testing::StartsWith;

class StatsLibraryTest : public ::testing::Test {
  protected:
    void SetUp() override {
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override { set_log_sink({}); }

    static ModelStats gathered(const Matrices& x) { return testing::gathered_from(x); }

    // `age`: how many hours ago it was written.
    void write(const std::string& name, const std::string& content, int age = 0) {
        std::ofstream(folder_ / name, std::ios::binary) << content;
        fs::last_write_time(folder_ / name, fs::file_time_type::clock::now() - std::chrono::hours(age));
    }

    const test::OwnFolder own_;
    const fs::path folder_ = own_.path();
    std::vector<std::string> lines_;
};

TEST_F(StatsLibraryTest, EachModelFindsItsOwn) {
    const Matrices x(40, 33, 100, 1);
    const Matrices y(40, 33, 100, 2);  // same name, same shape
    const Matrices z(40, 33, 100, 3);
    write("x.rknpucal", encode_stats(gathered(x)));
    write("y.rknpucal", encode_stats(gathered(y)));
    write("z.other", encode_stats(gathered(z)));
    StatsLibrary library(folder_);
    for (const auto& [weight, file] : {std::pair(&y, "y.rknpucal"), {&x, "x.rknpucal"}, {&y, "y.rknpucal"}}) {
        const auto found = library.find(weight->source());
        ASSERT_TRUE(found);
        EXPECT_EQ(found->path, (folder_ / file).string());
        EXPECT_EQ(found->entry.mean, gathered(*weight).at("w").mean);
    }
    EXPECT_FALSE(library.find(z.source()));
    EXPECT_THAT(lines_, IsEmpty());
}

// What lies in the directory for other models says nothing about one that has no file there.
TEST_F(StatsLibraryTest, SaysWhetherAModelThatWasFoundHasSecondMoments) {
    const Matrices x(40, 33, 100, 1), y(40, 33, 100, 2);
    ModelStats statistics = gathered(x);
    const WantedStats wanted{.moments = Moments::kRead};
    const auto is_had = [&] {
        StatsLibrary library(folder_, wanted);
        EXPECT_FALSE(library.find(y.source()));
        EXPECT_FALSE(library.has_moments());
        EXPECT_TRUE(library.find(x.source()));
        return library.has_moments();
    };
    EXPECT_TRUE(StatsLibrary(statistics, wanted).has_moments());
    write("with.rknpucal", encode_stats(statistics));
    EXPECT_TRUE(is_had());
    statistics.begin()->second.moments = nullptr;
    EXPECT_FALSE(StatsLibrary(statistics, wanted).has_moments());
    write("with.rknpucal", encode_stats(statistics));
    EXPECT_FALSE(is_had());
}

TEST_F(StatsLibraryTest, TheYoungestFileOfAModelCounts) {
    const Matrices x(40, 33, 100, 1);
    Matrices again = x;
    again.a.assign(again.a.size(), 2.0F);
    write("b.rknpucal", encode_stats(gathered(x)), 5);
    write("a.rknpucal", encode_stats(gathered(again)), 1);
    write("c.rknpucal", encode_stats(gathered(x)), 3);
    StatsLibrary library(folder_);
    EXPECT_EQ(library.find(x.source())->path, (folder_ / "a.rknpucal").string());
}

TEST_F(StatsLibraryTest, DamagedFilesAreReportedAndTheOthersUsed) {
    const Matrices x(40, 33, 100, 1);
    write("good.rknpucal", encode_stats(gathered(x)));
    write("bad.rknpucal", encode_stats(gathered(x)).substr(0, 100));
    StatsLibrary library(folder_);
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("bad.rknpucal")));
    EXPECT_TRUE(library.find(x.source()));
}

TEST_F(StatsLibraryTest, AFileThatIsGoneMeanwhileIsReportedOnce) {
    const Matrices x(40, 33, 100, 1);
    write("x.rknpucal", encode_stats(gathered(x)));
    StatsLibrary library(folder_);
    fs::remove(folder_ / "x.rknpucal");
    EXPECT_FALSE(library.find(x.source()));
    EXPECT_FALSE(library.find(x.source()));
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("x.rknpucal")));
}

// Such rows are of a warm-up, or of a text that is too short. A file of llama-imatrix may have too few, too.
TEST_F(StatsLibraryTest, TooFewRowsAreNotUsed) {
    const Matrices x(40, 33, 100, 1);
    ModelStats statistics = gathered(x);
    statistics.at("w").rows = kFewestRows - 1;
    write("thin.rknpucal", encode_stats(statistics));
    StatsLibrary found(folder_);
    EXPECT_FALSE(found.find(x.source()));
    EXPECT_THAT(lines_, ElementsAre(AllOf(HasSubstr("activation statistics are not used"),
                                          HasSubstr("thin.rknpucal: at most 31 rows"))));
    Config config;
    config.activation_stats = (folder_ / "thin.rknpucal").string();
    const auto named = open_stats_library(config);
    ASSERT_FALSE(named.ok());
    EXPECT_THAT(named.status().message(),
                AllOf(StartsWith("GGML_RKNPU2_STATISTICS"), HasSubstr("thin.rknpucal: at most 31 rows")));
    write("empty.rknpucal", encode_stats({}));
    config.activation_stats = (folder_ / "empty.rknpucal").string();
    EXPECT_THAT(open_stats_library(config).status().message(), HasSubstr("at most 0 rows"));
}

TEST_F(StatsLibraryTest, OnlyThoseOfTooFewRowsAreLeftOut) {
    const Matrices x(40, 33, 100, 1);
    ModelStats statistics = gathered(x);
    statistics["output.weight"] = statistics.at("w");
    statistics.at("output.weight").rows = 8;
    write("x.rknpucal", encode_stats(statistics));
    WeightSource output = x.source();
    output.name = "output.weight";
    Config config;
    config.activation_stats = (folder_ / "x.rknpucal").string();
    for (size_t i = 0; i < 2; ++i) {
        lines_.clear();
        const auto library =
            i == 0 ? std::make_unique<StatsLibrary>(folder_) : open_stats_library(config).take();
        EXPECT_TRUE(library->find(x.source()));
        EXPECT_FALSE(library->find(output));
        EXPECT_THAT(
            lines_,
            ElementsAre(HasSubstr("x.rknpucal: statistics of 1 of 2 weights are of fewer than 32 rows")));
    }
}

TEST_F(StatsLibraryTest, NoDirectoryIsNoFinding) {
    StatsLibrary library(folder_ / "none");
    EXPECT_FALSE(library.find(Matrices(1, 3, 4, 1).source()));
    EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(StatsLibraryTest, EntriesOfAnyWeightGoByNameAndK) {
    const Matrices x(40, 33, 100, 1);
    ModelStats statistics = gathered(x);
    statistics.at("w").N = 0;
    statistics.at("w").fingerprint = ActivationStats::kAnyWeight;
    StatsLibrary library(std::move(statistics));
    EXPECT_TRUE(library.find(x.source()));
    EXPECT_TRUE(library.find(Matrices(1, 7, 100, 9).source()));
    EXPECT_FALSE(library.find(Matrices(1, 33, 96, 1).source()));
}

}  // namespace
}  // namespace rknpu2
