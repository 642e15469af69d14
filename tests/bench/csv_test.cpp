// SPDX-License-Identifier: MIT
// Tables of comma-separated values: read, written, and broken ones.
#include "predict/csv.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace rknpu2 {
namespace {

TEST(Csv, QuotedCellsHoldCommasAndQuotes) {
    const CsvTable table("a,b\n\"x, \"\"y\"\"\",2\n", "f.csv");
    ASSERT_EQ(table.rows(), 1);
    EXPECT_EQ(table.text(0, "a"), "x, \"y\"");
    EXPECT_EQ(table.text(0, "b"), "2");
    EXPECT_EQ(table.text(0, "c"), "");
    EXPECT_TRUE(table.status().ok());
}

TEST(Csv, WhatIsWrittenIsRead) {
    const std::string text =
        csv_text("a,b,c,d", {{{"a", "x, \"y\""}, {"b", {{"low", 1}, {"high", 2.5}}}, {"d", nullptr}}});
    EXPECT_EQ(text.substr(0, text.find('\n')), "a,b,c,d");
    CsvTable table(text, "f.csv");
    EXPECT_EQ(table.number(0, "b"), 1);
    EXPECT_EQ(table.number(0, "c"), 2.5);
    EXPECT_EQ(table.text(0, "d"), "");
    EXPECT_TRUE(table.status().ok()) << table.status().message();
}

TEST(Csv, TheFirstErrorIsKept) {
    EXPECT_EQ(CsvTable("a,b\n1\n", "f.csv").status().message(), "f.csv:2: 1 cells, but the header has 2");
    CsvTable table("a,b\n\n2.5,many\n", "f.csv");
    EXPECT_EQ(table.integer(0, "a"), 2);
    EXPECT_EQ(table.number(0, "b"), 0);
    EXPECT_EQ(table.status().message(), "f.csv:3: a is 2.5, but must be an integer");
}

}  // namespace
}  // namespace rknpu2
