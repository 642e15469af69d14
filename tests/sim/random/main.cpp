// SPDX-License-Identifier: MIT
// Random programs against the simulator; see "Random programs" in docs/simulator.md.
//
//   test_sim_random --programs 500 --seed 1             programs of seeds 1 to 500
//   test_sim_random --programs 500 --illegal            with calls in between that have to be refused
//   test_sim_random --seed 17 --programs 1 --print      what the program of a seed is
//   test_sim_random --self-test                         whether a wrong result would be seen
//
// The exit status is 0 when all went as expected. The first failure is one line with its seed, then the
// shortest program found that still fails.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "sim/random/generate.hpp"
#include "sim/random/isolate.hpp"

namespace {

using namespace rknnsim_random;  // NOLINT: this is their program

constexpr size_t kBatch = 100;  // programs in one process
constexpr int kShrinkAttempts = 400;

// In the order of Board.
const std::vector<std::string> kBoards = {"default", "bind",  "import-sync", "results",
                                          "dirty",   "worst", "any"};

struct Arguments {
    uint64_t seed = 1;
    size_t programs = 200;
    Options options;
    std::string kernel;
    std::string shadow = "auto";
    std::string board = "default";
    bool print = false;
    bool self_test = false;
    bool keep_length = false;
    unsigned seconds = 60;
};

std::string repro(const Arguments& arguments, uint64_t seed) {
    std::string text = "test_sim_random --seed " + std::to_string(seed) + " --programs 1";
    if (arguments.options.illegal) text += " --illegal";
    if (arguments.board != "default") text += " --board " + arguments.board;
    if (arguments.shadow != "auto") text += " --shadow " + arguments.shadow;
    if (arguments.options.threads != Options{}.threads)
        text += " --threads " + std::to_string(arguments.options.threads);
    if (arguments.options.macs != Options{}.macs) text += " --macs " + std::to_string(arguments.options.macs);
    if (!arguments.kernel.empty()) text += " --kernel " + arguments.kernel;
    return text;
}

int report_failure(const Arguments& arguments, const Verdict& verdict, const Isolation& isolation) {
    std::printf("FAILED seed %llu: %s\nrepeat with: %s\n", static_cast<unsigned long long>(verdict.seed),
                verdict.problem.c_str(), repro(arguments, verdict.seed).c_str());
    if (!verdict.said.empty()) std::printf("---- the end of its stderr\n%s----\n", verdict.said.c_str());
    if (!arguments.keep_length) {
        const Program program = generate(verdict.seed, arguments.options);
        const Program shorter = shrink(program, isolation, kShrinkAttempts);
        const Verdict again = run_isolated(
            1, [&](size_t) { return shorter; }, isolation);
        std::printf("shortest (%zu of %zu steps): %s\n%s", shorter.steps.size(), program.steps.size(),
                    again.problem.c_str(), text_of(shorter).c_str());
    }
    return 1;
}

int run_all(const Arguments& arguments) {
    uint64_t calls = 0;
    uint64_t refused = 0;
    uint64_t compared = 0;
    for (size_t first = 0; first < arguments.programs; first += kBatch) {
        const size_t count = std::min(kBatch, arguments.programs - first);
        Isolation isolation{.seconds = arguments.seconds};
        isolation.leave_last_alive = arguments.options.illegal && count > 1;
        const auto program = [&](size_t i) {
            return generate(arguments.seed + first + i, arguments.options);
        };
        const Verdict verdict = run_isolated(count, program, isolation);
        calls += verdict.calls;
        refused += verdict.refused;
        compared += verdict.compared;
        isolation.leave_last_alive = false;
        if (verdict.failed) return report_failure(arguments, verdict, isolation);
    }
    std::printf("%zu programs, %llu steps, %llu refused, %llu results compared: all as expected\n",
                arguments.programs, static_cast<unsigned long long>(calls),
                static_cast<unsigned long long>(refused), static_cast<unsigned long long>(compared));
    return 0;
}

// The comparison must see a flipped bit of a result, and K and N swapped when B is read.
int self_test(const Arguments& arguments) {
    int failures = 0;
    for (const Model::Sabotage how : {Model::Sabotage::kFlippedByte, Model::Sabotage::kSwapped}) {
        const char* name = how == Model::Sabotage::kSwapped ? "K and N swapped" : "a byte flipped";
        size_t seen = 0;
        size_t with_results = 0;
        for (size_t i = 0; i < arguments.programs; ++i) {
            const auto program = [&](size_t) { return generate(arguments.seed + i, arguments.options); };
            const Verdict good = run_isolated(1, program, {.seconds = arguments.seconds});
            if (good.failed || good.compared == 0) continue;
            ++with_results;
            const Verdict bad = run_isolated(1, program, {.seconds = arguments.seconds, .sabotage = how});
            if (bad.failed && bad.seed == arguments.seed + i) ++seen;
        }
        std::printf("%s: %zu of %zu programs with results fail\n", name, seen, with_results);
        // Operands that are all zeros or all alike have no order, and sums that are clipped hide a bit.
        if (with_results < arguments.programs / 2 || seen * 10 < with_results * 8) ++failures;
    }
    return failures;
}

}  // namespace

int main(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Random programs against the simulator");
    app.add_option("--seed", arguments.seed, "seed of the first program");
    app.add_option("--programs", arguments.programs, "how many, with ascending seeds");
    app.add_option("--threads", arguments.options.threads, "threads at once in a program, at most");
    app.add_option("--macs", arguments.options.macs, "multiplications in a program, about");
    app.add_option("--kernel", arguments.kernel, "reference, generic or avx2")
        ->check(CLI::IsMember({"reference", "generic", "avx2"}));
    app.add_option("--shadow", arguments.shadow, "RKNNSIM_SHADOW")
        ->check(CLI::IsMember({"auto", "lazy", "full"}));
    app.add_option("--board", arguments.board, "what the CPU's cache does")->check(CLI::IsMember(kBoards));
    app.add_option("--seconds", arguments.seconds, "for one program before it counts as hanging");
    app.add_flag("--illegal", arguments.options.illegal, "calls in between that have to be refused");
    app.add_flag("--print", arguments.print, "print the programs too");
    app.add_flag("--no-shrink", arguments.keep_length, "do not look for a shorter program that fails");
    app.add_flag("--self-test", arguments.self_test, "check that wrong results are seen");
    CLI11_PARSE(app, argc, argv);
    arguments.options.board =
        static_cast<Board>(std::find(kBoards.begin(), kBoards.end(), arguments.board) - kBoards.begin());
    if (arguments.shadow == "lazy") arguments.options.shadow = Settings::Shadow::kLazy;
    if (arguments.shadow == "full") arguments.options.shadow = Settings::Shadow::kFull;
    if (!arguments.kernel.empty()) setenv("RKNNSIM_KERNEL", arguments.kernel.c_str(), 1);
    if (arguments.print) {
        for (size_t i = 0; i < arguments.programs; ++i)
            std::fputs(text_of(generate(arguments.seed + i, arguments.options)).c_str(), stdout);
    }
    try {
        return arguments.self_test ? self_test(arguments) : run_all(arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "test_sim_random: %s\n", error.what());
        return 2;
    }
}
