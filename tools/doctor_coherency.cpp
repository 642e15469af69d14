// SPDX-License-Identifier: MIT
// The probes of the CPU's cache, and what follows from them.
#include "doctor_reading.hpp"

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "doctor_measure.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kSyncSizes[] = {4 << 10, 64 << 10, 1 << 20};

std::string cost_name(const char* strategy, bool to_device, size_t bytes) {
    return format("%s %s, %zu KiB", strategy, to_device ? "to the device" : "from it", bytes >> 10);
}

// Microseconds of `keep_in_step` after the CPU has written all of the buffer.
Status add_cost(Bench& bench, NpuMemory& memory, const std::string& name,
                const std::function<Status()>& keep_in_step, Reading& reading, double& sum) {
    const Result<double> us = median_us(
        bench.clock, bench.clock.simulated() ? 1 : 15, [&] { std::memset(memory.data(), 1, memory.size()); },
        keep_in_step);
    RKNPU2_RETURN_IF_ERROR(us.status());
    reading.add(name, us.value(), "us");
    sum += us.value();
    return {};
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
        const Figure* const figure = find_figure(readings, need.reading, need.figure);
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

Status probe_sync_cost(Bench& bench, Reading& reading) {
    std::unique_ptr<NpuContext> context;
    RKNPU2_RETURN_IF_ERROR(take(bench.runtime.create_context({.K = 64, .N = 64, .rows = {1}}), context));
    const CacheLines lines = bench.runtime.cache_lines();
    double owner_us = 0;
    double lines_us = 0;
    for (const size_t bytes : kSyncSizes) {
        std::unique_ptr<NpuMemory> allocated;
        RKNPU2_RETURN_IF_ERROR(take(context->allocate(bytes), allocated));
        NpuMemory& memory = *allocated;
        for (const bool to_device : {true, false}) {
            const auto sync = [&] {
                return to_device ? context->sync_to_device(memory) : context->sync_from_device(memory);
            };
            const auto clean = [&] {
                return lines.apply(
                    to_device ? CacheLines::Operation::kClean : CacheLines::Operation::kCleanAndInvalidate,
                    memory.data(), bytes);
            };
            RKNPU2_RETURN_IF_ERROR(
                add_cost(bench, memory, cost_name("owner", to_device, bytes), sync, reading, owner_us));
            if (lines.available()) {
                RKNPU2_RETURN_IF_ERROR(
                    add_cost(bench, memory, cost_name("lines", to_device, bytes), clean, reading, lines_us));
            }
        }
    }
    reading.answer = format("%.1f us by owner", owner_us);
    if (lines.available()) reading.answer += format(", %.1f us by lines", lines_us);
    return {};
}

double sync_cost_us(const std::vector<Reading>& readings, const char* strategy, bool to_device,
                    size_t bytes) {
    const Figure* const figure = find_figure(readings, "sync-cost", cost_name(strategy, to_device, bytes));
    return figure != nullptr ? figure->value : 0;
}

CoherencyVerdict choose_coherency(const std::vector<Reading>& readings) {
    CoherencyVerdict choice;
    choice.owner = judge(readings,
                         {{"owner-sync", "activations"},
                          {"owner-sync", "results"},
                          {"slab-sync", "weights"},
                          {"dirty-lines", kCleanedWhole}},
                         "owner");
    choice.lines = judge(readings,
                         {{"cache-lines", "activations"},
                          {"cache-lines", "weights"},
                          {"cache-lines", "results"},
                          {"dirty-lines", kCleanedLines}},
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
    const CheckLine line{"reading.coherency", "strategy for the CPU's cache"};
    const std::string found =
        (choice.chosen.empty() ? "none is right" : choice.chosen) + " (" + choice.why + ")";
    if (choice.chosen.empty()) {
        return line.problem(
            found,
            "results may be wrong now and then: do not use the NPU; report it with this report's file");
    }
    if (choice.chosen == "owner" && !choice.owner.right) {
        return line.warning(
            found, "it is what the plug-in does without a profile; report it with this report's file");
    }
    return line.ok(found);
}

}  // namespace rknpu2
