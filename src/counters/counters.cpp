// SPDX-License-Identifier: MIT
#include "counters/counters.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

uint64_t now_ns() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

constexpr const char* kPhaseNames[kPhases] = {"memory",     "pack",      "load", "store", "quantise", "npu",
                                              "dequantise", "reference", "cpu",  "plan",  "softmax"};

nlohmann::json maintenance(const MaintenanceCounter& counter) {
    return {{"calls", counter.calls.load()}, {"bytes", counter.bytes.load()}};
}

nlohmann::json json_of(const WeightRecord& w, size_t experts) {
    return {{"name", w.name},
            {"type", w.type},
            {"K", w.K},
            {"N", w.N},
            {"precision", w.precision},
            {"packed_bytes", w.packed_bytes * std::max<size_t>(1, experts)},
            {"experts", experts},
            {"activation_statistics", w.with_stats},
            {"planes", w.planes},
            {"rotated", w.rotated}};
}

// Those that are not 0, by their reason's text.
template <typename Counts, typename Reason>
nlohmann::json by_reason(const Counts& counts, const char* (*text)(Reason)) {
    nlohmann::json found = nlohmann::json::object();
    for (size_t r = 0; r < counts.size(); ++r)
        if (const uint64_t count = counts[r]; count > 0) found[text(static_cast<Reason>(r))] = count;
    return found;
}

// whisper.cpp names no tensor; in each graph ggml calls the first leaf_0, so that a name stands for several.
bool is_named_by_ggml(const std::string& name) {
    return name.empty() || name.starts_with("leaf_") || name.starts_with("node_");
}

}  // namespace

PhaseTimer::PhaseTimer(Counters& counters, Phase phase)
    : counters_(counters), phase_(phase), start_ns_(now_ns()) {}
PhaseTimer::~PhaseTimer() {
    counters_.add_time(phase_, now_ns() - start_ns_);
}

void Counters::add_weight(const WeightRecord& record) {
    std::string key = format("%s %s %zux%zu", record.name.c_str(), record.type.c_str(), record.K, record.N);
    if (is_named_by_ggml(record.name) && record.expert < 0) key += format(" %p", record.data);
    const std::lock_guard lock(mutex_);
    Listed& listed = weights_[key];
    listed.record = record;
    if (record.expert >= 0) listed.experts.insert(record.expert);
}

void Counters::add_flow_stop(const std::string& what) {
    const std::lock_guard lock(mutex_);
    ++flow_stops_[what];
}

std::string Counters::to_json(const Config& config, const RuntimeInfo& runtime,
                              const std::string& version) const {
    using nlohmann::json;
    json weights = json::array(), stops;
    {
        const std::lock_guard lock(mutex_);
        stops = flow_stops_;
        for (const auto& [key, listed] : weights_)
            weights.push_back(json_of(listed.record, listed.experts.size()));
    }
    json time = json::object();
    for (size_t p = 0; p < kPhases; ++p)
        time[kPhaseNames[p]] = time_ns_[p].load() / 1000;

    const json document = {
        {"schema", 1},
        {"version", version},
        {"runtime",
         {{"path", runtime.library},
          {"api_version", runtime.api_version},
          {"driver_version", runtime.driver_version},
          {"simulated", runtime.simulated}}},
        {"precision", precision_name(config.precision)},
        {"cores", config.cores},
        {"weights", weights},
        {"matmuls",
         {{"npu", npu_matmuls.load()},
          {"cpu_reference", reference_matmuls.load()},
          {"by_precision",
           {{"int4", int4_matmuls.load()}, {"int8", int8_matmuls.load()}, {"fp16", fp16_matmuls.load()}}}}},
        {"runs", runs.load()},
        {"failures", failures.load()},
        {"faults",
         {{"on_error", on_error_text(config.on_error)},
          {"failed_runs", faults.failed_runs.load()},
          {"failed", faults.failed.load()},
          {"retried", faults.retried.load()},
          {"reset", faults.reset.load()},
          {"by_cpu", faults.by_cpu.load()},
          {"given_up", faults.given_up.load()}}},
        {"attention",
         {{"nodes", attention.nodes.load()},
          {"nodes_of_flows", attention.nodes_of_flows.load()},
          {"runs", attention.runs.load()},
          {"scores", attention.scores.load()},
          {"packed_bytes", attention.packed_bytes.load()},
          {"tokens_without_halves", attention.tokens_without_halves.load()},
          {"without_memory", attention.without_memory.load()},
          {"few_tokens", attention.few_tokens.load()},
          {"few_tokens_by_host", attention.few_tokens_by_host.load()},
          {"cpu", by_reason(attention_on_cpu_, attention_reason_text)}}},
        {"contexts", {{"kept", contexts.kept.load()}, {"lowered", contexts.lowered.load()}}},
        {"cache_maintenance",
         {{"weights", maintenance(coherency.weights)},
          {"activations", maintenance(coherency.activations)},
          {"result_areas", maintenance(coherency.result_areas)},
          {"results", maintenance(coherency.results)}}},
        {"device_lock",
         {{"taken", device_lock.taken.load()},
          {"waits", device_lock.waits.load()},
          {"waited_us", device_lock.waited_ns.load() / 1000}}},
        {"refused", by_reason(refusals_, reason_text)},
        {"matrices_on_cpu", matrices_on_cpu.load()},
        {"experts",
         {{"npu", experts_npu_.load()},
          {"cpu", experts_cpu_.load()},
          {"reasons", by_reason(choices_, target_reason_text)},
          {"cpu_copies", cpu_copies.load()},
          {"cpu_copy_bytes", cpu_copy_bytes.load()},
          {"cpu_copies_refused", cpu_copies_refused.load()}}},
        {"graphs", graphs.load()},
        {"cpu_segments", cpu_segments.load()},
        {"cpu_nodes", cpu_nodes.load()},
        {"fused_nodes", fused_nodes.load()},
        {"flows", flows.load()},
        {"flow_chunks", flow_chunks.load()},
        {"flow_nodes", flow_nodes.load()},
        {"flow_matmuls", flow_matmuls.load()},
        {"prompt_matmuls", prompt_matmuls.load()},
        {"flow_stops", stops},
        {"flows_shortened", flows_shortened.load()},
        {"flows_without_memory", flows_without_memory.load()},
        {"flows_without_contexts", flows_without_contexts.load()},
        {"activation_matrices",
         {{"quantised", activations_quantised.load()}, {"shared", activations_shared.load()}}},
        {"split_rows", split_rows.load()},
        {"cpu_tasks", {{"all", cpu_tasks.load()}, {"beside_npu", overlapped_tasks.load()}}},
        {"bytes",
         {{"weights", weight_bytes.load()},
          {"activations", activation_bytes.load()},
          {"results", result_bytes.load()}}},
        {"weight_cache",
         {{"loaded", weight_cache.loaded.load()},
          {"loaded_ahead", weight_cache.loaded_ahead.load()},
          {"loaded_bytes", weight_cache.loaded_bytes.load()},
          {"rejected", weight_cache.rejected.load()},
          {"written", weight_cache.written.load()},
          {"written_bytes", weight_cache.written_bytes.load()},
          {"not_written", weight_cache.not_written.load()}}},
        {"time_us", time},
    };
    return document.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace rknpu2
