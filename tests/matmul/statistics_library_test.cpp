// Statistics are found by the weight they are of, in one file or among many, and never taken for another's.
#include "matmul/statistics_library.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/log.hpp"
#include "matmul/calibration.hpp"
#include "matmul/matrices.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::Matrices;

class StatisticsLibraryTest : public ::testing::Test {
  protected:
    void SetUp() override {
        folder_ = fs::path(::testing::TempDir()) /
                  (std::string("rknpu2_library_") +
                   ::testing::UnitTest::GetInstance()->current_test_info()->name());
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override {
        set_log_sink({});
        fs::remove_all(folder_);
    }

    static ModelStatistics gathered(const Matrices& x) {
        Calibration calibration;
        calibration.add(x.source(), x.a.data(), x.M);
        return calibration.statistics();
    }

    // `age`: how many hours ago it was written.
    void write(const std::string& name, const std::string& content, int age = 0) {
        std::ofstream(folder_ / name, std::ios::binary) << content;
        fs::last_write_time(folder_ / name, fs::file_time_type::clock::now() - std::chrono::hours(age));
    }

    fs::path folder_;
    std::vector<std::string> lines_;
};

TEST_F(StatisticsLibraryTest, EachModelFindsItsOwn) {
    const Matrices x(5, 33, 100, 1);
    const Matrices y(5, 33, 100, 2);  // same name, same shape
    const Matrices z(5, 33, 100, 3);
    write("x.rknpucal", encode_statistics(gathered(x)));
    write("y.rknpucal", encode_statistics(gathered(y)));
    write("z.other", encode_statistics(gathered(z)));
    StatisticsLibrary library(folder_);
    for (const auto& [weight, file] : {std::pair(&y, "y.rknpucal"), {&x, "x.rknpucal"}, {&y, "y.rknpucal"}}) {
        const auto found = library.find(weight->source());
        ASSERT_TRUE(found);
        EXPECT_EQ(found->path, (folder_ / file).string());
        EXPECT_EQ(found->entry.mean, gathered(*weight).at("w").mean);
    }
    EXPECT_FALSE(library.find(z.source()));
    EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(StatisticsLibraryTest, TheYoungestFileOfAModelCounts) {
    const Matrices x(5, 33, 100, 1);
    Matrices again = x;
    again.a.assign(again.a.size(), 2.0F);
    write("b.rknpucal", encode_statistics(gathered(x)), 5);
    write("a.rknpucal", encode_statistics(gathered(again)), 1);
    write("c.rknpucal", encode_statistics(gathered(x)), 3);
    StatisticsLibrary library(folder_);
    EXPECT_EQ(library.find(x.source())->path, (folder_ / "a.rknpucal").string());
}

TEST_F(StatisticsLibraryTest, DamagedFilesAreReportedAndTheOthersUsed) {
    const Matrices x(5, 33, 100, 1);
    write("good.rknpucal", encode_statistics(gathered(x)));
    write("bad.rknpucal", encode_statistics(gathered(x)).substr(0, 100));
    StatisticsLibrary library(folder_);
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("bad.rknpucal")));
    EXPECT_TRUE(library.find(x.source()));
}

TEST_F(StatisticsLibraryTest, AFileThatIsGoneMeanwhileIsReportedOnce) {
    const Matrices x(5, 33, 100, 1);
    write("x.rknpucal", encode_statistics(gathered(x)));
    StatisticsLibrary library(folder_);
    fs::remove(folder_ / "x.rknpucal");
    EXPECT_FALSE(library.find(x.source()));
    EXPECT_FALSE(library.find(x.source()));
    EXPECT_THAT(lines_, ElementsAre(HasSubstr("x.rknpucal")));
}

TEST_F(StatisticsLibraryTest, NoDirectoryIsNoFinding) {
    StatisticsLibrary library(folder_ / "none");
    EXPECT_FALSE(library.find(Matrices(1, 3, 4, 1).source()));
    EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(StatisticsLibraryTest, EntriesOfAnyWeightGoByNameAndK) {
    const Matrices x(5, 33, 100, 1);
    ModelStatistics statistics = gathered(x);
    statistics.at("w").N = 0;
    statistics.at("w").fingerprint = ChannelStatistics::kAnyWeight;
    StatisticsLibrary library(std::move(statistics));
    EXPECT_TRUE(library.find(x.source()));
    EXPECT_TRUE(library.find(Matrices(1, 7, 100, 9).source()));
    EXPECT_FALSE(library.find(Matrices(1, 33, 96, 1).source()));
}

}  // namespace
}  // namespace rknpu2
