// SPDX-License-Identifier: MIT
// Random graphs against the plug-in; see "Random graphs" in tests/ggml/README.md.
//
//   test_ggml_random --graphs 2000 --seed 1            graphs 0 to 1999 of seed 1
//   test_ggml_random --seed 1 --first 123 --graphs 1   one of them
//   test_ggml_random --recipe 'alloc=own ; ...'        a graph as text, and its numbers
//   test_ggml_random --coverage --graphs 2000          what is in them, as CSV; computes nothing
//
// The exit status is 0 when all went as expected. A failure is one line that repeats it, then the smallest
// graph found that still fails in that way.
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "ggml/ggml_host.hpp"
#include "ggml/random/coverage.hpp"
#include "ggml/random/draw.hpp"
#include "ggml/random/jobs.hpp"

namespace {

using namespace rknpu2::test;  // NOLINT: this is their program

constexpr int kSkipped = 77;

int print_coverage(const JobOptions& options) {
    Coverage coverage;
    for (uint64_t i = options.first; i < options.first + options.graphs; ++i)
        coverage.add(draw_recipe(options.seed, i));
    std::fputs(coverage.csv().c_str(), stdout);
    return 0;
}

int run_one(const std::string& text, int seconds) {
    Judge judge(seconds);
    const Recipe recipe = parse_recipe(text);
    const Verdict verdict = judge.judge(recipe);
    std::printf("%s%s%s\n", listing_of(recipe).c_str(), verdict.values.c_str(),
                verdict.failed() ? verdict.detail.c_str() : "all as expected");
    if (!verdict.said.empty()) std::printf("---- the end of its stderr\n%s----\n", verdict.said.c_str());
    const std::string left = judge.end();
    if (!left.empty()) std::printf("at the end: %s\n", left.c_str());
    return verdict.failed() || !left.empty() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
    JobOptions options;
    std::string recipe;
    bool coverage = false;
    CLI::App app("Random graphs against the plug-in");
    app.add_option("--seed", options.seed, "which graphs");
    app.add_option("--first", options.first, "number of the first graph");
    app.add_option("--graphs", options.graphs, "how many");
    app.add_option("--recipe", recipe, "one graph, as text");
    app.add_option("--jobs", options.jobs, "graphs computed at once")->check(CLI::Range(1, 64));
    app.add_option("--failures", options.failures, "stop after so many");
    app.add_option("--attempts", options.attempts, "graphs tried to make a failure smaller");
    app.add_option("--seconds", options.seconds, "for one computation before it counts as hanging");
    app.add_flag("--print", options.print, "print the graphs, and how each went");
    app.add_flag("--coverage", coverage, "print what is in the graphs, as CSV");
    CLI11_PARSE(app, argc, argv);
    if (coverage) return print_coverage(options);
    if (std::string(HOST_BIN_DIR).empty()) {
        std::puts("skipped: RKNPU2_LLAMA_BIN_DIR is not set: no host to load into");
        return kSkipped;
    }
    signal(SIGPIPE, SIG_IGN);
    try {
        return recipe.empty() ? run_jobs(options) : run_one(recipe, options.seconds);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "test_ggml_random: %s\n", error.what());
        return 2;
    }
}
