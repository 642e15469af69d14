// SPDX-License-Identifier: MIT
// rknpu2-bench as a program: exit status, and one line for what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "support/missing_path.hpp"

namespace {

using testing::HasSubstr;

struct Outcome {
    int status;
    std::string output;
};

Outcome run(const std::string& arguments) {
    FILE* pipe = popen(
        (std::string(RKNPU2_RUN "'" RKNPU2_BENCH_PROGRAM "'") + " " + arguments + " 2>&1").c_str(), "r");
    std::string output;
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        output.append(buffer, n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

TEST(BenchProgram, Predicts) {
    const Outcome text = run("predict --model SmolLM2-135M --design plain plugin");
    EXPECT_EQ(text.status, 0) << text.output;
    EXPECT_THAT(text.output, HasSubstr("Modelled, not measured"));
}

// The lines of `matmul --format csv`, by their columns' names; without the progress.
std::vector<std::map<std::string, std::string>> rows_of(const std::string& csv) {
    std::vector<std::map<std::string, std::string>> rows;
    std::vector<std::string> names;
    std::istringstream lines(csv);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("  ")) continue;
        std::vector<std::string> cells;
        std::istringstream text(line);
        for (std::string cell; std::getline(text, cell, ',');)
            cells.push_back(cell);
        if (names.empty()) {
            names = cells;
            continue;
        }
        EXPECT_EQ(cells.size(), names.size()) << line;
        auto& row = rows.emplace_back();
        for (size_t i = 0; i < std::min(names.size(), cells.size()); ++i)
            row[names[i]] = cells[i];
    }
    return rows;
}

// 300 rows are two chunks of at most 256, or three of at most 128 where every row has two planes; 200 columns
// are three tiles: 96 + 96 + 8 (of 32), or 80 + 80 + 40 (of 48) in fp16.
TEST(BenchProgram, MultiplicationsAreCountedAndRight) {
    const Outcome outcome =
        run("matmul --runtime sim --shape 300x96x200 --precision fast balanced exact naive --rounds 2 "
            "--format csv");
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    const auto rows = rows_of(outcome.output);
    struct Expected {
        const char* precision;
        const char* runs;
        const char* weight_bytes;
        double error;
    };
    const Expected expected[] = {{"fast", "6", "43008", 0.02},
                                 {"balanced", "9", "64512", 0.015},
                                 {"exact", "6", "79872", 0.001},
                                 {"naive", "6", "43008", 0.05}};
    ASSERT_EQ(rows.size(), std::size(expected)) << outcome.output;
    for (size_t i = 0; i < rows.size(); ++i) {
        std::map<std::string, std::string> row = rows[i];
        EXPECT_EQ(row["precision"], expected[i].precision);
        EXPECT_EQ(row["runs"], expected[i].runs) << row["precision"];
        EXPECT_EQ(row["weight_bytes"], expected[i].weight_bytes) << row["precision"];
        EXPECT_GT(std::stod(row["error"]), 0) << row["precision"];
        EXPECT_LT(std::stod(row["error"]), expected[i].error) << row["precision"];
        EXPECT_LE(std::stod(row["low_ns"]), std::stod(row["wall_ns"]));
        EXPECT_LE(std::stod(row["wall_ns"]), std::stod(row["high_ns"]));
    }
}

TEST(BenchProgram, TheChipsTimeIsTheSimulatorsWhateverElseRan) {
    const auto chip = [](const std::string& cores) {
        const Outcome outcome =
            run("matmul --runtime sim --shape 64x1024x1024 --rounds 2 --format csv --cores " + cores);
        EXPECT_EQ(outcome.status, 0) << outcome.output;
        std::vector<double> times;
        for (auto& row : rows_of(outcome.output))
            times.push_back(std::stod(row["chip_ns"]));
        return times;
    };
    const std::vector<double> both = chip("1 3");
    ASSERT_EQ(both.size(), 2U);
    EXPECT_LT(both[1], 0.6 * both[0]);
    // A thread of the device that comes late shares the memory with runs that were over for the others.
    EXPECT_THAT(chip("1"), testing::ElementsAre(testing::DoubleNear(both[0], 0.05 * both[0])));
}

TEST(BenchProgram, AModelsMultiplications) {
    const Outcome outcome = run("matmul --runtime sim --model SmolLM2-135M -M 2 --rounds 1 --format json");
    ASSERT_EQ(outcome.status, 0) << outcome.output;
    const auto document = nlohmann::json::parse(outcome.output.substr(outcome.output.find('{')));
    std::vector<std::string> shapes;
    for (const auto& matmul : document.at("matmuls")) {
        shapes.push_back(matmul.at("M").dump() + "x" + matmul.at("K").dump() + "x" + matmul.at("N").dump());
        EXPECT_LT(matmul.at("error").get<double>(), 0.02) << shapes.back();
    }
    EXPECT_THAT(shapes,
                testing::ElementsAre("2x576x576", "2x576x192", "2x576x1536", "2x1536x576", "1x576x49152"));
}

TEST(BenchProgram, WhatIsWrongIsOneLine) {
    const std::string missing = rknpu2::test::missing_path();
    const std::pair<std::string, std::string> cases[] = {
        {"", "subcommand"},
        {"predict --model nothing", "no model is called \"nothing\""},
        {"predict --design best", "--design: best not in {plain,plugin}"},
        {"predict --design engine", "--design: engine not in"},
        {"predict --precision exact",
         "--precision: exact not in {fast,balanced+statistics,balanced,compact}"},
        {"predict --profile " + missing, missing + ": cannot be read"},
        {"predict --format xml", "--format"},
        {"predict --attention gpu", "--attention: gpu not in {auto,npu,cpu}"},
        {"predict --schedule slots=many", "\"slots=many\" is no NAME=NUMBER of it"},
        {"predict --schedule slots", "\"slots\" is no NAME=NUMBER"},
        {"matmul --shape 1x2", "\"1x2\" is not a shape: MxKxN"},
        {"matmul --shape 1x2x3x", "is not a shape"},
        {"matmul --shape 0x32x32", "is not a shape"},
        {"matmul --shape 1x1048576x1048576", "more than 2^32 elements"},
        {"matmul --model nothing", "no model is called \"nothing\""},
        {"matmul --precision reference", "--precision: reference not in"},
        {"matmul --cores 4", "--cores"},
        {"matmul --runtime " + missing + "/librknnrt.so", missing + "/librknnrt.so"},
    };
    for (const auto& [arguments, text] : cases) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.status, 1) << arguments;
        EXPECT_THAT(outcome.output, HasSubstr(text));
        EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
    }
}

}  // namespace
