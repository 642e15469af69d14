// SPDX-License-Identifier: MIT
#include "base/key_values.hpp"

#include <gtest/gtest.h>

#include <clocale>
#include <cstdlib>
#include <filesystem>

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

// Makes a locale with a comma the process's, if the machine can; and gives the old one back.
class CommaLocale {
  public:
    CommaLocale() {
        char folder[] = "/tmp/rknpu2-locale-XXXXXX";
        if (mkdtemp(folder) == nullptr) return;
        folder_ = folder;
        const std::string make = "localedef -i de_DE -f UTF-8 '" + folder_ + "/de_DE.UTF-8' > /dev/null 2>&1";
        setenv("LOCPATH", folder, 1);
        is_there_ = std::system(make.c_str()) == 0 && std::setlocale(LC_NUMERIC, "de_DE.UTF-8") != nullptr &&
                    *std::localeconv()->decimal_point == ',';
    }
    CommaLocale(const CommaLocale&) = delete;
    CommaLocale& operator=(const CommaLocale&) = delete;
    ~CommaLocale() {
        std::setlocale(LC_NUMERIC, "C");
        unsetenv("LOCPATH");
        if (!folder_.empty()) std::filesystem::remove_all(folder_);
    }
    bool is_there() const { return is_there_; }

  private:
    std::string folder_;
    bool is_there_ = false;
};

// Programs set it after plug-ins are loaded, and before rates are kept.
TEST(KeyValues, NumbersHaveAPointInEveryLocale) {
    const CommaLocale locale;
    if (!locale.is_there())
        GTEST_SKIP() << "no locale with a comma can be made here (localedef, /usr/share/i18n)";
    EXPECT_EQ(parse_number("12.5"), 12.5);
    EXPECT_EQ(parse_number("12,5"), std::nullopt);
    EXPECT_EQ(number_text(12.5), "12.5");
    EXPECT_EQ(parse_number(number_text(1.0 / 3)), 0.3333333);
}

}  // namespace
}  // namespace rknpu2
