// SPDX-License-Identifier: MIT
// llama-imatrix's files: what they hold is used, what they cannot be is refused.
#include "calibration/imatrix_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <fstream>

#include "gguf/gguf_writer.hpp"
#include "support/missing_path.hpp"

namespace rknpu2 {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint32_t kF32 = 0;

class ImatrixFileTest : public ::testing::Test {
  protected:
    void TearDown() override { std::remove(path_.c_str()); }

    // A file with one weight's sums and counts, and whatever else `header` has.
    Result<ModelStats> read(GgufWriter header, const std::vector<float>& sums,
                            const std::vector<float>& counts, uint64_t matrices = 1,
                            const std::string& weight = "blk.0.ffn_up.weight") {
        const uint64_t K = sums.size() / matrices;
        header.tensor(weight + ".in_sum2", kF32, {K, matrices})
            .tensor(weight + ".counts", kF32, {1, counts.size()});
        std::string bytes = header.bytes();
        std::ofstream(path_, std::ios::binary) << bytes;
        const GgufFile file = GgufFile::open(path_).value();
        const auto put = [&](const std::string& name, const std::vector<float>& values) {
            const size_t at = file.data_offset + file.find(name)->offset;
            std::memcpy(bytes.data() + at, values.data(), values.size() * sizeof(float));
        };
        put(weight + ".in_sum2", sums);
        put(weight + ".counts", counts);
        std::ofstream(path_, std::ios::binary) << bytes;
        return read_stats_of_any_kind(path_);
    }

    static GgufWriter imatrix() { return GgufWriter().text("general.type", "imatrix"); }

    const test::OwnFolder folder_;
    const std::string path_ = folder_.path() + "/imatrix.gguf";
};

TEST_F(ImatrixFileTest, SumsBecomeMeans) {
    const Result<ModelStats> read_back = read(imatrix(), {8, 0, 2}, {4});
    ASSERT_TRUE(read_back.ok()) << read_back.status().to_string();
    ASSERT_EQ(read_back.value().count("blk.0.ffn_up.weight"), 1U);
    const ActivationStats& entry = read_back.value().at("blk.0.ffn_up.weight");
    EXPECT_THAT(entry.mean_square, ElementsAre(2.0F, 0.0F, 0.5F));
    EXPECT_THAT(entry.mean, ElementsAre(0.0F, 0.0F, 0.0F));
    EXPECT_EQ(entry.K, 3U);
    EXPECT_EQ(entry.rows, 4U);
    EXPECT_EQ(entry.fingerprint, ActivationStats::kAnyWeight);
    EXPECT_FALSE(entry.measured());
    EXPECT_FALSE(entry.output);
}

// llama-imatrix --process-output: to know more of the head must not make it coarser.
TEST_F(ImatrixFileTest, TheHeadIsKnown) {
    for (const std::string head : {"output.weight", "token_embd.weight"})
        EXPECT_TRUE(read(imatrix(), {8, 0, 2}, {4}, 1, head).value().at(head).output);
}

TEST_F(ImatrixFileTest, StacksOfExpertsAndUnseenWeightsAreLeftOut) {
    EXPECT_THAT(read(imatrix(), {1, 2, 3, 4}, {1, 1}, 2).status().message(),
                HasSubstr("no importance matrices"));
    EXPECT_THAT(read(imatrix(), {1, 2}, {0}).status().message(), HasSubstr("no importance matrices"));
}

TEST_F(ImatrixFileTest, WhatCannotBeIsRefused) {
    EXPECT_THAT(read(GgufWriter().text("general.type", "model"), {1}, {1}).status().message(),
                HasSubstr("not one of llama-imatrix"));
    EXPECT_THAT(read(imatrix(), {1, NAN}, {1}).status().message(), HasSubstr("no statistics"));
    EXPECT_THAT(read(imatrix(), {1, -2}, {1}).status().message(), HasSubstr("no statistics"));
    EXPECT_THAT(read(imatrix(), {1, 2}, {-1}).status().message(), HasSubstr("no statistics"));
    EXPECT_THAT(read(imatrix(), {1, 2}, {NAN}).status().message(), HasSubstr(path_));
    EXPECT_THAT(read(imatrix().tensor("a.in_sum2", kF32, {4}), {1, 2}, {1}).status().message(),
                HasSubstr("a has no proper sums and counts"));
}

TEST_F(ImatrixFileTest, OurOwnFilesAreReadToo) {
    ActivationStats entry;
    entry.N = entry.rows = entry.fingerprint = 1;
    entry.K = 2;
    entry.mean = entry.mean_square = {1, 2};
    std::ofstream(path_, std::ios::binary) << encode_stats({{"w", entry}});
    EXPECT_EQ(read_stats_of_any_kind(path_).value().count("w"), 1U);
    EXPECT_EQ(read_stats_of_any_kind(test::missing_path("file")).status().code(), StatusCode::kIo);
    const std::string pipe = path_ + ".pipe";  // nobody writes to it: no reason to wait
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    EXPECT_EQ(read_stats_of_any_kind(pipe).status().code(), StatusCode::kIo);
    unlink(pipe.c_str());
}

}  // namespace
}  // namespace rknpu2
