// SPDX-License-Identifier: MIT
#include "text_table.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

TEST(TextTable, AlignsAndTrims) {
    TextTable table("lrl");
    table.add({"a", "1", "x"});
    table.add({"long", "1234", ""});
    table.add({"b"});
    EXPECT_EQ(table.to_string(1), " a        1  x\n long  1234\n b\n");
    EXPECT_EQ(TextTable("l").to_string(), "");
}

TEST(HumanBytes, ThreeDigitsOrSo) {
    EXPECT_EQ(human_bytes(0), "0 B");
    EXPECT_EQ(human_bytes(999), "999 B");
    EXPECT_EQ(human_bytes(1000), "1.0 kB");
    EXPECT_EQ(human_bytes(999'999), "1.0 MB");
    EXPECT_EQ(human_bytes(134'479'872), "134.5 MB");
    EXPECT_EQ(human_bytes(UINT64_MAX), "18.4 EB");
}

}  // namespace
}  // namespace rknpu2
