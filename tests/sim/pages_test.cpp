// SPDX-License-Identifier: MIT
// What docs/simulator.md with its CSV files and docs/run-on-a-pc.md say, held against the code: types, settings and their
// defaults, rules, and that the tests which the pages name are there.
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "api/messages.hpp"
#include "checker/checker.hpp"
#include "core/settings.hpp"
#include "sim/sim_fixture.hpp"

namespace rknnsim_test {
namespace {

std::string text_of(const std::filesystem::path& path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_FALSE(text.str().empty()) << path;
    return text.str();
}

std::string page(const char* name) {
    return text_of(std::filesystem::path(RKNNSIM_SOURCE) / "docs" / name);
}

// The rows of the table that begins with `head`, each as its cells without the outer spaces.
std::vector<std::vector<std::string>> table(const std::string& text, const std::string& head) {
    std::vector<std::vector<std::string>> rows;
    const size_t at = text.find(head);
    EXPECT_NE(at, std::string::npos) << head;
    std::istringstream lines(text.substr(std::min(at, text.size())));
    std::string line;
    for (int i = 0; std::getline(lines, line) && line.rfind('|', 0) == 0; ++i) {
        if (i < 2) continue;
        std::vector<std::string> cells;
        for (size_t from = 1; from < line.size();) {
            const size_t end = line.find('|', from);
            if (end == std::string::npos) break;
            const std::string cell = line.substr(from, end - from);
            const size_t first = cell.find_first_not_of(' ');
            cells.push_back(
                first == std::string::npos ? "" : cell.substr(first, cell.find_last_not_of(' ') - first + 1));
            from = end + 1;
        }
        rows.push_back(cells);
    }
    EXPECT_FALSE(rows.empty()) << head;
    return rows;
}

// The rows of a CSV file below its header, each as its cells. No cell has a quotation mark or a line's end in
// it.
std::vector<std::vector<std::string>> csv_rows(const std::string& text) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(text);
    std::string line;
    for (std::getline(lines, line); std::getline(lines, line);) {
        std::vector<std::string> cells(1);
        bool quoted = false;
        for (const char c : line) {
            if (c == '"') {
                quoted = !quoted;
            } else if (c == ',' && !quoted) {
                cells.emplace_back();
            } else {
                cells.back() += c;
            }
        }
        rows.push_back(cells);
    }
    EXPECT_FALSE(rows.empty());
    return rows;
}

std::vector<std::string> matches(const std::string& text, const char* pattern) {
    const std::regex regex(pattern);
    std::vector<std::string> found;
    for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at)
        found.push_back((*at)[1].matched ? (*at)[1].str() : at->str());
    return found;
}

class PagesTest : public SimTest {
  protected:
    void SetUp() override {
        SimTest::SetUp();
        on_default_board();
    }
};

TEST_F(PagesTest, EveryTypeDoesWhatTheTableSays) {
    std::set<int> seen;
    for (const auto& row : table(page("run-on-a-pc.md"), "| type | here |")) {
        for (const std::string& number : matches(row[0], "[0-9]+")) {
            const int type = std::stoi(number);
            EXPECT_TRUE(seen.insert(type).second) << type << " stands twice";
            rknn_matmul_info info = info_of(type, {1, 64, 64});
            rknn_matmul_io_attr attr;
            rknn_matmul_ctx ctx = 0;
            const int plain = rknn_matmul_create(&ctx, &info, &attr);
            if (plain == 0) rknn_matmul_destroy(ctx);
            info.B_quant_type = 4;
            info.group_size = 32;
            const int grouped = rknn_matmul_create(&ctx, &info, &attr);
            if (grouped == 0) rknn_matmul_destroy(ctx);
            const bool computed = row[1].rfind("computed", 0) == 0;
            const bool zeros = row[1].find("zeros") != std::string::npos;
            EXPECT_EQ(plain, computed ? 0 : RKNN_ERR_PARAM_INVALID) << type << ": " << row[1];
            EXPECT_EQ(grouped, zeros ? 0 : RKNN_ERR_PARAM_INVALID) << type << ": " << row[1];
            EXPECT_EQ(row[1].find("−5") == std::string::npos, computed) << row[1];
        }
    }
    EXPECT_EQ(seen, (std::set<int>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15}));
}

// The first value is the default; each word in the cell is taken, and so are the ends of a range.
TEST_F(PagesTest, SettingsHaveTheDefaultsOfTheTable) {
    using rknnsim::Settings;
    std::set<std::string> documented;
    for (const auto& row : csv_rows(page("simulator-settings.csv"))) {
        ASSERT_EQ(row.size(), 3U) << row[0];
        EXPECT_FALSE(row[2].empty()) << row[0];
        const std::string name = row[0];
        EXPECT_TRUE(documented.insert(name).second) << name << " stands twice";
        std::vector<std::string> values = matches(row[1], "`([^`]+)`");
        const bool number = values.empty() && std::isdigit(static_cast<unsigned char>(row[1][0])) != 0;
        if (number) values = matches(row[1], "[0-9]+");
        for (size_t i = 0; i < values.size(); ++i) {
            if (values[i] == "avx2" || values[i] == "-" || values[i] == "%p")
                continue;  // not on every CPU; a file's name
            setenv(name.c_str(), values[i].c_str(), 1);
            Settings settings;
            const rknnsim::Outcome outcome = Settings::from_environment(&settings);
            EXPECT_TRUE(outcome.ok()) << outcome.text;
            EXPECT_EQ(settings == Settings{}, values[i] == values[0]) << name << "=" << values[i];
            unsetenv(name.c_str());
        }
        if (values.empty()) {
            EXPECT_EQ(row[1].rfind("empty", 0), 0U) << name << ": " << row[1];
        }
    }
    for (const std::string& name : Settings::names())
        EXPECT_TRUE(documented.contains(name)) << name << " has no row";
    EXPECT_EQ(documented.size(), Settings::names().size());
}

TEST_F(PagesTest, EveryRuleHasARow) {
    std::set<std::string> rows;
    for (const auto& row : csv_rows(page("simulator-checks.csv"))) {
        ASSERT_EQ(row.size(), 3U) << row[0];
        EXPECT_FALSE(row[1].empty() || row[2].empty()) << row[0];
        EXPECT_TRUE(rows.insert(row[0]).second) << row[0] << " stands twice";
    }
    const std::string header = text_of(std::filesystem::path(RKNNSIM_SOURCE) / "sim/api/rknnsim.h");
    std::set<std::string> rules;
    for (int i = 1; i < rknnsim::kRules; ++i) {
        const std::string name = rknnsim::rule_name(static_cast<rknnsim::Rule>(i));
        rules.insert(name);
        EXPECT_NE(header.find(name), std::string::npos) << name << " is not in rknnsim.h";
    }
    EXPECT_EQ(rows, rules);
    EXPECT_NE(page("simulator.md").find("prints a line for each finding (20 of each rule"),
              std::string::npos);
    EXPECT_EQ(rknnsim::Checker::kLines, 20U);
    EXPECT_EQ(rknnsim::kLinesOfAKind, 20U);
}

// A test is SomeTest.Name, or the beginning of a name and an ellipsis.
TEST_F(PagesTest, TheTestsOfTheTableExist) {
    std::string sources;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(RKNNSIM_SOURCE) / "tests/sim")) {
        if (entry.path().extension() == ".cpp") sources += text_of(entry.path());
    }
    std::set<std::string> names;
    for (const std::string& name : matches(sources, "TEST(?:_F|_P)?\\((\\w+,\\s+\\w+)\\)"))
        names.insert(std::regex_replace(name, std::regex(",\\s+"), "."));
    const std::vector<std::string> known = rknnsim::Settings::names();
    const std::set<std::string> settings(known.begin(), known.end());
    size_t checked = 0;
    for (const auto& row : csv_rows(page("simulator-behaviours.csv"))) {
        ASSERT_EQ(row.size(), 4U) << row[0];
        EXPECT_FALSE(row[0].empty() || row[1].empty()) << row[0];
        for (const std::string& setting : matches(row[2], "[^ ]+"))
            EXPECT_TRUE(settings.contains(setting)) << setting << " in: " << row[0];
        for (const std::string& full : matches(row[3], "[^ ]+")) {
            const std::string beginning = full.substr(0, std::min(full.find("…"), full.find('*')));
            std::string rest = full.substr(beginning.size());
            for (size_t at = 0; (at = rest.find("…")) != std::string::npos;)
                rest.erase(at, std::string("…").size());
            if (rest == "*") rest.clear();
            const bool found = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
                return name.rfind(beginning, 0) == 0 && name.find(rest) != std::string::npos &&
                       (beginning.size() < full.size() || name == full);
            });
            EXPECT_TRUE(found) << full << " in: " << row[0];
            ++checked;
        }
    }
    EXPECT_GT(checked, 40U);
}

}  // namespace
}  // namespace rknnsim_test
