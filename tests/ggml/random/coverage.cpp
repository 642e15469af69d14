// SPDX-License-Identifier: MIT
#include "ggml/random/coverage.hpp"

#include <algorithm>
#include <set>

#include "ggml/random/build.hpp"
#include "ggml/random/execute.hpp"
#include "ggml/random/leaves.hpp"

namespace rknpu2::test {
namespace {

bool has(const Environment& environment, const std::string& name, const std::string& value = "") {
    return std::any_of(environment.begin(), environment.end(), [&](const auto& setting) {
        return setting.first == name && (value.empty() || setting.second == value);
    });
}

// A cell of CSV. No name has a quotation mark in it.
std::string quoted(const std::string& cell) {
    return cell.find(',') == std::string::npos ? cell : '"' + cell + '"';
}

// Rows of the first input: all values have a row for each token.
int64_t rows_of(const Recipe& recipe) {
    for (const Step& step : recipe.steps)
        if (step.op == "input") return whole(step, 1, 1);
    return 1;
}

// Those of inputs and weights.
std::set<std::string> features_of_numbers(const Step& step, size_t content) {
    constexpr const char* kContents[] = {"",         "rows of all magnitudes", "subnormal numbers",
                                         "outliers", "rows of zeros",          "a rotation"};
    const auto kind = static_cast<size_t>(whole(step, content));
    if (kind == 0 || kind >= std::size(kContents)) return {};
    return {step.op + ": " + kContents[kind]};
}

std::set<std::string> features_of_leaf(const Step& step) {
    std::set<std::string> found;
    constexpr const char* kMasks[] = {"causal",        "everything",           "windows", "several sequences",
                                      "causal, holes", "rows that see nothing"};
    if (step.op == "input") found = features_of_numbers(step, 4);
    if (step.op == "weight") {
        found = features_of_numbers(step, 3);
        found.insert("weight of type " + step.type);
        if (whole(step, 0) > 8192) found.insert("K over 8192");
        if (whole(step, 0) % 32 != 0) found.insert("K that is no multiple of 32");
        if (whole(step, 1) == 1) found.insert("N of 1");
        if (step.name.find(".lora_") != std::string::npos) found.insert("LoRA pairs with llama.cpp's names");
        const bool own = step.name.find("ffn_down") != std::string::npos ||
                         step.name.find("attn_output") != std::string::npos;
        if (own) found.insert("weights named ffn_down or attn_output");
    } else if (step.op == "state") {
        found.insert("state of type " + (step.type.empty() ? "f32" : step.type));
        if (whole(step, 4) == 2) found.insert("cells with Inf and NaN");
    } else if (step.op == "mask") {
        found.insert(std::string("mask: ") + kMasks[static_cast<size_t>(whole(step, 2)) % 6]);
        if (whole(step, 5, 1) > 1) found.insert("attention in several streams");
        if (whole(step, 3) > 0) found.insert("mask: old cells are seen, too");
    } else if (step.op == "rows") {
        constexpr const char* kOrders[] = {"ascending", "descending", "shuffled"};
        found.insert(std::string("rows written in order: ") +
                     kOrders[static_cast<size_t>(whole(step, 2)) % 3]);
    }
    return found;
}

// The size of a head of K or V, and the leaf that it comes from; null if it is computed.
int64_t head_of(const Recipe& recipe, size_t step, const Step*& leaf) {
    int64_t head = 0;
    for (;;) {
        const Step& at = recipe.steps[step];
        const bool sizes = at.op == "view" || at.op == "reshape" || at.op == "rope";
        if (head == 0 && sizes) head = whole(at, 0);
        leaf = is_leaf(at) ? &at : nullptr;
        if (at.sources.empty() || at.op == "mul_mat") return head;
        step = at.sources[0];
    }
}

std::set<std::string> features_of_attention(const Recipe& recipe, const Step& step) {
    std::set<std::string> found;
    if (step.sources.size() > 4) found.insert("attention sinks");
    if (step.sources.size() < 4) found.insert("attention without a mask");
    if (parameter(step, 1) > 0) found.insert("ALiBi (max_bias)");
    if (parameter(step, 2) > 0) found.insert("softcap");
    if (parameter(step, 3) > 0) found.insert("hint of attention's sums");
    const Step *k_leaf = nullptr, *v_leaf = nullptr;
    const int64_t k_head = head_of(recipe, step.sources[1], k_leaf);
    const int64_t v_head = head_of(recipe, step.sources[2], v_leaf);
    found.insert("attention by heads of " + std::to_string(k_head));
    if (k_head != v_head) found.insert("attention whose V has heads of another size");
    if (k_leaf == nullptr) found.insert("attention without a cache");
    if (k_leaf != nullptr && k_leaf == v_leaf) found.insert("attention over latent vectors (MLA)");
    for (const Step* const leaf : {k_leaf, v_leaf})
        if (leaf != nullptr && leaf->type.rfind('q', 0) == 0) found.insert("attention over quantised K or V");
    return found;
}

bool is_recurrent(const Step& step) {
    for (const char* const op :
         {"ssm_scan", "rwkv_wkv6", "rwkv_wkv7", "gated_linear_attn", "gated_delta_net"})
        if (step.op == op) return true;
    return false;
}

// Their last source is the states, or for Mamba which are those of the sequences.
std::set<std::string> features_of_recurrence(const Recipe& recipe, const Step& step) {
    const Step* states = &recipe.steps[step.sources.back()];
    while (!is_leaf(*states) && states->op != "get_rows")
        states = &recipe.steps[states->sources[0]];
    std::set<std::string> found;
    if (states->op == "get_rows") {
        found.insert("recurrent states that are rows among others");
        states = &recipe.steps[states->sources[1]];
    }
    const int64_t sequences = whole(*states, states->op == "state" ? 1 : 0);
    if (sequences > 1) found.insert("recurrent layers of several sequences");
    return found;
}

std::set<std::string> features_of_hints(const Step& step) {
    std::set<std::string> found;
    if (step.op.rfind("mul_mat", 0) != 0) return found;
    if (whole(step, 0) != 0) found.insert("hint of sums: " + std::to_string(whole(step, 0)));
    if (whole(step, 1) != 0) found.insert("hint: the weight is a rotation");
    if (whole(step, 2) != 0) found.insert("hint of activations: " + std::to_string(whole(step, 2)));
    return found;
}

std::set<std::string> features_of_operation(const Recipe& recipe, const Step& step) {
    std::set<std::string> found;
    if (step.op == "flash_attn") {
        found = features_of_attention(recipe, step);
    } else if (step.op == "rope") {
        found.insert("rope mode " + std::to_string(whole(step, 1)));
    } else if (step.op == "soft_max" && step.sources.size() > 1) {
        found.insert("attention by soft_max");
        if (step.sources.size() > 2) found.insert("attention by soft_max, sinks");
        if (parameter(step, 1) > 0) found.insert("attention by soft_max, ALiBi (max_bias)");
        if (recipe.steps[step.sources[0]].op == "scale") found.insert("attention by soft_max, softcap");
    } else if (is_recurrent(step)) {
        found = features_of_recurrence(recipe, step);
    } else if (step.op == "mul_mat_id") {
        found.insert(recipe.steps[step.sources[2]].op == "choice" ? "experts chosen by the host"
                                                                  : "experts chosen by the graph");
    } else if (step.op == "mul_mat") {
        const Step& weight = recipe.steps[step.sources[0]];
        if (weight.op == "state") found.insert("products by a state");
    }
    if (writes_operand(step)) {
        const Step& written = recipe.steps[written_operand(step)];
        if (written.op == "weight") found.insert("weights written by " + step.op);
        if (written.op == "state" || written.op == "view") found.insert("states written by " + step.op);
    }
    return found;
}

}  // namespace

const std::array<const char*, Coverage::kColumns> Coverage::kNames = {
    "all",       "1 row",      "2 to 127",     "128 and more",       "scheduler",
    "allocator", "own memory", "dense memory", "no uses known",      "pieces",
    "watched",   "rounds",     "stopped",      "NPU fails, retried", "NPU fails",
    "exact"};

std::array<bool, Coverage::kColumns> Coverage::columns_of(const Recipe& recipe) {
    const int64_t rows = rows_of(recipe);
    const bool faults = has(recipe.environment, "RKNNSIM_FAULTS");
    return {
        true,
        rows == 1,
        rows > 1 && rows<128, rows >= 128, recipe.allocation == Allocation::kScheduler,
                         recipe.allocation == Allocation::kAllocator, recipe.allocation == Allocation::kOwn,
                         recipe.allocation == Allocation::kDense, !recipe.use_counts, recipe.pieces> 1,
        recipe.watched,
        recipe.rounds > 1,
        recipe.stop > 0,
        faults && !may_fail(recipe.environment),
        may_fail(recipe.environment),
        has(recipe.environment, "GGML_RKNPU2_PRECISION", "exact")};
}

void Coverage::add_features(const Recipe& recipe) {
    std::set<std::string> found;
    std::vector<bool> read(recipe.steps.size());
    for (const Step& step : recipe.steps)
        for (const size_t source : step.sources)
            read[source] = true;
    for (size_t i = 0; i < recipe.steps.size(); ++i) {
        const Step& step = recipe.steps[i];
        if (is_leaf(step)) {
            found.merge(features_of_leaf(step));
            continue;
        }
        found.merge(features_of_operation(recipe, step));
        found.merge(features_of_hints(step));
        if (!read[i] && !step.output) found.insert("results that nobody reads");
        if (read[i] && step.output) found.insert("outputs in the middle");
    }
    for (const auto& [name, value] : recipe.environment)
        if (name != "RKNNSIM_FAULTS") found.insert(name + "=" + value);
    for (const std::string& feature : found)
        ++features_[feature];
}

void Coverage::add(const Recipe& recipe) {
    const std::array<bool, kColumns> columns = columns_of(recipe);
    for (const Step& step : recipe.steps) {
        if (is_leaf(step)) continue;
        std::array<uint64_t, kColumns>& counts = operations_[step.op];
        for (size_t column = 0; column < kColumns; ++column)
            counts[column] += columns[column] ? 1 : 0;
    }
    add_features(recipe);
}

std::string Coverage::csv() const {
    std::string text = "counted,what";
    for (const char* const name : kNames)
        text += "," + quoted(name);
    text += "\n";
    for (const auto& [operation, counts] : operations_) {
        text += "nodes," + quoted(operation);
        for (const uint64_t count : counts)
            text += "," + std::to_string(count);
        text += "\n";
    }
    for (const auto& [feature, count] : features_)
        text +=
            "graphs," + quoted(feature) + "," + std::to_string(count) + std::string(kColumns - 1, ',') + "\n";
    return text;
}

}  // namespace rknpu2::test
