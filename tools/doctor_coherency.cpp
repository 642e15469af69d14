// SPDX-License-Identifier: MIT
// The probes of the CPU's cache, and what follows from them.
#include "doctor_coherency.hpp"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "base/format.hpp"
#include "doctor_statistics.hpp"
#include "doctor_trials.hpp"

namespace rknpu2 {
namespace {

constexpr const char* kActivations = "activations";
constexpr const char* kWeights = "weights";
constexpr const char* kResults = "results";
constexpr const char* kDirtyResults = "results over cleaned memory";
constexpr const char* kNothingDone = "without it";
constexpr size_t kSyncSizes[] = {4 << 10, 64 << 10, 1 << 20};

// Adds a figure of what a trial counts.
Status add(Reading& reading, const std::string& name, const Result<Count>& count) {
    RKNPU2_RETURN_IF_ERROR(count.status().with_context(name));
    reading.add_count(name, count.value().right, count.value().of);
    return {};
}

// All figures but the control, in which nothing was done.
bool all_right(const Reading& reading) {
    return std::all_of(reading.figures.begin(), reading.figures.end(),
                       [](const Figure& f) { return f.all() || f.name == kNothingDone; });
}

// With a control: when even doing nothing was right each time, nothing can be told.
std::string answer_of(const Reading& reading, const char* yes, const char* no) {
    const Figure* const control = reading.find(kNothingDone);
    if (!all_right(reading)) return no;
    return control != nullptr && control->all() ? "cannot be told: nothing was ever old" : yes;
}

std::string cost_name(const char* strategy, bool to_device, size_t bytes) {
    return format("%s %s, %zu KiB", strategy, to_device ? "to the device" : "from it", bytes >> 10);
}

// Microseconds of `keep_in_step` after the CPU has written all of the buffer.
Result<double> cost_of(ProbeBench& bench, NpuMemory& memory, size_t bytes,
                       const std::function<Status()>& keep_in_step) {
    std::vector<double> times;
    const int rounds = bench.clock.simulated() ? 1 : 15;
    for (int round = 0; round < rounds; ++round) {
        std::memset(memory.data(), round, bytes);
        const uint64_t start = bench.clock.join();
        RKNPU2_RETURN_IF_ERROR(keep_in_step());
        times.push_back(static_cast<double>(bench.clock.now() - start) / 1000);
    }
    return median(times);
}

// Part of the time of runs that a strategy takes: a token's product syncs some 4 KiB to the device and 64 KiB
// from it beside a run of half a millisecond, a prompt's 1 MiB to it and 4 MiB from it beside one of four
// (4096x4096 int8 with one row and with 256, on three cores by docs/performance.md). 0: not measured.
double lost_share(const std::vector<Reading>& readings, const char* strategy) {
    const auto us = [&](bool to_device, size_t bytes) {
        return sync_cost_us(readings, strategy, to_device, bytes);
    };
    return (us(true, 4 << 10) + us(false, 64 << 10)) / 500 +
           (us(true, 1 << 20) + 4 * us(false, 1 << 20)) / 4000;
}

struct Need {
    const char* reading;
    const char* figure;
};

Strategy judge(const std::vector<Reading>& readings, const std::vector<Need>& needs, const char* name) {
    Strategy strategy;
    for (const Need& need : needs) {
        const Reading* const reading = find_reading(readings, need.reading);
        const Figure* const figure = reading != nullptr ? reading->find(need.figure) : nullptr;
        if (figure != nullptr && figure->all()) continue;
        strategy.failed = strategy.failed || figure != nullptr;
        if (!strategy.wrong.empty()) strategy.wrong += ", ";
        strategy.wrong += format("%s of %s ", need.figure, need.reading);
        strategy.wrong += figure != nullptr ? format("%.0f of %.0f", figure->value, figure->of) : "not tried";
    }
    strategy.right = strategy.wrong.empty();
    strategy.lost_share = lost_share(readings, name);
    return strategy;
}

std::string strategy_text(const char* name, const Strategy& strategy) {
    if (strategy.right) return format("%s: right, costs %.1f %% of a run", name, 100 * strategy.lost_share);
    return format("%s: %s, %s", name, strategy.failed ? "wrong" : "cannot be told", strategy.wrong.c_str());
}

}  // namespace

Status probe_owner_sync(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kNothingDone, trials.written(Operand::kActivations, Place::kOwn, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kActivations, trials.written(Operand::kActivations, Place::kOwn, Way::kSync)));
    RKNPU2_RETURN_IF_ERROR(add(reading, kResults, trials.read_back(Place::kOwn, Way::kSync)));
    reading.answer = answer_of(reading, "works", "does nothing");
    return {};
}

Status probe_slab_sync(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kNothingDone, trials.written(Operand::kWeights, Place::kSlice, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kWeights, trials.written(Operand::kWeights, Place::kSlice, Way::kOwner)));
    reading.answer = answer_of(reading, "works", "does nothing");
    return {};
}

Status probe_import_sync(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kNothingDone, trials.written(Operand::kActivations, Place::kSlice, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kActivations, trials.written(Operand::kActivations, Place::kSlice, Way::kSync)));
    RKNPU2_RETURN_IF_ERROR(add(reading, kResults, trials.read_back(Place::kSlice, Way::kSync)));
    reading.answer = answer_of(reading, "works", "does nothing");
    return {};
}

Status probe_bind_cleans(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kNothingDone, trials.written(Operand::kActivations, Place::kOwn, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kActivations, trials.written(Operand::kActivations, Place::kOwn, Way::kBind)));
    RKNPU2_RETURN_IF_ERROR(add(reading, "activations in slices",
                               trials.written(Operand::kActivations, Place::kSlice, Way::kBind)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, "weights in slices", trials.written(Operand::kWeights, Place::kSlice, Way::kBind)));
    reading.answer = answer_of(reading, "cleans", "leaves the cache as it is");
    return {};
}

Status probe_cache_lines(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    if (!trials.has_lines()) {
        reading.answer = "not to be had here";
        return {};
    }
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kNothingDone, trials.written(Operand::kActivations, Place::kOwn, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kActivations, trials.written(Operand::kActivations, Place::kOwn, Way::kLines)));
    RKNPU2_RETURN_IF_ERROR(
        add(reading, kWeights, trials.written(Operand::kWeights, Place::kSlice, Way::kLines)));
    RKNPU2_RETURN_IF_ERROR(add(reading, kResults, trials.read_back(Place::kOwn, Way::kLines)));
    reading.answer = answer_of(reading, "work", "do nothing");
    return {};
}

Status probe_results_visible(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    RKNPU2_RETURN_IF_ERROR(add(reading, kResults, trials.read_back(Place::kOwn, Way::kNothing)));
    RKNPU2_RETURN_IF_ERROR(add(reading, "results in slices", trials.read_back(Place::kSlice, Way::kNothing)));
    reading.answer = all_right(reading) ? "visible" : "old until synced";
    return {};
}

Status probe_dirty_lines(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    const Result<Count> kept = trials.kept(Way::kNothing);
    RKNPU2_RETURN_IF_ERROR(add(reading, "results over memory as the CPU left it", kept));
    RKNPU2_RETURN_IF_ERROR(add(reading, kDirtyResults, trials.kept(Way::kOwner)));
    if (trials.has_lines()) {
        RKNPU2_RETURN_IF_ERROR(
            add(reading, "results over memory cleaned by lines", trials.kept(Way::kLines)));
    }
    reading.answer = kept.value().all() ? "harmless" : "overwrite results";
    return {};
}

Status probe_non_cacheable(ProbeBench& bench, Reading& reading) {
    CoherencyTrials trials(bench);
    RKNPU2_RETURN_IF_ERROR(trials.make());
    const Result<Count> seen = trials.written(Operand::kActivations, Place::kNonCacheable, Way::kNothing);
    if (seen.status().code() == StatusCode::kUnsupported) {
        reading.answer = "not to be had here";
        return {};
    }
    RKNPU2_RETURN_IF_ERROR(add(reading, kActivations, seen));
    RKNPU2_RETURN_IF_ERROR(add(reading, kResults, trials.read_back(Place::kNonCacheable, Way::kNothing)));
    reading.answer = all_right(reading) ? "coherent" : "old";
    return {};
}

Status probe_sync_cost(ProbeBench& bench, Reading& reading) {
    ContextSpec spec;
    spec.K = spec.N = 64;
    spec.rows = {1};
    Result<std::unique_ptr<NpuContext>> context = bench.runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(context.status());
    const CacheLines lines = bench.runtime.cache_lines();
    double sums[2] = {};
    for (const size_t bytes : kSyncSizes) {
        Result<std::unique_ptr<NpuMemory>> made = context.value()->allocate(bytes);
        RKNPU2_RETURN_IF_ERROR(made.status());
        NpuMemory& memory = *made.value();
        for (const bool to_device : {true, false}) {
            const Result<double> owner = cost_of(bench, memory, bytes, [&] {
                return to_device ? context.value()->sync_to_device(memory)
                                 : context.value()->sync_from_device(memory);
            });
            RKNPU2_RETURN_IF_ERROR(owner.status());
            reading.add(cost_name("owner", to_device, bytes), owner.value(), "us");
            sums[0] += owner.value();
            if (!lines.available()) continue;
            const Result<double> by_line = cost_of(bench, memory, bytes, [&] {
                return lines.apply(
                    to_device ? CacheLines::Operation::kClean : CacheLines::Operation::kCleanAndInvalidate,
                    memory.data(), bytes);
            });
            RKNPU2_RETURN_IF_ERROR(by_line.status());
            reading.add(cost_name("lines", to_device, bytes), by_line.value(), "us");
            sums[1] += by_line.value();
        }
    }
    reading.answer = format("%.1f us by owner", sums[0]);
    if (lines.available()) reading.answer += format(", %.1f us by lines", sums[1]);
    return {};
}

double sync_cost_us(const std::vector<Reading>& readings, const char* strategy, bool to_device,
                    size_t bytes) {
    const Reading* const costs = find_reading(readings, "sync-cost");
    const Figure* const figure =
        costs != nullptr ? costs->find(cost_name(strategy, to_device, bytes)) : nullptr;
    return figure != nullptr ? figure->value : 0;
}

CoherencyVerdict choose_coherency(const std::vector<Reading>& readings) {
    CoherencyVerdict choice;
    choice.owner = judge(readings,
                         {{"owner-sync", kActivations},
                          {"owner-sync", kResults},
                          {"slab-sync", kWeights},
                          {"dirty-lines", kDirtyResults}},
                         "owner");
    choice.lines = judge(readings,
                         {{"cache-lines", kActivations},
                          {"cache-lines", kWeights},
                          {"cache-lines", kResults},
                          {"dirty-lines", "results over memory cleaned by lines"}},
                         "lines");
    for (const Reading& reading : readings) {
        const Figure* const control = reading.find(kNothingDone);
        choice.told = choice.told || (control != nullptr && !control->all());
    }
    const Strategy& owner = choice.owner;
    const Strategy& lines = choice.lines;
    const bool cheaper = lines.lost_share > 0 && lines.lost_share < 0.9 * owner.lost_share;
    if (!owner.failed && !(lines.right && choice.told && cheaper)) {
        choice.chosen = "owner";
    } else if (lines.right) {
        choice.chosen = "lines";
    }
    choice.why = strategy_text("owner", owner) + "; " + strategy_text("lines", lines);
    if (!choice.told) choice.why += "; no trial ever saw an old value, so that they cannot be told apart";
    return choice;
}

Check check_of(const CoherencyVerdict& choice) {
    Check check;
    check.id = "reading.coherency";
    check.title = "strategy for the CPU's cache";
    check.found = (choice.chosen.empty() ? "none is right" : choice.chosen) + " (" + choice.why + ")";
    if (choice.chosen == "owner" && !choice.owner.right) {
        check.health = Health::kWarning;
        check.advice = "it is what the plug-in does without a profile; report it with this report's file";
    }
    if (choice.chosen.empty()) {
        check.health = Health::kProblem;
        check.advice =
            "results may be wrong now and then: do not use the NPU; report it with this report's file";
    }
    return check;
}

}  // namespace rknpu2
