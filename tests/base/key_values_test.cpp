// SPDX-License-Identifier: MIT
#include "base/key_values.hpp"

#include <gtest/gtest.h>

namespace rknpu2 {
namespace {

TEST(KeyValues, LinesComeInTheirOrderWithoutCommentsAndBlanks) {
    const auto entries = parse_key_values("# head\n\n b =\t2 # why\r\na = x = y\n", "f");
    ASSERT_TRUE(entries.ok());
    ASSERT_EQ(entries.value().size(), 2U);
    EXPECT_EQ(entries.value()[0].name, "b");
    EXPECT_EQ(entries.value()[0].value, "2");
    EXPECT_EQ(entries.value()[0].line, 3);
    EXPECT_EQ(entries.value()[1].value, "x = y");
    EXPECT_TRUE(parse_key_values("", "f").value().empty());
}

TEST(KeyValues, ErrorsNameFileAndLine) {
    const std::pair<std::string, const char*> cases[] = {
        {"a\n", "f:1: expected \"name = value\""},
        {"\na =\n", "f:2: expected \"name = value\""},
        {"= 1\n", "f:1: expected \"name = value\""},
        {"a = 1\nb = 2\na = 1\n", "f:3: a is given twice"},
        {std::string("a = 1\0\n", 7), "f:1: not a line of text"},
        {"a = \x1b[2J\n", "f:1: not a line of text"},
    };
    for (const auto& [text, message] : cases)
        EXPECT_EQ(parse_key_values(text, "f").status().message(), message);
    EXPECT_EQ(wrong_line("f", 7, "a\nb").message(), "f:7: a?b");
}

TEST(KeyValues, NumbersAreTheWholeTextAndFinite) {
    EXPECT_EQ(parse_number("-1.5e3"), -1500.0);
    for (const std::string& text : {std::string(), std::string("1 2"), std::string("1x"), std::string("nan"),
                                    std::string("inf"), std::string("1\0", 2)})
        EXPECT_EQ(parse_number(text), std::nullopt) << text;
}

}  // namespace
}  // namespace rknpu2
