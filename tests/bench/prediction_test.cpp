// SPDX-License-Identifier: MIT
// Whole models: conservation, what each number of the profile does, and the aims.
#include "predict/prediction.hpp"

#include "bench/predict_cases.hpp"

namespace rknpu2 {
namespace {

double sum(const PassResult& pass, double PhaseTime::*time) {
    double all = 0;
    for (const PhaseTime& phase : pass.phases)
        all += phase.*time;
    return all;
}

void expect_sound(const PassResult& pass) {
    EXPECT_NEAR(sum(pass, &PhaseTime::critical_ns), pass.seconds * 1e9, 1);
    for (const Utilisation& u : {pass.whole, pass.steady}) {
        for (const double share : {u.npu, u.npu_core[0], u.npu_core[1], u.npu_core[2], u.cpu, u.dram}) {
            EXPECT_GE(share, 0);
            EXPECT_LE(share, 1 + 1e-6);
        }
    }
}

TEST(Prediction, PhasesAddUpAndNothingIsOverfull) {
    for (const Design design : {Design::kPlain, Design::kPlugin}) {
        SCOPED_TRACE(name_of(design));
        const Prediction p = predict_for("TinyLlama-1.1B", design);
        expect_sound(p.prefill);
        expect_sound(p.decode);
        // Without overlap all of the work is one path.
        if (design == Design::kPlain) {
            EXPECT_NEAR(sum(p.prefill, &PhaseTime::busy_ns), p.prefill.seconds * 1e9, 1);
        }
        EXPECT_NEAR(sum(p.decode, &PhaseTime::busy_ns), p.decode.seconds * 1e9, 1);
    }
}

TEST(Prediction, ThePluginIsFasterThanThePlainDesign) {
    for (const std::string& model : default_models()) {
        const Prediction plugin = predict_for(model, Design::kPlugin),
                         plain = predict_for(model, Design::kPlain);
        EXPECT_GT(plugin.prefill.tokens_per_second, plain.prefill.tokens_per_second) << model;
        EXPECT_GT(plugin.decode.tokens_per_second, plain.decode.tokens_per_second) << model;
    }
}

TEST(Prediction, SecondPlanesCostNpuTime) {
    for (const char* model : {"Llama-2-7B", "Gemma-3-1B"}) {
        const double fast = predict_for(model, Design::kPlugin).prefill.tokens_per_second;
        const double some =
            predict_for(model, Design::kPlugin, Planes::kBalancedWithStatistics).prefill.tokens_per_second;
        const double all = predict_for(model, Design::kPlugin, Planes::kBalanced).prefill.tokens_per_second;
        EXPECT_GT(fast, some);
        EXPECT_GT(some, all);
    }
}

TEST(Prediction, StatisticsSpendTheBudget) {
    for (const std::string& name : default_models()) {
        const Setting s = setting_of(name, Design::kPlugin, Planes::kBalancedWithStatistics);
        double again = 0;
        for (int64_t layer = 0; layer < s.model.layers; ++layer) {
            for (const Group group : kLayerGroups) {
                for (const WeightShape& weight : weights_of(s.model, group))
                    again += static_cast<double>((s.planes_of(layer, group) - 1) * weight.N * weight.K);
            }
        }
        const double share = again / static_cast<double>(s.model.layers * s.model.layer_weights());
        EXPECT_LE(share, 0.25 + 1e-9) << name;
        EXPECT_GE(share, 0.23) << name;
    }
}

TEST(Prediction, TheProfileDecides) {
    const auto with = [](auto&& change) {
        Setting s = setting_of("Llama-2-7B", Design::kPlugin);
        change(&s.board);
        return predict(s, {});
    };
    const Prediction shipped = with([](BoardProfile*) {});
    const Prediction half = with([](BoardProfile* b) { b->dram_gbps /= 2; });
    EXPECT_NEAR(half.decode.seconds / shipped.decode.seconds, 2, 0.15);  // bound by memory
    const Prediction slow_calls = with([](BoardProfile* b) { b->npu.submit_us += 100; });
    const double rounds = (slow_calls.decode.seconds - shipped.decode.seconds) / 100e-6;
    EXPECT_GT(rounds, 3 * 32);  // four a layer and more, fewer where the plan gives way
    EXPECT_LT(rounds, 9 * 32);
    const Prediction slow_attention = with([](BoardProfile* b) { b->attention_gflops /= 4; });
    EXPECT_LT(slow_attention.prefill.tokens_per_second, shipped.prefill.tokens_per_second / 2);
    const Prediction small = with([](BoardProfile* b) { b->npu.native_banks[rknnsim::kInt8] = 2; });
    EXPECT_LT(small.prefill.tokens_per_second, 0.75 * shipped.prefill.tokens_per_second);
}

// docs/performance.md has them.
struct Aim {
    const char* model;
    double peak_share, decode_share;
};

void expect_aims(Design design, const std::vector<Aim>& aims) {
    for (const Aim& aim : aims) {
        SCOPED_TRACE(aim.model);
        const Prediction fast = predict_for(aim.model, design);
        EXPECT_GE(fast.peak_share, aim.peak_share);
        EXPECT_GE(fast.peak_share, 1.7 * predict_for(aim.model, Design::kPlain).peak_share);
        EXPECT_GE(fast.needed_share, aim.decode_share);
        const Prediction some = predict_for(aim.model, design, Planes::kBalancedWithStatistics);
        EXPECT_GE(some.peak_share, 0.8 * fast.peak_share);
        EXPECT_GE(some.needed_share, fast.needed_share - 0.02);
        const Utilisation& u = fast.prefill.steady;
        EXPECT_GE(std::max({u.npu, u.cpu, u.dram}), 0.9);
    }
}

TEST(Prediction, AimsOfThePlugin) {
    expect_aims(Design::kPlugin, {{"Llama-2-7B", 0.27, 0.93},
                                  {"Qwen2.5-1.5B", 0.175, 0.85},
                                  {"Gemma-3-1B", 0.14, 0.81},
                                  {"TinyLlama-1.1B", 0.15, 0.81}});
}

}  // namespace
}  // namespace rknpu2
