// SPDX-License-Identifier: MIT
#include "doctor_reading.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

std::string figure_text(const Figure& figure) {
    if (figure.of > 0) return format("%s %.0f of %.0f", figure.name.c_str(), figure.value, figure.of);
    return format("%s %.*f%s%s", figure.name.c_str(), figure.unit.empty() ? 0 : 1, figure.value,
                  figure.unit.empty() ? "" : " ", figure.unit.c_str());
}

}  // namespace

const Figure* Reading::find(const std::string& name) const {
    for (const Figure& figure : figures) {
        if (figure.name == name) return &figure;
    }
    return nullptr;
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
    std::string figures;
    for (const Figure& figure : reading.figures)
        figures += (figures.empty() ? "" : "; ") + figure_text(figure);
    if (!figures.empty()) found += " (" + figures + ")";
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
    for (const Reading& reading : readings) {
        if (reading.id == id) return &reading;
    }
    return nullptr;
}

const Figure* find_figure(const std::vector<Reading>& readings, const std::string& id,
                          const std::string& name) {
    const Reading* const reading = find_reading(readings, id);
    return reading != nullptr ? reading->find(name) : nullptr;
}

}  // namespace rknpu2
