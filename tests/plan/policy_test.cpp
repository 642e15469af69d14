// SPDX-License-Identifier: MIT
#include "plan/policy.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <set>
#include <string>
#include <utility>

namespace rknpu2 {
namespace {

// K, N of gate and up, experts, used.
struct Model {
    const char* name;
    size_t K, N, experts, used;
};
constexpr Model kModels[] = {{"OLMoE-1B-7B", 2048, 1024, 64, 8},
                             {"Qwen1.5-MoE-A2.7B", 2048, 1408, 60, 4},
                             {"Qwen3-30B-A3B", 2048, 768, 128, 8},
                             {"Mixtral-8x7B", 4096, 14336, 8, 2}};
constexpr double kQ4 = 4.5 / 8;
constexpr double kQ8 = 8.5 / 8;

ExpertsCall call_of(const Model& model, size_t tokens, double bytes_a_weight) {
    ExpertsCall call;
    call.K = model.K;
    call.N = model.N;
    call.experts = model.experts;
    call.used = model.used;
    call.tokens = tokens;
    call.raw_bytes = static_cast<size_t>(static_cast<double>(model.K * model.N) * bytes_a_weight);
    return call;
}

TEST(Policy, ActiveExpertsGrowFromThoseOfOneTokenToAll) {
    const Model& model = kModels[2];
    EXPECT_DOUBLE_EQ(call_of(model, 1, kQ4).active(), 8);
    EXPECT_NEAR(call_of(model, 2, kQ4).active(), 15.5, 1e-9);
    EXPECT_GT(call_of(model, 512, kQ4).active(), 127.9);
    ExpertsCall all = call_of(model, 1, kQ4);
    all.used = all.experts;
    EXPECT_DOUBLE_EQ(all.active(), 128);
}

TEST(Policy, PromptsGoToTheNpuAndSingleTokensOfFourBitsDoNot) {
    for (const Model& model : kModels) {
        for (const Precision precision : {Precision::kFast, Precision::kBalanced}) {
            SCOPED_TRACE(::testing::Message() << model.name << ' ' << precision_name(precision));
            Config config;
            config.precision = precision;
            const TargetChoice prompt = experts_target(call_of(model, 512, kQ4), config);
            EXPECT_EQ(prompt.target, Target::kNpu) << prompt.npu_us << " against " << prompt.cpu_us;
            EXPECT_EQ(prompt.reason, TargetReason::kFasterOnNpu);
            const TargetChoice token = experts_target(call_of(model, 1, kQ4), config);
            EXPECT_EQ(token.target, Target::kCpu) << token.npu_us << " against " << token.cpu_us;
            EXPECT_EQ(token.reason, TargetReason::kFasterOnCpu);
            std::printf(
                "%-18s %-9s 512 tokens: NPU %8.0f us, CPU %8.0f; 1 token: NPU %5.0f, CPU %5.0f; q8_0: "
                "%5.0f\n",
                model.name, precision_name(precision), prompt.npu_us, prompt.cpu_us, token.npu_us,
                token.cpu_us, experts_target(call_of(model, 1, kQ8), config).cpu_us);
        }
    }
}

// Weights of 16 bits are twice the bytes of int8, and an expert of Mixtral is long enough to hide a run call.
TEST(Policy, SingleTokensOfLargeExpertsInSixteenBitsGoToTheNpu) {
    EXPECT_EQ(experts_target(call_of(kModels[3], 1, 2.0), Config()).target, Target::kNpu);
}

TEST(Policy, ThereIsOneTurningPoint) {
    for (const Model& model : kModels) {
        Target last = Target::kCpu;
        for (size_t tokens = 1; tokens <= 1024; tokens *= 2) {
            const Target now = experts_target(call_of(model, tokens, kQ4), Config()).target;
            EXPECT_FALSE(last == Target::kNpu && now == Target::kCpu)
                << model.name << ", " << tokens << " tokens";
            last = now;
        }
    }
}

TEST(Policy, TheWarmUpGoesWherePromptsGo) {
    ExpertsCall warm_up = call_of(kModels[2], 1, kQ4);
    warm_up.used = warm_up.experts;
    EXPECT_EQ(experts_target(warm_up, Config()).target, Target::kNpu);
    // A model may use all its experts for every token.
    warm_up.is_packed = true;
    EXPECT_EQ(experts_target(warm_up, Config()).target, Target::kCpu);
}

// fp16: twice the bytes, half the rate. Nothing else changes.
TEST(Policy, FloatActivationsCostWhatExactCosts) {
    Config exact;
    exact.precision = Precision::kExact;
    for (const size_t tokens : {1U, 16U, 512U}) {
        const ExpertsCall call = call_of(kModels[0], tokens, kQ4);
        ExpertsCall floats = call;
        floats.float_activations = true;
        const TargetChoice choice = experts_target(floats, Config());
        EXPECT_EQ(choice.packed_bytes, 2 * experts_target(call, Config()).packed_bytes);
        EXPECT_EQ(choice.npu_us, experts_target(call, exact).npu_us);
        EXPECT_EQ(choice.cpu_us, experts_target(call, Config()).cpu_us);
        MatrixCall matrix{4096, 4096, tokens, 4096 * 4096 * 9 / 16};
        const double as_exact = matrix_target(matrix, exact).npu_us;
        matrix.float_activations = true;
        EXPECT_EQ(matrix_target(matrix, Config()).npu_us, as_exact);
    }
}

TEST(Policy, TheSettingDecidesForItself) {
    const ExpertsCall token = call_of(kModels[0], 1, kQ4);
    Config config;
    config.experts = Experts::kNpu;
    EXPECT_EQ(experts_target(token, config).target, Target::kNpu);
    EXPECT_EQ(experts_target(token, config).reason, TargetReason::kSettingNpu);
    config.precision = Precision::kReference;
    EXPECT_EQ(experts_target(token, config).reason, TargetReason::kReference);
    config.experts = Experts::kCpu;
    EXPECT_EQ(experts_target(call_of(kModels[0], 512, kQ4), config).target, Target::kCpu);
    EXPECT_EQ(experts_target(token, config).reason, TargetReason::kSettingCpu);
}

// By the model alone; nothing else is asked where the setting says npu, or the precision is one for its arithmetic.
TEST(Policy, PlainMatricesAreTheNpusUnlessTheModelIsAsked) {
    for (const auto& [K, N] : {std::pair<size_t, size_t>{4096, 4096}, {4096, 11008}, {11008, 4096}}) {
        const auto call = [K = K, N = N](size_t rows, double bytes_a_weight) {
            return MatrixCall{K, N, rows, static_cast<size_t>(static_cast<double>(K * N) * bytes_a_weight)};
        };
        Config config;
        EXPECT_EQ(config.matrices, Matrices::kAuto);
        config.matrices = Matrices::kNpu;
        EXPECT_EQ(matrix_target(call(1, kQ4), config).target, Target::kNpu);
        EXPECT_EQ(matrix_target(call(1, kQ4), config).reason, TargetReason::kPlainMatrix);
        EXPECT_GT(matrix_target(call(1, kQ4), config).npu_us, matrix_target(call(1, kQ4), config).cpu_us);
        config.matrices = Matrices::kAuto;
        EXPECT_EQ(matrix_target(call(1, kQ4), config).target, Target::kCpu);
        EXPECT_EQ(matrix_target(call(1, kQ4), config).reason, TargetReason::kMatrixFasterOnCpu);
        EXPECT_EQ(matrix_target(call(1, kQ8), config).target, Target::kNpu) << "as many bytes on both";
        EXPECT_EQ(matrix_target(call(512, kQ4), config).target, Target::kNpu);
        EXPECT_EQ(matrix_target(call(512, kQ4), config).reason, TargetReason::kMatrixFlows);
        EXPECT_EQ(matrix_target(call(100, kQ4), config).reason, TargetReason::kMatrixFasterOnNpu);
        MatrixCall hinted = call(1, kQ4);
        hinted.float_activations = true;
        EXPECT_EQ(matrix_target(hinted, config).target, Target::kNpu) << "the CPU would round them to 8 bits";
        EXPECT_EQ(matrix_target(hinted, config).reason, TargetReason::kMatrixPrecision);
        config.precision = Precision::kCompact;
        EXPECT_EQ(matrix_target(call(1, kQ8), config).reason, TargetReason::kMatrixFasterOnNpu);
        EXPECT_EQ(matrix_target(call(512, kQ4), config).reason, TargetReason::kMatrixFlows);
        MatrixCall kept = call(1, kQ4);
        const double four_bits = matrix_target(kept, config).npu_us;
        kept.note(NpuArithmetic::kInt8, 1, N / 2);
        const double half = matrix_target(kept, config).npu_us;
        kept.note(NpuArithmetic::kInt8, 1, N / 2);
        EXPECT_EQ(matrix_target(kept, config).reason, TargetReason::kMatrixFasterOnCpu);
        EXPECT_LT(four_bits, half);
        EXPECT_LT(half, matrix_target(kept, config).npu_us);
        for (const Precision precision : {Precision::kReference, Precision::kExact, Precision::kNaive}) {
            config.precision = precision;
            EXPECT_EQ(matrix_target(call(1, kQ4), config).target, Target::kNpu);
            EXPECT_EQ(matrix_target(call(1, kQ4), config).reason, TargetReason::kMatrixPrecision);
        }
    }
}

TEST(Policy, TheMemoAnswersAsThePolicyDoes) {
    Config config;
    config.matrices = Matrices::kAuto;
    const TargetMemo memo;
    for (int i = 0; i < 2; ++i) {
        for (const size_t rows : {1, 512}) {
            const MatrixCall call{4096, 11008, rows, 4096 * 11008 * 9 / 16};
            EXPECT_EQ(memo.of(call, config).target, matrix_target(call, config).target);
            EXPECT_EQ(memo.of(call, config).npu_us, matrix_target(call, config).npu_us);
            const ExpertsCall experts = call_of(kModels[0], rows, kQ4);
            EXPECT_EQ(memo.of(experts, config).target, experts_target(experts, config).target);
            EXPECT_EQ(memo.of(experts, config).cpu_us, experts_target(experts, config).cpu_us);
        }
    }
}

TEST(Policy, ReasonsReadDifferently) {
    std::set<std::string> texts;
    for (int r = 0; r < kTargetReasons; ++r)
        texts.insert(target_reason_text(static_cast<TargetReason>(r)));
    EXPECT_EQ(texts.size(), static_cast<size_t>(kTargetReasons));
    EXPECT_FALSE(texts.contains("unknown reason"));
}

}  // namespace
}  // namespace rknpu2
