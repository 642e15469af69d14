// SPDX-License-Identifier: MIT
// Published figures: the files that are compiled in, and broken ones.
#include "predict/published.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "predict/embedded.hpp"

namespace rknpu2 {
namespace {

using testing::HasSubstr;

TEST(Published, QuotedCellsHoldCommasAndQuotes) {
    const auto rows = parse_csv("a,b\n\"x, \"\"y\"\"\",2\n", "f.csv");
    ASSERT_TRUE(rows.ok()) << rows.status().message();
    EXPECT_EQ(rows.value()[0].at("a"), "x, \"y\"");
    EXPECT_EQ(rows.value()[0].at("b"), "2");
}

TEST(Published, BrokenFilesAreErrors) {
    EXPECT_EQ(parse_csv("a,b\n1\n", "f.csv").status().message(), "f.csv:2: 1 cells, but the header has 2");
    EXPECT_EQ(published_matmuls("check,m\nyes,many\n", "f.csv").status().message(),
              "f.csv: \"many\" in column m is no number from 0 to 1e12");
    EXPECT_EQ(published_engines("engine,model\na,b\n", "f.csv").status().message(),
              "f.csv: there is no column rounds");
}

TEST(Published, TheMarkedRowsAreThere) {
    const auto matmuls = published_matmuls(embedded_timings(), "npu-timings.csv");
    ASSERT_TRUE(matmuls.ok()) << matmuls.status().message();
    EXPECT_EQ(matmuls.value().size(), 34);
    for (const PublishedMatmul& matmul : matmuls.value()) {
        EXPECT_GT(matmul.gops, 0);
        const auto macs = static_cast<double>(matmul.matmuls * matmul.M * matmul.K * matmul.N);
        EXPECT_NEAR(matmul.gops * matmul.time_us, 2e-3 * macs, 1);
        EXPECT_EQ(matmul.matmuls > 1, !matmul.dealt);
        EXPECT_EQ(matmul.tile_rows > 0, matmul.M == 256) << matmul.how;
    }
    const auto engines = published_engines(embedded_engines(), "engines.csv");
    ASSERT_TRUE(engines.ok()) << engines.status().message();
    EXPECT_GE(engines.value().size(), 5);
    for (const PublishedEngine& engine : engines.value())
        EXPECT_FALSE(engine.source.empty());
}

}  // namespace
}  // namespace rknpu2
