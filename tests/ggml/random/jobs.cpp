// SPDX-License-Identifier: MIT
#include "ggml/random/jobs.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "ggml/random/draw.hpp"
#include "ggml/random/shrink.hpp"

namespace rknpu2::test {
namespace {

// What the jobs share.
struct Shared {
    std::atomic<uint64_t> next_group{0};
    std::atomic<int> failures{0};
    std::atomic<uint64_t> graphs{0}, steps{0}, observations{0}, judged{0}, sensitive{0}, flowed{0}, flows{0},
        flow_nodes{0}, fused_nodes{0}, matmuls{0}, attentions{0}, aborted{0}, failed_runs{0}, failed{0};
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

void write_out(const std::string& text) {
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

std::string stderr_of(const Verdict& verdict) {
    return verdict.said.empty() ? "" : "---- the end of its stderr\n" + verdict.said + "----\n";
}

// The failure, and the smallest graph that fails alike.
std::string report(const JobOptions& options, const Recipe& recipe, uint64_t graph, const Verdict& verdict,
                   Judge& judge) {
    std::string text = "FAILED --seed " + std::to_string(options.seed) + " --first " + std::to_string(graph) +
                       " --graphs 1: " + verdict.detail + "\n" + stderr_of(verdict);
    const Verdict again = judge.judge(recipe, true);
    if (again.kind != verdict.kind) {
        const uint64_t first = graph / kGroup * kGroup;
        return text + "not in a new process (" + (again.failed() ? again.detail : "all as expected") +
               "); repeat with: test_ggml_random --jobs 1 --seed " + std::to_string(options.seed) +
               " --first " + std::to_string(first) + " --graphs " + std::to_string(graph - first + 1) + "\n";
    }
    const bool fresh = !verdict.said.empty() || verdict.kind.find("hangs") != std::string::npos;
    const Recipe smallest = shrink(recipe, verdict.kind, judge, options.attempts, fresh);
    const Verdict last = judge.judge(smallest, true);
    // A failure may come and go: with threads, a fault is another call's each time.
    const std::string detail = last.failed() ? last.detail : "all as expected this time; repeat it often";
    return text + "smallest (" + std::to_string(smallest.steps.size()) + " of " +
           std::to_string(recipe.steps.size()) + " steps): " + detail + "\n" + listing_of(smallest) +
           "repeat with: test_ggml_random --recipe '" + text_of(smallest) + "'\n";
}

void count(const Recipe& recipe, const Verdict& verdict, Shared& shared) {
    const Counters& counters = verdict.on.counters;
    shared.graphs += 1;
    shared.steps += recipe.steps.size();
    shared.observations += verdict.observations;
    shared.judged += verdict.judged ? 1 : 0;
    shared.sensitive += verdict.sensitive ? 1 : 0;
    shared.flowed += counters.flows > 0 ? 1 : 0;
    shared.flows += counters.flows;
    shared.flow_nodes += counters.flow_nodes;
    shared.attentions += counters.attentions;
    shared.fused_nodes += counters.fused_nodes;
    shared.matmuls += counters.matmuls;
    shared.aborted += verdict.on.aborted;
    shared.failed_runs += counters.failed_runs;
    shared.failed += verdict.on.failed;
}

void judge_one(const JobOptions& options, uint64_t graph, Judge& judge, Shared& shared) {
    const Recipe recipe = draw_recipe(options.seed, graph);
    const auto begin = std::chrono::steady_clock::now();
    const Verdict verdict = judge.judge(recipe);
    count(recipe, verdict, shared);
    if (options.print) {
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
        char line[160];
        std::snprintf(line, sizeof line,
                      "graph %llu: %.2f s, %llu flows, NMSE %.2g, %.2f of what is allowed; %s\n",
                      static_cast<unsigned long long>(graph), took.count(),
                      static_cast<unsigned long long>(verdict.on.counters.flows), verdict.farthest,
                      verdict.nearness, verdict.sensitive ? "amplifies errors" : verdict.kind.c_str());
        write_out(line + (options.graphs < 20 ? listing_of(recipe) : ""));
    }
    if (!verdict.failed()) return;
    ++shared.failures;
    write_out(report(options, recipe, graph, verdict, judge));
}

void judge_groups(const JobOptions& options, Shared& shared) {
    Judge judge(options.seconds);
    const uint64_t end = options.first + options.graphs;
    for (uint64_t group = options.first / kGroup + shared.next_group++; group * kGroup < end;
         group = options.first / kGroup + shared.next_group++) {
        for (uint64_t graph = std::max(group * kGroup, options.first);
             graph < std::min(end, (group + 1) * kGroup); ++graph) {
            if (shared.failures >= options.failures) return;
            judge_one(options, graph, judge, shared);
        }
        if (const std::string left = judge.end(); !left.empty()) {
            ++shared.failures;
            write_out("FAILED at the end of the process of graphs " + std::to_string(group * kGroup) +
                      " to " + std::to_string((group + 1) * kGroup - 1) + ": " + left + "\n");
        }
    }
}

// Seconds between two lines of progress.
constexpr unsigned kProgressSeconds = 30;

// A process that says how far the jobs are, until it is killed.
pid_t start_progress(const JobOptions& options, const Shared& shared) {
    const pid_t child = fork();
    if (child != 0) return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        sleep(kProgressSeconds);
        std::fprintf(stderr, "seed %llu: %llu of %llu graphs, %d failed\n",
                     static_cast<unsigned long long>(options.seed),
                     static_cast<unsigned long long>(shared.graphs.load()),
                     static_cast<unsigned long long>(options.graphs), shared.failures.load());
    }
}

std::string summary_of(const Shared& shared) {
    const auto number = [](const std::atomic<uint64_t>& value) { return std::to_string(value.load()); };
    return number(shared.graphs) + " graphs, " + number(shared.steps) + " steps, " +
           number(shared.observations) + " tensors compared bit by bit, " + number(shared.judged) +
           " graphs with the CPU backend too (" + number(shared.sensitive) + " amplify errors); " +
           number(shared.matmuls) + " products and " + number(shared.attentions) +
           " attentions on the NPU, " + number(shared.flows) + " flows of " + number(shared.flow_nodes) +
           " nodes in " + number(shared.flowed) + " graphs, " + number(shared.fused_nodes) +
           " gates with their products; " + number(shared.aborted) + " stops, " + number(shared.failed_runs) +
           " failed runs of the NPU, " + number(shared.failed) + " failed graphs computed again: " +
           (shared.failures == 0 ? "all as expected" : std::to_string(shared.failures) + " FAILED") + "\n";
}

}  // namespace

int run_jobs(const JobOptions& options) {
    void* const memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("no shared memory");
    auto* const shared = new (memory) Shared;
    std::fflush(nullptr);
    const pid_t progress = start_progress(options, *shared);
    if (progress < 0) throw std::runtime_error("cannot fork");
    bool ended_well = true;
    for (int job = 0; job < options.jobs; ++job) {
        const pid_t child = fork();
        if (child < 0) throw std::runtime_error("cannot fork");
        if (child > 0) continue;
        judge_groups(options, *shared);
        std::exit(0);
    }
    int status = 0;
    for (int ended = 0; ended < options.jobs;) {
        const pid_t child = wait(&status);
        if (child < 0) break;
        if (child == progress) continue;
        ++ended;
        ended_well = ended_well && status == 0;
    }
    kill(progress, SIGKILL);
    waitpid(progress, nullptr, 0);
    write_out(summary_of(*shared));
    const bool good = ended_well && shared->failures == 0 && shared->graphs == options.graphs;
    munmap(memory, sizeof(Shared));
    return good ? 0 : 1;
}

}  // namespace rknpu2::test
