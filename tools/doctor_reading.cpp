// SPDX-License-Identifier: MIT
#include "doctor_reading.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/format.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

std::string figure_text(const Figure& figure) {
    if (figure.of > 0) return format("%s %.0f of %.0f", figure.name.c_str(), figure.value, figure.of);
    return format("%s %.*f%s%s", figure.name.c_str(), figure.unit.empty() ? 0 : 1, figure.value,
                  figure.unit.empty() ? "" : " ", figure.unit.c_str());
}

constexpr size_t kSyncSizes[] = {4 << 10, 64 << 10, 1 << 20};

std::string cost_name(const char* strategy, bool to_device, size_t bytes) {
    return format("%s %s, %zu KiB", strategy, to_device ? "to the device" : "from it", bytes >> 10);
}

// Microseconds of `keep_in_step` after the CPU has written all of the buffer.
Status add_cost(Bench& bench, NpuMemory& memory, const std::string& name,
                const std::function<Status()>& keep_in_step, Reading& reading, double& sum) {
    const double us = RKNPU2_TAKE(median_us(
        bench.clock, bench.clock.simulated() ? 1 : 15, [&] { std::memset(memory.data(), 1, memory.size()); },
        keep_in_step));
    reading.add(name, us, "us");
    sum += us;
    return {};
}

// Null when there is none.
const Figure* find_figure(const std::vector<Reading>& readings, const std::string& id,
                          const std::string& name) {
    const Reading* const reading = find_reading(readings, id);
    return reading != nullptr ? reading->find(name) : nullptr;
}

// Part of the time of runs that a strategy takes: a token's product syncs some 4 KiB to the device and 64 KiB
// from it beside a run of half a millisecond, a prompt's 1 MiB to it and 4 MiB from it beside one of four
// (4096x4096 int8 with one row and with 256, on three cores by docs/performance.md). 0: not measured.
double lost_share(const std::vector<Reading>& readings, const char* strategy) {
    const auto us = [&](bool to_device, size_t bytes) {
        const Figure* const figure =
            find_figure(readings, "sync-cost", cost_name(strategy, to_device, bytes));
        return figure != nullptr ? figure->value : 0;
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

const Figure* Reading::find(const std::string& name) const {
    const auto found = std::ranges::find(figures, name, &Figure::name);
    return found == figures.end() ? nullptr : &*found;
}

void Reading::add_count(const std::string& name, size_t value, size_t of) {
    figures.push_back({name, static_cast<double>(value), static_cast<double>(of), ""});
}

void Reading::add(const std::string& name, double value, const std::string& unit) {
    figures.push_back({name, value, 0, unit});
}

const std::vector<Probe>& probes() {
    static const std::vector<Probe> all = {
        {"owner-sync", "operands in buffers of their own, synced on their handles", true, probe_cache},
        {"slab-sync", "packed weights, the whole slab synced once, used through imports", true, probe_cache},
        {"import-sync", "sync of an imported slice", true, probe_cache},
        {"bind-cleans", "binding instead of a sync", true, probe_cache},
        {"cache-lines", "cache lines cleaned from user space", true, probe_cache},
        {"results-visible", "results read without a sync", true, probe_cache},
        {"dirty-lines", "results in memory that the CPU wrote to before", true, probe_cache},
        {"non-cacheable", "memory that was asked for without a cache, never synced", true, probe_cache},
        {"sync-cost", "cost of keeping the cache in step", true, probe_sync_cost},
        {"bind-cost", "cost of binding", true, probe_bind_cost},
        {"context-cost", "cost of a context", true, probe_context_cost},
        {"int4-input", "the runtime's conversion of int4 weights", true, probe_int4_input},
        {"int8-three-cores", "512x4096x4096 int8 on three cores at once", false, probe_int8_three_cores},
        {"attention-runs", "what attention on the NPU runs", true, probe_attention_runs},
        {"m-2048", "many rows", true, probe_many_rows},
        {"wide-n", "wide results", true, probe_wide_n},
        {"many-contexts", "contexts alive at once", true, probe_many_contexts},
        {"attention-shapes", "shapes of attention, 2048 rows of fp16", false, probe_attention_shapes},
    };
    return all;
}

Reading not_tried(const Probe& probe, Outcome why) {
    return {std::move(why), probe.id, probe.title, "", {}};
}

Reading run_probe(const Probe& probe, Bench& bench) {
    Reading reading = not_tried(probe, {StepState::kLeftOut, "left out by --quick"});
    if (bench.quick && !probe.quick) return reading;
    static_cast<Outcome&>(reading) = outcome_of(probe.run(bench, reading));
    if (!reading.ran()) reading.answer.clear();
    return reading;
}

Outcome outcome_of(const Status& status) {
    if (status.ok()) return {StepState::kRan, ""};
    return {status.code() == StatusCode::kTimeout ? StepState::kTimedOut : StepState::kFailed,
            status.message()};
}

size_t fewer_columns(const Reading& wide) {
    if (wide.state == StepState::kLeftOut) return 0;
    if (!wide.ran()) return rk3588::kDocumentedN;
    size_t columns = rk3588::kWideN;
    for (const char* const type : {"int8", "fp16"}) {
        const Figure* const figure = wide.find(type);
        if (figure != nullptr) columns = std::min(columns, static_cast<size_t>(figure->value));
    }
    return columns == rk3588::kWideN ? 0 : std::max(columns, rk3588::kDocumentedN);
}

Check check_of(const Reading& reading) {
    const CheckLine line{"reading." + reading.id, reading.id + ", " + reading.title};
    std::string found = reading.ran() ? reading.answer : reading.error;
    std::vector<std::string> figures;
    std::ranges::transform(reading.figures, std::back_inserter(figures), figure_text);
    if (!figures.empty()) found += " (" + joined(figures, "; ") + ")";
    if (reading.state == StepState::kLeftOut) return line.skipped(found);
    if (const size_t columns = reading.id == "wide-n" ? fewer_columns(reading) : 0; columns != 0) {
        return line.warning(found,
                            format("GGML_RKNPU2_COLUMNS=%zu, where no board profile says it", columns));
    }
    if (reading.ran()) return line.ok(found);
    return line.warning(found,
                        reading.state == StepState::kFailed
                            ? "the plug-in goes on without it; report it with this report's file"
                            : "a program that does this ends with it: report it with this report's file");
}

const Reading* find_reading(const std::vector<Reading>& readings, const std::string& id) {
    const auto found = std::ranges::find(readings, id, &Reading::id);
    return found == readings.end() ? nullptr : &*found;
}

Status probe_sync_cost(Bench& bench, Reading& reading) {
    const auto context = RKNPU2_TAKE(bench.runtime.create_context({.K = 64, .N = 64, .rows = {1}}));
    const CacheLines lines = bench.runtime.cache_lines();
    double owner_us = 0;
    double lines_us = 0;
    for (const size_t bytes : kSyncSizes) {
        const auto allocated = RKNPU2_TAKE(context->allocate(bytes));
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
