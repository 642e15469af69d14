// SPDX-License-Identifier: MIT
#include <cmath>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

constexpr const char* kGates[] = {"reglu",     "geglu",       "swiglu",     "swiglu",
                                  "geglu_erf", "geglu_quick", "swiglu_oai", "swiglu_clamp"};

int64_t draw_columns(Draw& draw) {
    return draw.chance(15) ? draw.random.skewed(1, 40) : draw.width();
}

// Mostly plain; also activations of three dimensions, or with gaps, which the CPU multiplies.
size_t multiplied(Draw& draw, const Value& x, int64_t N) {
    const auto K = double(x.width);
    if (draw.rows % 2 == 0 && draw.chance(5)) {
        const double half = double(draw.rows) / 2;
        const size_t split = draw.add("reshape", {x.step}, {K, half, 2});
        const size_t product = draw.add("mul_mat", {draw.weight(x.width, N, draw.name()), split});
        return draw.add("reshape", {product}, {double(N), double(draw.rows)});
    }
    if (x.width > 1 && draw.chance(4)) {
        const int64_t part = x.width / 2;
        const size_t columns =
            draw.add("view", {x.step}, {double(part), double(draw.rows), 1, 1, 4 * K - 4.0 * part, 4 * K});
        return draw.add("mul_mat", {draw.leaf("weight", {double(part), double(N)}, "f32"), columns});
    }
    return draw.add("mul_mat", {draw.weight(x.width, N, draw.name()), x.step});
}

}  // namespace

// What llama.cpp writes as Q, then what is done with Q, then K.
void draw_products(Draw& draw) {
    const Value from = draw.any();
    const size_t x = draw.chance(50) ? draw.normalised(from.step, from.width) : from.step;
    const int64_t count = draw.random.range(1, 4);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t N = draw_columns(draw);
        if (!draw.may_multiply(from.width, N)) return;
        size_t product = multiplied(draw, {x, from.width}, N);
        if (draw.chance(25)) product = draw.add("add", {product, draw.vector(N)});
        draw.keep(product, N);
    }
    if (draw.chance(20)) draw_row_operations(draw);
}

// K as of real models, beyond one run of the NPU, with weights of few columns.
void draw_long_products(Draw& draw) {
    constexpr int64_t kLong[] = {2048, 3072, 4096, 4864, 8192, 8224, 10240, 11008, 12000};
    const int64_t K = draw.random.pick(kLong);
    if (draw.rows > 300) return;
    const size_t x = draw.leaf("input", {double(K), double(draw.rows)});
    const int64_t count = draw.random.range(1, 3);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t N =
            draw.chance(15) && draw.rows <= 4 ? 1024 * draw.random.range(1, 4) : draw.random.skewed(1, 64);
        if (!draw.may_multiply(K, N)) return;
        draw.keep(draw.add("mul_mat", {draw.weight(K, N, draw.name()), x}), N);
    }
}

// A weight and its adapter, as llama.cpp's build_lora_mm() writes them.
void draw_lora(Draw& draw) {
    const Value from = draw.any();
    const int64_t N = draw_columns(draw);
    constexpr int64_t kRanks[] = {4, 8, 16, 32};
    const int64_t rank = draw.random.pick(kRanks);
    if (!draw.may_multiply(from.width, N + rank) || !draw.may_multiply(rank, N)) return;
    const std::string name = draw.name();
    const size_t product = draw.add("mul_mat", {draw.weight(from.width, N, name), from.step});
    const auto adapter = [&](int64_t K, int64_t columns, const char* which) {
        return draw.leaf("weight", {double(K), double(columns)}, draw.chance(70) ? "f16" : "f32",
                         name.empty() ? "" : name + which);
    };
    const size_t a = draw.add("mul_mat", {adapter(from.width, rank, ".lora_a"), from.step});
    const size_t b = draw.add("mul_mat", {adapter(rank, N, ".lora_b"), a});
    draw.keep(draw.add("add", {product, draw.add("scale", {b}, {0.5})}), N);
}

void draw_feed_forward(Draw& draw) {
    const Value from = draw.any();
    const int64_t hidden = draw.chance(80) ? 32 * draw.random.range(1, 6) : 2 * draw.random.range(1, 60);
    const bool joined = draw.chance(25);
    if (!draw.may_multiply(from.width, 2 * hidden) || !draw.may_multiply(hidden, from.width)) return;
    size_t x = draw.normalised(from.step, from.width);
    if (draw.chance(20)) x = draw.add("cont", {x});
    std::string gate = std::string("glu.") + draw.random.pick(kGates);
    size_t middle = 0;
    if (joined) {
        if (gate == "glu.swiglu_oai" || gate == "glu.swiglu_clamp") gate = "glu.geglu";
        const size_t both = draw.add("mul_mat", {draw.weight(from.width, 2 * hidden, draw.name()), x});
        middle = draw.add(gate, {both}, {draw.chance(30) ? 1.0 : 0.0});
    } else {
        const size_t a = draw.add("mul_mat", {draw.weight(from.width, hidden, draw.name()), x});
        const size_t b = draw.add("mul_mat", {draw.weight(from.width, hidden, draw.name()), x});
        middle = draw.add(gate, {draw.chance(80) ? a : b, draw.chance(80) ? b : a});
    }
    if (draw.chance(10)) draw.keep(middle, hidden);
    // Without what would make a flow of it.
    if (draw.chance(12)) return draw.keep(draw.add("cont", {middle}), hidden);
    const size_t down = draw.add("mul_mat", {draw.weight(hidden, from.width, draw.name()), middle});
    draw.keep(draw.chance(70) ? draw.add("add", {down, from.step}) : down, from.width);
}

namespace {

// The experts of each token, and how much each counts: [1, used, rows].
void draw_choice(Draw& draw, const Value& from, int64_t experts, int64_t used, size_t& choice,
                 size_t& share) {
    const auto rows = double(draw.rows);
    if (draw.chance(60) || !draw.may_multiply(from.width, experts)) {
        choice = draw.leaf("choice", {double(used), rows, double(experts)});
        share = draw.leaf("positive", {1, double(used), rows});
        return;
    }
    const size_t router =
        draw.leaf("weight", {double(from.width), double(experts)}, "f32", "blk.0.ffn_gate_inp.weight");
    const size_t scores = draw.add("soft_max", {draw.add("mul_mat", {router, from.step})}, {1, 0});
    choice = draw.add("argsort_top_k", {scores}, {double(used)});
    share = draw.add("get_rows", {draw.add("reshape", {scores}, {1, double(experts), rows}), choice});
}

// Sums what the experts of each token give: views of one another's neighbours, added.
size_t sum_of_experts(Draw& draw, size_t all, int64_t width, int64_t used) {
    const auto part = [&](int64_t i) {
        return draw.add(
            "view", {all},
            {double(width), double(draw.rows), 1, 1, double(4 * width * i), double(4 * width * used)});
    };
    size_t sum = part(0);
    for (int64_t i = 1; i < used; ++i)
        sum = draw.add("add", {sum, part(i)});
    return used == 1 ? draw.add("cont", {sum}) : sum;
}

// The graph writes the first expert of a stack, if its type can be written.
void write_expert(Draw& draw, size_t stack, int64_t K, int64_t N) {
    const std::string type = draw.recipe.steps[stack].type;
    if (type != "f32" && type != "f16" && type != "bf16" && type != "q8_0" && type != "q4_0" &&
        type != "iq4_nl")
        return;
    const size_t from =
        draw.add("scale", {draw.leaf("input", {double(K), double(N)})}, {1 / std::sqrt(double(K))});
    draw.add("cpy",
             {from, draw.add("view", {stack}, {double(K), double(N), 1, 1, 0, double(row_bytes(type, K))})});
}

}  // namespace

void draw_experts(Draw& draw) {
    const Value from = draw.any();
    const int64_t experts = draw.random.range(1, 6);
    const int64_t used = draw.random.range(1, std::min<int64_t>(3, experts));
    const int64_t hidden = 32 * draw.random.range(1, 3);
    if (!draw.may_multiply(from.width, 3 * hidden, used)) return;
    size_t choice = 0;
    size_t share = 0;
    // Where the CPU has the experts, it keeps sums of 8 bits in float16.
    const size_t x =
        from.width < 8 ? draw.add("clamp", {from.step}, {-20, 20}) : draw.normalised(from.step, from.width);
    draw_choice(draw, {x, from.width}, experts, used, choice, share);
    const auto stack = [&](int64_t K, int64_t N, const char* name) {
        return draw.leaf("weight", {double(K), double(N), double(experts)}, draw.weight_type(K),
                         draw.chance(70) ? name : "");
    };
    // As llama.cpp's build_lora_mm_id() writes it.
    const auto product = [&](size_t weights, size_t of, int64_t K, int64_t N) {
        const size_t made = draw.add("mul_mat_id", {weights, of, choice});
        if (!draw.chance(10)) return made;
        const auto adapter = [&](int64_t columns, int64_t rows, const char* which) {
            const std::string& name = draw.recipe.steps[weights].name;
            return draw.leaf("weight", {double(columns), double(rows), double(experts)}, "f16",
                             name.empty() ? "" : name + which);
        };
        const size_t a = draw.add("mul_mat_id", {adapter(K, 8, ".lora_a"), of, choice});
        const size_t b = draw.add("mul_mat_id", {adapter(8, N, ".lora_b"), a, choice});
        return draw.add("add", {made, draw.add("scale", {b}, {0.5})});
    };
    const size_t each = draw.add("reshape", {x}, {double(from.width), 1, double(draw.rows)});
    const size_t up_stack = stack(from.width, hidden, "blk.0.ffn_up_exps.weight");
    if (draw.chance(15)) write_expert(draw, up_stack, from.width, hidden);
    const size_t up = product(up_stack, each, from.width, hidden);
    if (draw.chance(5)) write_expert(draw, up_stack, from.width, hidden);
    size_t middle = up;
    if (draw.chance(70)) {
        const size_t gate =
            product(stack(from.width, hidden, "blk.0.ffn_gate_exps.weight"), each, from.width, hidden);
        middle = draw.add("glu.swiglu", {gate, up});
    } else if (draw.chance(50)) {
        const size_t biases = draw.leaf("weight", {double(hidden), double(experts)}, "f32");
        middle = draw.add("unary.silu", {draw.add("add_id", {up, biases, choice})});
    }
    const size_t down =
        product(stack(hidden, from.width, "blk.0.ffn_down_exps.weight"), middle, hidden, from.width);
    const size_t shared = draw.add("mul", {down, share});
    const size_t sum = sum_of_experts(draw, shared, from.width, used);
    draw.keep(draw.chance(60) ? draw.add("add", {sum, from.step}) : sum, from.width);
}

}  // namespace rknpu2::test
