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
        // Nor a token's, but that cores with less to do wait for the others.
        EXPECT_LE(sum(p.decode, &PhaseTime::busy_ns), p.decode.seconds * 1e9 + 1);
        EXPECT_GE(sum(p.decode, &PhaseTime::busy_ns), 0.95 * p.decode.seconds * 1e9);
    }
}

TEST(Prediction, ThePluginIsFasterThanThePlainDesign) {
    for (const std::string& model : default_models()) {
        const Prediction plugin = predict_for(model, Design::kPlugin),
                         plain = predict_for(model, Design::kPlain);
        EXPECT_GT(plugin.prefill.tokens_per_second, plain.prefill.tokens_per_second) << model;
        // The plain design has rows cut evenly; the plug-in's segments are multiples of 512.
        EXPECT_GT(plugin.decode.tokens_per_second, 0.98 * plain.decode.tokens_per_second) << model;
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

// What the plug-in is compared with: llama.cpp without it.
TEST(Prediction, TheCpuAloneHasNoRuns) {
    Setting setting = setting_of("TinyLlama-1.1B", Design::kPlugin);
    setting.matrices = MatricesOn::kCpu;
    const Prediction alone = predict(setting, {.prompt = 1024, .context = 4096, .rows = 8});
    for (const PassResult& pass : {alone.prefill, alone.decode}) {
        EXPECT_EQ(pass.counts.runs, 0U);
        EXPECT_EQ(pass.counts.attention_runs, 0U);
    }
}

TEST(Prediction, TheProfileDecides) {
    const auto with = [](auto&& change) {
        Setting s = setting_of("Llama-2-7B", Design::kPlugin);
        s.attention = AttentionOn::kCpu;
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
    Setting on_npu = setting_of("Llama-2-7B", Design::kPlugin);
    const double quick = predict(on_npu, {.prompt = 2048}).prefill.seconds;
    on_npu.board.block_pass_ns *= 20;
    EXPECT_GT(predict(on_npu, {.prompt = 2048}).prefill.seconds, 1.2 * quick);
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
        EXPECT_GE(some.peak_share, 0.79 * fast.peak_share);
        EXPECT_GE(some.needed_share, fast.needed_share - 0.02);
        const Utilisation& u = fast.prefill.steady;
        EXPECT_GE(busiest(u).share, 0.77);
    }
}

TEST(Prediction, AimsOfThePlugin) {
    expect_aims(Design::kPlugin, {{"Llama-2-7B", 0.27, 0.93},
                                  {"Qwen2.5-1.5B", 0.175, 0.85},
                                  {"Gemma-3-1B", 0.14, 0.81},
                                  {"TinyLlama-1.1B", 0.15, 0.81}});
}

// The weights that keep eight bits are those of the plug-in's choice: head, K, V, then down, as the budget says.
TEST(Prediction, CompactFollowsItsBudget) {
    for (const double bytes : {0.5, 0.55, 0.63, 0.75, 0.9, 1.0}) {
        for (const char* const model : {"SmolLM2-135M", "Llama-2-7B"}) {
            Setting setting = setting_of(model, Design::kPlugin, Planes::kCompact);
            setting.compact_bytes = bytes;
            double packed = 0, weights = 0;
            const auto add = [&](int64_t layer, Group group) {
                const std::vector<WeightShape> shapes = weights_of(setting.model, group);
                const std::vector<NpuArithmetic> arithmetics = setting.arithmetics_of(layer, group);
                ASSERT_EQ(arithmetics.size(), shapes.size());
                for (size_t i = 0; i < shapes.size(); ++i) {
                    const auto elements = static_cast<double>(shapes[i].N * shapes[i].K);
                    weights += elements;
                    packed += elements * (arithmetics[i] == NpuArithmetic::kInt4 ? 0.5 : 1);
                }
            };
            for (int64_t layer = 0; layer < setting.model.layers; ++layer)
                for (const Group group : kLayerGroups)
                    add(layer, group);
            const double layers = packed / weights;
            add(0, Group::kHead);
            const double all = packed / weights;
            const double spent = all > bytes + 1e-9 ? layers : all;
            EXPECT_LE(spent, bytes + 1e-9) << model;
            EXPECT_GE(spent, bytes - 0.11) << model;  // half of gate and up, the largest kind
            if (bytes == 0.63) {
                EXPECT_EQ(setting.arithmetics_of(7, Group::kQkv),
                          (std::vector{NpuArithmetic::kInt4, NpuArithmetic::kInt8, NpuArithmetic::kInt8}));
            }
        }
    }
}

// A prompt is about as fast as with int8, whose rows have two planes.
TEST(Prediction, AimsOfCompact) {
    for (const auto& [model, decode] : {std::pair{"Llama-2-7B", 6.3}, {"Gemma-4-E4B-like", 8.5}}) {
        const Setting setting = setting_of(model, Design::kPlugin, Planes::kCompact);
        const Prediction compact = predict(setting, {});
        EXPECT_GE(compact.decode.tokens_per_second, decode) << model;
        EXPECT_GE(compact.decode.tokens_per_second,
                  1.4 * predict_for(model, Design::kPlugin).decode.tokens_per_second)
            << model;
        EXPECT_GE(compact.prefill.tokens_per_second,
                  0.8 * predict_for(model, Design::kPlugin, Planes::kBalanced).prefill.tokens_per_second)
            << model;
    }
}

// Prompts of 4096 tokens in graphs of 512.
struct LongAim {
    const char* model;
    double tps;  // at least
    double times_cpu;
    double busy;  // the busiest resource in the middle half
};

TEST(Prediction, AimsOfLongPrompts) {
    for (const LongAim& aim :
         {LongAim{"Llama-2-7B", 137, 4, 0.95}, LongAim{"Llama-3.1-8B", 132, 3.9, 0.91},
          LongAim{"Qwen2.5-1.5B", 530, 4.8, 0.89}, LongAim{"Gemma-3-1B", 1250, 3.0, 0.95},
          LongAim{"TinyLlama-1.1B", 480, 4.4, 0.95}}) {
        SCOPED_TRACE(aim.model);
        Setting s = setting_of(aim.model, Design::kPlugin);
        const auto prefill = [&] { return predict(s, {.prompt = 4096}).prefill; };
        const PassResult npu = prefill();
        expect_sound(npu);
        EXPECT_GE(npu.tokens_per_second, aim.tps);
        EXPECT_GE(busiest(npu.steady).share, aim.busy);
        s.engine.attentions = 1;
        EXPECT_GE(npu.tokens_per_second, 1.02 * prefill().tokens_per_second);
        s.attention = AttentionOn::kCpu;
        EXPECT_GE(npu.tokens_per_second, aim.times_cpu * prefill().tokens_per_second);
    }
}

TEST(Prediction, TheFirstPositionsAreTheCpus) {
    Setting s = setting_of("Qwen2.5-1.5B", Design::kPlugin);
    EXPECT_FALSE(s.attends_on_npu(10, 4096));  // 60 query rows of a head of keys
    EXPECT_TRUE(s.attends_on_npu(11, 4096));
    EXPECT_FALSE(s.attends_on_npu(63, 768));
    EXPECT_FALSE(s.attends_on_npu(256, 256));
    EXPECT_TRUE(s.attends_on_npu(64, 512));
    const auto seconds = [&](AttentionOn where) {
        s.attention = where;
        return predict(s, {.prompt = 256}).prefill.seconds;
    };
    EXPECT_EQ(seconds(AttentionOn::kAuto), seconds(AttentionOn::kCpu));
    EXPECT_NE(seconds(AttentionOn::kAuto), seconds(AttentionOn::kNpu));
}

TEST(Prediction, WindowsMakePromptsFaster) {
    Setting s = setting_of("Gemma-3-1B", Design::kPlugin);
    const double windows = predict(s, {.prompt = 4096}).prefill.seconds;
    s.model.window = 0;
    EXPECT_GT(predict(s, {.prompt = 4096}).prefill.seconds, 1.05 * windows);
}

}  // namespace
}  // namespace rknpu2
