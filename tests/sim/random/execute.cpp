// SPDX-License-Identifier: MIT
#include "sim/random/execute.hpp"

#include <cstdlib>
#include <map>
#include <thread>

#include "api/rknnsim.h"
#include "base/format.hpp"
#include "sim/random/machine.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::format;

// "Every refused call writes one line to stderr": and no other call does. 20 lines that differ in their
// numbers only are printed; `refused` counts the refusals of this call before, of whatever kind.
std::string judge_lines(const Step& step, const Outcome& outcome, const std::string& said, int refused) {
    constexpr int kLinesOfAKind = 20;
    const std::string prefix = format("rknnsim: error: %s: ", call_name(step.call));
    const size_t lines = count_lines(said, prefix);
    const size_t all = count_lines(said, "rknnsim: error: ");
    if (step.call == Call::kCollide) return "";
    if (outcome.code == 0 && all > 0) return "success, but a line says: " + said;
    if (outcome.code != 0 && said.empty() && refused >= kLinesOfAKind) return "";
    if (outcome.code != 0 && (lines != 1 || all != 1))
        return "refused with " + (said.empty() ? "no line" : said);
    return "";
}

uint64_t stale_count() {
    return rknnsim_check_count("missing-sync") + rknnsim_check_count("stale-input");
}

std::string alone(const Step& step, Machine& machine, Model& model, Messages& messages,
                  std::map<Call, int>* refused, Report* report) {
    messages.fresh();
    const uint64_t before = rknnsim_check_count(nullptr);
    const uint64_t stale = stale_count();
    const uint64_t imports = rknnsim_check_count("import-sync");
    const uint64_t dirty = rknnsim_check_count("dirty-result");
    Outcome outcome = machine.perform(step);
    const std::string said = messages.fresh();
    outcome.messages = rknnsim_check_count(nullptr) - before;
    outcome.stale = stale_count() - stale;
    outcome.import_syncs = rknnsim_check_count("import-sync") - imports;
    outcome.dirty_results = rknnsim_check_count("dirty-result") - dirty;
    outcome.complete = step.call == Call::kRun;
    report->refused += outcome.code != 0 ? 1 : 0;
    std::string problem = model.apply(step, outcome);
    const bool collision = step.call == Call::kCollide;  // which calls run, and may be refused all but once
    int& count = (*refused)[collision ? Call::kRun : step.call];
    const int before_it = count;
    count += collision ? static_cast<int>(2 * step.size) : outcome.code != 0 ? 1 : 0;
    return problem.empty() ? judge_lines(step, outcome, said, before_it) : problem;
}

// Performs the steps [first, last) on a thread for each lane, then judges them in the order of the list.
std::string together(const Program& program, size_t first, size_t last, Machine& machine, Model& model,
                     Report* report) {
    std::vector<Outcome> outcomes(last - first);
    std::map<int, std::vector<size_t>> lanes;
    for (size_t i = first; i < last; ++i)
        lanes[program.steps[i].lane].push_back(i);
    std::vector<std::thread> threads;
    for (const auto& [lane, steps] : lanes) {
        threads.emplace_back([&, &own = steps] {
            for (const size_t i : own)
                outcomes[i - first] = machine.perform(program.steps[i]);
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    for (size_t i = first; i < last; ++i) {
        report->step = static_cast<int>(i);
        std::string problem = model.apply(program.steps[i], outcomes[i - first]);
        if (!problem.empty()) return problem;
    }
    return "";
}

std::string steps(const Program& program, Machine& machine, Model& model, Messages& messages,
                  Report* report) {
    std::map<Call, int> refused;
    for (size_t i = 0; i < program.steps.size();) {
        const Step& step = program.steps[i];
        report->step = static_cast<int>(i);
        size_t next = i + 1;
        std::string problem;
        if (step.section == 0) {
            problem = alone(step, machine, model, messages, &refused, report);
        } else {
            while (next < program.steps.size() && program.steps[next].section == step.section)
                ++next;
            problem = together(program, i, next, machine, model, report);
        }
        report->calls += next - i;
        if (!problem.empty()) return problem;
        i = next;
    }
    report->step = static_cast<int>(program.steps.size());
    return "";
}

std::string judge_end(const Model& model, Machine& machine) {
    rknnsim_live_counts live{};
    if (rknnsim_live(&live) != 0) return "rknnsim_live fails";
    if (live.runs != model.runs() || live.macs != model.macs())
        return format("%llu runs of %llu products were counted, expected %llu of %llu",
                      (unsigned long long)live.runs, (unsigned long long)live.macs,
                      (unsigned long long)model.runs(), (unsigned long long)model.macs());
    for (int domain = 0; domain < 16; ++domain) {
        if (live.domain_bytes[domain] != model.used(domain))
            return format("domain %d has %llu bytes in use, expected %llu", domain,
                          (unsigned long long)live.domain_bytes[domain],
                          (unsigned long long)model.used(domain));
    }
    if (std::string problem = machine.destroy_all(); !problem.empty()) return problem;
    if (rknnsim_live(&live) != 0 || live.contexts + live.memories + live.bytes != 0)
        return "something is alive after everything was destroyed";
    return rknnsim_reset() == 0 ? "" : "rknnsim_reset fails";
}

}  // namespace

Report execute(const Program& program, Messages& messages, Model::Sabotage sabotage, bool clean_up) {
    Report report;
    messages.clear();
    for (const auto& [name, value] : program.settings.environment())
        value == nullptr ? unsetenv(name) : setenv(name, value, 1);
    if (rknnsim_reset() != 0) {
        report.problem = "rknnsim_reset fails before the program";
        return report;
    }
    Model model(program.settings, true);
    model.sabotage(sabotage);
    Machine machine(program);
    report.problem = steps(program, machine, model, messages, &report);
    report.compared = model.compared();
    if (!report.problem.empty()) {
        machine.destroy_all();
        return report;
    }
    if (clean_up) report.problem = judge_end(model, machine);
    return report;
}

}  // namespace rknnsim_random
