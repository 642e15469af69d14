// rknpu2-bench as a program: exit status, and one line for what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>

namespace {

using testing::HasSubstr;

struct Outcome {
    int status;
    std::string output;
};

Outcome run(const std::string& arguments) {
    FILE* pipe = popen((std::string(RKNPU2_BENCH_PROGRAM) + " " + arguments + " 2>&1").c_str(), "r");
    std::string output;
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;)
        output.append(buffer, n);
    const int status = pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
}

TEST(BenchProgram, PredictsAndChecks) {
    const Outcome text = run("predict --model SmolLM2-135M --design plain full");
    EXPECT_EQ(text.status, 0) << text.output;
    EXPECT_THAT(text.output, HasSubstr("Modelled, not measured"));
    const Outcome check = run("predict --check");
    EXPECT_EQ(check.status, 0) << check.output;
    EXPECT_THAT(check.output, HasSubstr("within their bars"));
}

TEST(BenchProgram, WhatIsWrongIsOneLine) {
    const std::pair<const char*, const char*> cases[] = {
        {"", "subcommand"},
        {"predict --model nothing", "no model is called \"nothing\""},
        {"predict --design best", "no design is called \"best\""},
        {"predict --precision exact", "no precision is called \"exact\""},
        {"predict --profile /nonexistent", "cannot read /nonexistent"},
        {"predict --banks 12", "--banks"},
        {"predict --format xml", "--format"},
        {"predict --model SmolLM2-135M --svg /nonexistent/a.svg", "cannot write /nonexistent/a.svg"},
        {"predict --model SmolLM2-135M --design plain full --trace /tmp/t.json", "--trace shows one layer"},
    };
    for (const auto& [arguments, text] : cases) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.status, 1) << arguments;
        EXPECT_THAT(outcome.output, HasSubstr(text));
        EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\n'), 1) << outcome.output;
    }
}

}  // namespace
