// SPDX-License-Identifier: MIT
#include "model_report.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "gguf/gguf_writer.hpp"
#include "plan/attention_sizes.hpp"
#include "plan/support.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

json analysed(const GgufWriter& writer, const Config& config = Config(), int64_t ngl = kDefaultNgl) {
    const Result<GgufFile> file = parse_bytes(writer.bytes());
    EXPECT_TRUE(file.ok()) << file.status().message();
    return json::parse(to_json(analyse(file.value(), "small.gguf", config, ngl)));
}

json entry(const json& report, const std::string& name) {
    for (const json& tensor : report["tensors"]) {
        if (tensor["name"] == name) return tensor;
    }
    ADD_FAILURE() << "no tensor " << name;
    return {};
}

TEST(ModelReport, AllMatricesOnTheNpu) {
    const json report = analysed(small_model());
    EXPECT_EQ(report["schema"], 1);
    EXPECT_EQ(report["model"], "small.gguf");
    EXPECT_EQ(report["architecture"], "llama");
    EXPECT_EQ(report["layers"], 2);
    EXPECT_EQ(report["ngl"], 99);
    EXPECT_EQ(report["precision"], "balanced");
    EXPECT_EQ(report["weight_matrices"], 7);
    EXPECT_EQ(report["weight_matrices_on_npu"], 7);
    EXPECT_EQ(report["raw_bytes"], report["raw_bytes_on_npu"]);
    EXPECT_EQ(report["refused"], json::object());
    EXPECT_EQ(report["tensors"].size(), 10U);

    const json up = entry(report, "blk.0.ffn_up.weight");
    EXPECT_EQ(up["type"], "q4_0");
    EXPECT_EQ(up["shape"], json({64, 128}));
    EXPECT_EQ(up["K"], 64);
    EXPECT_EQ(up["N"], 128);
    EXPECT_EQ(up["role"], "matrix");
    EXPECT_EQ(up["runs_on"], "npu");
    EXPECT_EQ(up["precision"], "int8");
    EXPECT_EQ(up["packed_bytes"], plan_weight(128, 64, Recipe{}, 3).packed_bytes());
    EXPECT_EQ(up["reason"], nullptr);

    const json norm = entry(report, "blk.0.attn_norm.weight");
    EXPECT_EQ(norm["runs_on"], "cpu");
    EXPECT_EQ(norm["precision"], nullptr);
    EXPECT_EQ(norm["packed_bytes"], 0);
    EXPECT_EQ(norm["reason"], "not a matrix multiplication weight");
    EXPECT_EQ(entry(report, "token_embd.weight")["role"], "embedding+output");
}

TEST(ModelReport, TotalsAreSums) {
    const json report = analysed(small_model(), Config(), 2);
    uint64_t raw = 0;
    uint64_t raw_on_npu = 0;
    uint64_t packed = 0;
    uint64_t by_type = 0;
    for (const json& tensor : report["tensors"]) {
        if (tensor["role"] != "matrix" && tensor["role"] != "embedding+output") continue;
        raw += tensor["raw_bytes"].get<uint64_t>();
        if (tensor["runs_on"] == "npu") raw_on_npu += tensor["raw_bytes"].get<uint64_t>();
        packed += tensor["packed_bytes"].get<uint64_t>();
    }
    for (const auto& [type, totals] : report["by_type"].items())
        by_type += totals["packed_bytes"].get<uint64_t>();
    EXPECT_EQ(report["raw_bytes"], raw);
    EXPECT_EQ(report["raw_bytes_on_npu"], raw_on_npu);
    EXPECT_EQ(report["packed_bytes"], packed);
    EXPECT_EQ(by_type, packed);
    EXPECT_LT(raw_on_npu, raw);
}

TEST(ModelReport, NglDecidesByLayer) {
    const int expected[] = {0, 1, 4, 7, 7};
    for (int ngl = 0; ngl < 5; ++ngl) {
        const json report = analysed(small_model(), Config(), ngl);
        EXPECT_EQ(report["weight_matrices"], 7);
        EXPECT_EQ(report["weight_matrices_on_npu"], expected[ngl]) << "-ngl " << ngl;
    }
    const json head_only = analysed(small_model(), Config(), 1);
    EXPECT_EQ(entry(head_only, "blk.1.attn_q.weight")["reason"], "-ngl 1 leaves it on the CPU");
    EXPECT_EQ(head_only["refused"]["-ngl 1 leaves it on the CPU"], 6);
    EXPECT_EQ(analysed(small_model(), Config(), -1)["weight_matrices_on_npu"], 7);
}

TEST(ModelReport, PrecisionDecidesTypeAndBytes) {
    Config config;
    config.precision = Precision::kExact;
    const json exact = analysed(small_model(), config);
    EXPECT_EQ(entry(exact, "blk.0.ffn_up.weight")["precision"], "fp16");
    EXPECT_EQ(entry(exact, "blk.0.ffn_up.weight")["packed_bytes"],
              plan_weight(128, 64, Recipe{.arithmetic = NpuArithmetic::kFloat16}, 3).packed_bytes());
    config.precision = Precision::kReference;
    const json reference = analysed(small_model(), config);
    EXPECT_EQ(reference["weight_matrices_on_npu"], 0);
    EXPECT_EQ(entry(reference, "blk.0.ffn_up.weight")["precision"], "reference");
    EXPECT_EQ(entry(reference, "blk.0.ffn_up.weight")["runs_on"], "cpu");
}

TEST(ModelReport, RefusalsAreThoseOfSupport) {
    GgufWriter writer = small_model();
    writer.tensor("blk.0.ffn_up_exps.weight", 2, {64, 32, 4});
    writer.tensor("blk.0.attn_k_b.weight", 0, {64, 32, 4});
    writer.tensor("blk.0.strange.weight", 26, {64, 32});
    writer.tensor("blk.0.nothing.weight", 0, {64, 0});
    const json report = analysed(writer);
    const auto reason = [&](const char* name) { return entry(report, name)["reason"]; };
    EXPECT_EQ(reason("blk.0.ffn_up_exps.weight"), target_reason_text(TargetReason::kFasterOnCpu));
    EXPECT_EQ(reason("blk.0.attn_k_b.weight"), reason_text(Reason::kWeightHasMoreDimensions));
    EXPECT_EQ(reason("blk.0.strange.weight"), reason_text(Reason::kWeightType));
    EXPECT_EQ(reason("blk.0.nothing.weight"), reason_text(Reason::kEmpty));
    EXPECT_EQ(report["weight_matrices"], 10) << "expert stacks are counted apart";
    EXPECT_EQ(report["weight_matrices_on_npu"], 7);
    EXPECT_EQ(report["expert_tensors"], 1);
    EXPECT_EQ(report["refused"].size(), 4U);
}

TEST(ModelReport, ExpertsGoWhereTheCostModelSays) {
    GgufWriter writer;
    writer.text("general.architecture", "x");
    writer.u32("x.block_count", 1).u32("x.expert_used_count", 2);
    writer.tensor("blk.0.ffn_up_exps.weight", 2, {1024, 512, 16});
    Config config;
    const json report = analysed(writer, config);
    const json stack = entry(report, "blk.0.ffn_up_exps.weight");
    EXPECT_EQ(stack["runs_on"], "npu");
    EXPECT_EQ(stack["experts"]["token"]["runs_on"], "cpu");
    EXPECT_EQ(stack["experts"]["prompt"]["runs_on"], "npu");
    EXPECT_LT(stack["experts"]["prompt"]["npu_us"], stack["experts"]["prompt"]["cpu_us"]);
    EXPECT_EQ(stack["packed_bytes"], 16 * plan_weight(512, 1024, Recipe{}, 3).packed_bytes());
    EXPECT_EQ(report["expert_packed_bytes"], stack["packed_bytes"]);
    EXPECT_EQ(report["weight_matrices"], 0);
    config.experts = Experts::kCpu;
    const json forced = entry(analysed(writer, config), "blk.0.ffn_up_exps.weight");
    EXPECT_EQ(forced["runs_on"], "cpu");
    EXPECT_EQ(forced["reason"], target_reason_text(TargetReason::kSettingCpu));
}

// Mistral 4's down projections: llama.cpp forbids to round what they multiply to 8 bits.
TEST(ModelReport, FloatActivationsAreFp16) {
    for (const char* const architecture : {"mistral4", "llama4"}) {
        GgufWriter writer;
        writer.text("general.architecture", architecture);
        writer.u32(std::string(architecture) + ".expert_used_count", 2);
        writer.tensor("blk.0.ffn_up_exps.weight", 2, {1024, 512, 16});
        writer.tensor("blk.0.ffn_down_exps.weight", 2, {512, 1024, 16});
        const json report = analysed(writer);
        const bool floats = std::string(architecture) == "mistral4";
        EXPECT_EQ(entry(report, "blk.0.ffn_up_exps.weight")["precision"], "int8");
        const json down = entry(report, "blk.0.ffn_down_exps.weight");
        EXPECT_EQ(down["precision"], floats ? "fp16" : "int8") << architecture;
        EXPECT_EQ(down["packed_bytes"], (floats ? 2U : 1U) * 16 * 1024 * 512);
    }
}

TEST(ModelReport, PlainMatricesHaveAReasonAndTheModelsTimes) {
    GgufWriter writer;
    writer.text("general.architecture", "x");
    writer.u32("x.block_count", 1);
    writer.tensor("blk.0.ffn_gate.weight", 2, {1024, 512});
    Config config;
    config.matrices = Matrices::kNpu;
    json report = analysed(writer, config);
    json matrix = entry(report, "blk.0.ffn_gate.weight");
    EXPECT_EQ(matrix["runs_on"], "npu");
    EXPECT_EQ(matrix["placement"]["token"]["runs_on"], "npu");
    EXPECT_EQ(matrix["placement"]["token"]["reason"], target_reason_text(TargetReason::kPlainMatrix));
    EXPECT_GT(matrix["placement"]["prompt"]["cpu_us"], matrix["placement"]["prompt"]["npu_us"]);
    config.matrices = Matrices::kAuto;
    report = analysed(writer, config);
    matrix = entry(report, "blk.0.ffn_gate.weight");
    EXPECT_EQ(matrix["runs_on"], "npu") << "prompts do";
    EXPECT_EQ(matrix["placement"]["token"]["runs_on"], "cpu");
    EXPECT_EQ(matrix["placement"]["token"]["reason"], target_reason_text(TargetReason::kMatrixFasterOnCpu));
    EXPECT_EQ(matrix["placement"]["prompt"]["runs_on"], "npu");
}

// A LoRA file: two matrices for each that it changes, where that one is.
TEST(ModelReport, AnAdaptersMatricesAreCounted) {
    GgufWriter writer;
    writer.text("general.type", "adapter").text("general.architecture", "llama").text("adapter.type", "lora");
    for (const char* const name : {"blk.0.attn_q.weight", "blk.1.attn_q.weight", "output.weight"}) {
        writer.tensor(name + std::string(".lora_a"), 1, {64, 8});
        writer.tensor(name + std::string(".lora_b"), 1, {8, 96});
    }
    writer.tensor("blk.0.ffn_up_exps.weight.lora_a", 1, {64, 8, 4});
    writer.tensor("blk.0.ffn_up_exps.weight.lora_b", 1, {8, 64, 4});
    writer.tensor("token_embd.weight.lora_a", 1, {8, 256}).tensor("token_embd.weight.lora_b", 1, {8, 64});
    writer.tensor("blk.0.attn_norm.weight", 0, {64});
    const json report = analysed(writer);
    EXPECT_EQ(report["kind"], "adapter");
    EXPECT_EQ(report["layers"], 2);
    EXPECT_EQ(report["weight_matrices"], 6);
    EXPECT_EQ(report["weight_matrices_on_npu"], 6);
    EXPECT_EQ(report["expert_tensors"], 2);
    EXPECT_EQ(entry(report, "blk.1.attn_q.weight.lora_b")["runs_on"], "npu");
    EXPECT_EQ(entry(report, "token_embd.weight.lora_a")["role"], "embedding");
    EXPECT_EQ(entry(report, "blk.0.attn_norm.weight")["runs_on"], "cpu");
    EXPECT_THAT(report["notes"][0], HasSubstr("a LoRA adapter"));
    // As of a model: the last layer and the output.
    EXPECT_EQ(analysed(writer, Config(), 2)["weight_matrices_on_npu"], 4);
    const Result<GgufFile> file = parse_bytes(writer.bytes());
    EXPECT_THAT(to_text(analyse(file.value(), "x", Config(), 99)), Not(HasSubstr("calibrate.sh")));
}

// Only where statistics were measured to help are they recommended.
TEST(ModelReport, StatisticsAreRecommendedForModelsThatWrite) {
    const auto text_of = [](const char* architecture, bool causal) {
        GgufWriter writer;
        writer.text("general.architecture", architecture);
        writer.scalar(std::string(architecture) + ".attention.causal", 7, static_cast<uint8_t>(causal));
        writer.tensor("blk.0.ffn_up.weight", 1, {64, 96});
        const Result<GgufFile> file = parse_bytes(writer.bytes());
        return to_text(analyse(file.value(), "x", Config(), 99));
    };
    EXPECT_THAT(text_of("llama", true), HasSubstr("scripts/calibrate.sh MODEL"));
    for (const char* const other : {"bert", "t5", "clip"})
        EXPECT_THAT(text_of(other, true), Not(HasSubstr("calibrate.sh"))) << other;
    EXPECT_THAT(text_of("llada", false), Not(HasSubstr("calibrate.sh")));
}

json precision(const json& report, const std::string& name) {
    for (const json& row : report["precisions"])
        if (row["precision"] == name) return row;
    ADD_FAILURE() << "no precision " << name;
    return {};
}

// What a choice among precisions needs to know; without second moments there is no `compact`.
TEST(ModelReport, PrecisionsSideBySide) {
    const Result<GgufFile> file = parse_bytes(small_model().bytes());
    const json without = json::parse(to_json(analyse(file.value(), "x", Config(), 99)));
    ASSERT_EQ(without["precisions"].size(), 4U);
    EXPECT_THAT(precision(without, "compact")["why_not"].get<std::string>(), HasSubstr("no second moments"));
    EXPECT_EQ(precision(without, "balanced")["why_not"], nullptr);
    EXPECT_EQ(precision(without, "balanced")["packed_bytes"], without["packed_bytes"]);

    ActivationStats known;
    known.moments = std::make_shared<const SecondMoments>();
    const std::string path;
    const auto find = [&](const GgufTensor& tensor) -> std::optional<StatsLibrary::Found> {
        const bool down = tensor.name.find("ffn_down") != std::string::npos;
        return StatsLibrary::Found{
            known,
            {1, PlaneReason::kBudget},
            down ? BitDecision{8, BitReason::kSensitive} : BitDecision{4, BitReason::kFour},
            path};
    };
    Config config;
    config.precision = Precision::kCompact;
    const ModelReport report = analyse(file.value(), "x", config, 99, find);
    const json with = json::parse(to_json(report));
    EXPECT_EQ(entry(with, "blk.0.ffn_up.weight")["precision"], "int4");
    EXPECT_EQ(entry(with, "blk.0.ffn_down.weight")["precision"], "int8");
    const json compact = precision(with, "compact");
    EXPECT_EQ(compact["why_not"], nullptr);
    EXPECT_EQ(compact["packed_bytes"], with["packed_bytes"]);
    const auto bytes = [&](const char* name) {
        return precision(with, name)["packed_bytes"].get<uint64_t>();
    };
    EXPECT_LT(bytes("compact"), bytes("fast"));
    EXPECT_GT(bytes("compact"), bytes("fast") / 2);
    EXPECT_EQ(bytes("fast"), bytes("balanced"));
    EXPECT_EQ(bytes("exact"), 2 * bytes("fast"));
    EXPECT_EQ(compact["memory_bytes"], bytes("compact") + report.tensor_bytes);
    EXPECT_THAT(to_text(report), HasSubstr("eight bits: within the budget"));
}

#ifdef RKNPU2_DOCS
// Mean KLD of Q4_1 as measured last.
double measured_divergence(const std::string& mode) {
    std::ifstream file(RKNPU2_DOCS "/measurements/quality-files.csv");
    double last = NAN;
    for (std::string line; std::getline(file, line);) {
        const size_t at = line.find("," + mode + ",");
        if (line.starts_with("Q4_1,") && at != std::string::npos)
            last = std::stod(line.substr(at + mode.size() + 2));
    }
    return last;
}

// As many digits as it says.
TEST(ModelReport, DivergencesAreThoseMeasured) {
    const Result<GgufFile> file = parse_bytes(small_model().bytes());
    const ModelReport report = analyse(file.value(), "x", Config(), 99);
    ASSERT_EQ(report.precisions.size(), 4U);
    for (const PrecisionRow& row : report.precisions) {
        const std::string name = precision_name(row.precision);
        const double measured = measured_divergence(name == "exact" ? name : name + "+statistics");
        const std::string says = row.divergence;
        const size_t digits = says.size() - says.find('.') - 1;
        EXPECT_EQ(says, format("%.*f", static_cast<int>(digits), measured)) << name;
    }
    EXPECT_THAT(to_text(report), HasSubstr(format("CPU backend has %.4f:", measured_divergence("cpu"))));
}
#endif

TEST(ModelReport, HostileNamesAreHarmless) {
    GgufWriter writer;
    writer.text("general.architecture", "\x1b[31m\nx\xff");
    writer.tensor("bad\n\x1b[2Jname\xfe.weight", 0, {4, 4});
    const Result<GgufFile> file = parse_bytes(writer.bytes());
    const ModelReport report = analyse(file.value(), "a\nb", Config(), 99);
    EXPECT_TRUE(json::accept(to_json(report)));
    const std::string text = to_text(report);
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_THAT(text, HasSubstr("bad??[2Jname"));
}

TEST(ModelReport, TextSaysTheSame) {
    const Result<GgufFile> file = parse_bytes(small_model().bytes());
    const std::string text = to_text(analyse(file.value(), "small.gguf", Config(), 2));
    EXPECT_THAT(text, HasSubstr("4 of 7 weight matrices on the NPU"));
    EXPECT_THAT(text, HasSubstr("not on the NPU: 3 x -ngl 2 leaves it on the CPU"));
    EXPECT_THAT(text, HasSubstr("no output.weight"));
}

// From what the file says of its heads; and by the very sizes that the plug-in asks for (npu_attention_test.cpp).
TEST(ModelReport, MemoryAndContextsOfAttention) {
    GgufWriter writer = small_model();
    EXPECT_EQ(analysed(writer)["attention"], nullptr) << "the file does not say how many heads";
    writer.u32("llama.embedding_length", 2048).u32("llama.attention.head_count", 32);
    json attention = analysed(writer)["attention"];
    EXPECT_EQ(attention["kv_heads"], 32);
    EXPECT_EQ(attention["key_width"], 64);
    writer.u32("llama.attention.head_count_kv", 8).u32("llama.attention.key_length", 128);
    writer.u32("llama.attention.value_length", 96);
    attention = analysed(writer)["attention"];
    EXPECT_EQ(attention["value_width"], 96);
    EXPECT_EQ(attention["runs_on"], "npu");
    EXPECT_EQ(attention["contexts"], 18);
    for (const size_t positions : {4096, 16384})
        EXPECT_EQ(attention["memory_bytes"][std::to_string(positions)],
                  AttentionSizes(8, 128, 96).of_prompt(4, 128, positions, 3));
    const Result<GgufFile> file = parse_bytes(writer.bytes());
    const std::string text = to_text(analyse(file.value(), "x", Config(), 99));
    EXPECT_THAT(text, HasSubstr("attention of long prompts on the NPU: 18 contexts and at most "));
    EXPECT_THAT(text, HasSubstr(" at 4096 positions, "));
    Config config;
    config.attention = Attention::kCpu;
    EXPECT_EQ(analysed(writer, config)["attention"]["reason"], "the setting GGML_RKNPU2_ATTENTION");
}

// Heads that cannot be: nothing is said of them.
TEST(ModelReport, NoAttentionOfImpossibleHeads) {
    for (const auto& [key, number] : {std::pair<const char*, uint32_t>{"head_count", 0},
                                      {"head_count_kv", 0},
                                      {"head_count_kv", 5},
                                      {"key_length", UINT32_MAX},
                                      {"head_count", 1U << 30}}) {
        GgufWriter writer = small_model();
        writer.u32("llama.embedding_length", 2048).u32(std::string("llama.attention.") + key, number);
        if (std::string(key) != "head_count") writer.u32("llama.attention.head_count", 32);
        EXPECT_EQ(analysed(writer)["attention"], nullptr) << key << " " << number;
    }
}

TEST(ModelReport, ProblemsWithUnlikelyShapes) {
    GgufWriter writer;
    writer.text("general.architecture", "x");
    writer.tensor("a.weight", 0, {1, 1}).tensor("b.weight", 0, {1, 9000}).tensor("c.weight", 0, {9000, 1});
    const json report = analysed(writer);
    EXPECT_EQ(report["weight_matrices_on_npu"], 3);
    EXPECT_EQ(entry(report, "c.weight")["packed_bytes"], plan_weight(1, 9000, Recipe{}, 3).packed_bytes());
}

}  // namespace
}  // namespace rknpu2
