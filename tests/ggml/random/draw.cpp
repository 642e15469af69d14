// SPDX-License-Identifier: MIT
#include "ggml/random/draw.hpp"

#include <cmath>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// Multiply-adds of a graph; of one in forty, more.
constexpr double kUsualMacs = 25e6;
constexpr double kMostMacs = 400e6;

constexpr const char* kPlainTypes[] = {"f32", "f16", "bf16"};
constexpr const char* kTypesOf32[] = {"q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "mxfp4", "iq4_nl"};
constexpr const char* kTypesOf256[] = {"q2_K",   "q3_K",  "q4_K",    "q5_K",  "q6_K",  "iq2_xxs",
                                       "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq1_s", "iq1_m",
                                       "iq4_xs", "tq1_0", "tq2_0",   "q1_0",  "nvfp4", "q2_0"};
constexpr const char* kWrittenTypes[] = {"q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl"};

int64_t draw_rows(Draw& draw) {
    const int64_t kind = draw.random.range(1, 100);
    if (kind <= 18) return 1;
    if (kind <= 30) return draw.random.range(2, 20);
    if (kind <= 38) return draw.random.range(21, 127);
    if (kind <= 62) return draw.random.range(127, 131);
    if (kind <= 92) return draw.random.range(132, 300);
    return draw.random.range(301, 700);
}

void draw_setting(Draw& draw, bool may_watch) {
    Recipe& recipe = draw.recipe;
    recipe.allocation = static_cast<Allocation>(draw.random.range(0, 3));
    recipe.threads = static_cast<int>(draw.random.range(1, 4));
    if (draw.chance(25)) recipe.rounds = static_cast<int>(draw.random.range(2, 3));
    if (draw.chance(25)) recipe.stop = static_cast<int>(draw.random.skewed(1, 40));
    if (recipe.allocation == Allocation::kScheduler) {
        recipe.watched = may_watch && draw.chance(15);
        return;
    }
    recipe.use_counts = !draw.chance(20);
    if (draw.chance(15)) recipe.pieces = static_cast<int>(draw.random.range(2, 5));
}

using Block = void (*)(Draw&);
struct Weighted {
    Block block;
    int weight;
};

constexpr Weighted kBlocks[] = {
    {draw_products, 20},  {draw_long_products, 2},   {draw_lora, 6},   {draw_feed_forward, 12},
    {draw_experts, 5},    {draw_attention, 12},      {draw_state, 10}, {draw_written_weight, 10},
    {draw_recurrence, 6}, {draw_row_operations, 20}, {draw_unread, 4}, {draw_other, 9},
    {draw_views, 6},      {draw_far_products, 5},    {draw_custom, 5}, {draw_latent_attention, 3},
    {draw_rotation, 1},
};

void draw_block(Draw& draw) {
    int total = 0;
    for (const Weighted& each : kBlocks)
        total += each.weight;
    int64_t at = draw.random.range(1, total);
    for (const Weighted& each : kBlocks) {
        at -= each.weight;
        if (at <= 0) {
            each.block(draw);
            return;
        }
    }
}

}  // namespace

size_t Draw::add(const std::string& op, std::vector<size_t> sources, std::vector<double> parameters,
                 const std::string& type) {
    Step step;
    step.op = op;
    step.type = type;
    step.sources = std::move(sources);
    step.parameters = std::move(parameters);
    recipe.steps.push_back(std::move(step));
    return recipe.steps.size() - 1;
}

size_t Draw::leaf(const std::string& op, std::vector<double> parameters, const std::string& type,
                  const std::string& name) {
    const size_t step = add(op, {}, std::move(parameters), type);
    recipe.steps[step].name = name;
    recipe.steps[step].data = random.bits() % 1000000 + 1;
    return step;
}

size_t Draw::weight(int64_t K, int64_t N, const std::string& name) {
    return leaf("weight", {double(K), double(N)}, weight_type(K), name);
}

Value Draw::any() {
    const auto last = static_cast<int64_t>(values.size()) - 1;
    if (chance(50)) return values[static_cast<size_t>(last)];
    return values[static_cast<size_t>(random.range(0, last))];
}

size_t Draw::any_of(int64_t wanted) {
    std::vector<Value> fitting;
    for (const Value& value : values)
        if (value.width == wanted) fitting.push_back(value);
    if (!fitting.empty() && !chance(15)) return random.pick(fitting).step;
    const Value from = any();
    const bool make = may_multiply(from.width, wanted) && chance(60);
    const size_t made = make ? add("mul_mat", {weight(from.width, wanted), from.step}) : input(wanted);
    keep(made, wanted);
    return made;
}

size_t Draw::normalised(size_t step, int64_t of_width) {
    if (of_width < 8) return step;
    const size_t norm = add(chance(80) ? "rms_norm" : "norm", {step});
    return chance(70) ? add("mul", {norm, vector(of_width)}) : norm;
}

size_t Draw::bounded(size_t step, int64_t of_width) {
    const size_t kept = chance(50) ? normalised(step, of_width) : step;
    return kept != step ? kept : add("clamp", {step}, {-20, 20});
}

int64_t Draw::width() {
    const int64_t kind = random.range(1, 100);
    if (kind <= 70) return 32 * random.range(1, 4);
    if (kind <= 78) return 256;
    if (kind <= 90) return random.range(8, 100);
    if (kind <= 94) return random.range(1, 8);
    return 32 * random.range(5, 20);
}

std::string Draw::weight_type(int64_t K) {
    if (K % 256 == 0 && chance(50)) return random.pick(kTypesOf256);
    if (K % 32 == 0 && chance(60)) return random.pick(kTypesOf32);
    return chance(60) ? "f32" : random.pick(kPlainTypes);
}

std::string Draw::written_type(int64_t K) {
    if (K % 32 == 0 && chance(45)) return random.pick(kWrittenTypes);
    return random.pick(kPlainTypes);
}

std::string Draw::name() {
    if (chance(30)) return "";
    constexpr const char* kNames[] = {
        "attn_q",   "attn_k",   "attn_v",   "attn_output", "attn_output",   "attn_gate2", "ffn_up",
        "ffn_gate", "ffn_down", "ffn_down", "hc_ffn_down", "hc_ffn_inject", "ssm_in",     "output"};
    return "blk." + std::to_string(random.range(0, 1)) + "." + random.pick(kNames) + ".weight";
}

bool Draw::may_multiply(int64_t K, int64_t N, int64_t times) {
    const double more = double(K) * double(N) * double(rows) * double(times);
    if (macs + more > kUsualMacs && !(macs + more < kMostMacs && chance(3))) return false;
    macs += more;
    return true;
}

int64_t row_bytes(const std::string& type, int64_t elements) {
    if (type == "f32") return 4 * elements;
    if (type == "f16" || type == "bf16") return 2 * elements;
    const int64_t block = type == "q8_0"   ? 34
                          : type == "q4_1" ? 20
                          : type == "q5_0" ? 22
                          : type == "q5_1" ? 24
                                           : 18;
    return elements / 32 * block;  // q4_0 and iq4_nl: 18
}

Environment draw_environment(uint64_t seed, uint64_t group) {
    rknnsim_random::Rng random(seed * 0x2545F4914F6CDD1DU + group);
    Environment all;
    constexpr const char* kPrecisions[] = {"exact",    "exact",    "exact", "exact",
                                           "balanced", "balanced", "fast",  "compact"};
    all.emplace_back("GGML_RKNPU2_PRECISION", random.pick(kPrecisions));
    if (all.back().second == "compact") all.emplace_back("GGML_RKNPU2_COMPACT_BYTES", "0.5");
    all.emplace_back("GGML_RKNPU2_MATRICES", random.one_in(5) ? "auto" : "npu");
    const int64_t attention = random.range(1, 10);
    if (attention > 2) all.emplace_back("GGML_RKNPU2_ATTENTION", attention > 3 ? "npu" : "cpu");
    if (!random.one_in(4)) all.emplace_back("GGML_RKNPU2_EXPERTS", random.one_in(4) ? "cpu" : "npu");
    if (random.one_in(3)) all.emplace_back("GGML_RKNPU2_CORES", std::to_string(random.range(1, 2)));
    if (random.one_in(3)) all.emplace_back("GGML_RKNPU2_THREADS", std::to_string(random.range(1, 4)));
    const int64_t faults = random.range(1, 10);
    if (faults <= 2) {
        const std::string often = faults == 1 ? "0.003" : "0.01";
        all.emplace_back("RKNNSIM_FAULTS",
                         "fail:rknn_matmul_run:share=" + often +
                             ":code=-1,lost:share=0.002,seed:" + std::to_string(random.range(1, 1000)));
        all.emplace_back("GGML_RKNPU2_ON_ERROR", "retry,reset,retry,reset,retry,reset,retry,reset");
    } else if (faults == 3) {
        all.emplace_back("RKNNSIM_FAULTS",
                         "fail:rknn_matmul_run:share=0.005:code=-1,fail:rknn_matmul_set_io_mem:share=0.002,"
                         "fail:rknn_create_mem:share=0.01,seed:" +
                             std::to_string(random.range(1, 1000)));
        all.emplace_back("GGML_RKNPU2_ON_ERROR", "fail");
    }
    return all;
}

Recipe draw_recipe(uint64_t seed, uint64_t graph) {
    Draw draw(seed * 0x9E3779B97F4A7C15U ^ (graph + 1) * 0xD1B54A32D192ED03U);
    draw.recipe.environment = draw_environment(seed, graph / kGroup);
    draw.rows = draw_rows(draw);
    // Watching cuts a graph into pieces, others when its nodes are in another order, and `auto` chooses within each.
    const bool chooses = setting(draw.recipe.environment, "GGML_RKNPU2_MATRICES") == "auto";
    draw_setting(draw, draw.rows < 400 && !chooses);
    const int64_t width = draw.width();
    draw.keep(draw.input(width), width);
    const int64_t blocks = draw.random.skewed(1, 12);
    for (int64_t i = 0; i < blocks && draw.recipe.steps.size() < 160; ++i) {
        draw_block(draw);
        if (draw.chance(5)) draw.recipe.steps[draw.values.back().step].output = true;
    }
    if (draw.chance(15)) draw_fewer_rows(draw);
    if (draw.chance(20)) draw_hints(draw);
    // A model's last node is an output; hosts look at others too.
    const Value last = draw.any();
    const bool computed = draw.recipe.steps[last.step].op != "input";
    const size_t end = computed && draw.chance(50) ? last.step : draw.add("cont", {last.step});
    draw.recipe.steps[end].output = true;
    return std::move(draw.recipe);
}

}  // namespace rknpu2::test
