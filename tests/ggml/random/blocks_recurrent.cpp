// SPDX-License-Identifier: MIT
// Recurrent layers of one sequence or several: operations that plans do not know, with states that are read,
// then written by a copy, or row by row among those of other sequences.
#include <algorithm>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// The tokens of each follow one another.
struct Sequences {
    int64_t count = 1;
    int64_t tokens = 1;    // of each
    int64_t cells = 1;     // that hold a state
    size_t places = 0;     // a leaf: which are theirs
    bool by_rows = false;  // false: all are, in order
};

Sequences draw_sequences(Draw& draw) {
    Sequences sequences;
    const int64_t count = draw.random.range(2, 4);
    if (draw.chance(60) && draw.rows % count == 0) sequences.count = count;
    sequences.tokens = draw.rows / sequences.count;
    sequences.by_rows = draw.chance(60);
    sequences.cells = sequences.count + (sequences.by_rows ? draw.random.range(0, 3) : 0);
    const double order = sequences.by_rows ? double(draw.random.range(0, 2)) : 0;
    sequences.places = draw.leaf("rows", {double(sequences.count), double(sequences.cells), order}, "i32");
    return sequences;
}

size_t new_states(Draw& draw, const Sequences& sequences, int64_t numbers, double size) {
    return draw.leaf("state", {double(numbers), double(sequences.cells), 1, 1, 1, size});
}

// [numbers, count]
size_t read_states(Draw& draw, const Sequences& sequences, size_t states) {
    return sequences.by_rows ? draw.add("get_rows", {states, sequences.places}) : states;
}

// `next`: of any shape with as many numbers; without gaps if `dense`.
void write_states(Draw& draw, const Sequences& sequences, size_t states, size_t next, bool dense) {
    if (!sequences.by_rows) {
        draw.add("cpy", {next, states});
        return;
    }
    if (!dense) next = draw.add("cont", {next});
    const double numbers = draw.recipe.steps[states].parameters[0];
    draw.add("set_rows",
             {states, draw.add("reshape", {next}, {numbers, double(sequences.count)}), sequences.places});
}

// A product by heads, [S, H, rows], after what keeps it in bounds.
size_t by_heads(Draw& draw, const Value& from, int64_t S, int64_t H, const std::string& bound) {
    const int64_t width = S * H;
    size_t x = draw.add("mul_mat", {draw.weight(from.width, width, draw.name()), from.step});
    if (!bound.empty()) x = draw.add(bound, {x});
    return draw.add("reshape", {x}, {double(S), double(H), double(draw.rows)});
}

// The result's rows first, then the new states.
void take_apart(Draw& draw, const Sequences& sequences, size_t both, int64_t width, size_t states) {
    const auto bytes = double(4 * width);
    const double numbers = draw.recipe.steps[states].parameters[0];
    const size_t out = draw.add("view", {both}, {double(width), double(draw.rows), 1, 1, 0, bytes});
    const size_t next = draw.add(
        "view", {both}, {numbers, double(sequences.count), 1, 1, bytes * double(draw.rows), 4 * numbers});
    write_states(draw, sequences, states, next, true);
    draw.keep(draw.normalised(draw.chance(50) ? draw.add("cont", {out}) : out, width), width);
}

void draw_rwkv(Draw& draw, const Value& from, int64_t S, int64_t H, int64_t kind) {
    const Sequences sequences = draw_sequences(draw);
    const size_t states = new_states(draw, sequences, S * S * H, 0.1);
    const size_t k = by_heads(draw, from, S, H, "unary.tanh");
    const size_t v = by_heads(draw, from, S, H, "");
    const size_t r = by_heads(draw, from, S, H, "unary.sigmoid");
    const size_t decay = by_heads(draw, from, S, H, "unary.sigmoid");
    const size_t state = read_states(draw, sequences, states);
    size_t both = 0;
    if (kind == 1) {
        const size_t first = draw.leaf("vector", {double(S * H)});
        both = draw.add("rwkv_wkv6", {k, v, r, first, decay, state});
    } else if (kind == 2) {
        const size_t direction = draw.add("l2_norm", {k});
        const size_t less = draw.add("scale", {direction}, {-0.5});
        both = draw.add("rwkv_wkv7", {r, draw.add("scale", {decay}, {0.9}), k, v, less, direction, state});
    } else {
        both = draw.add("gated_linear_attn", {k, v, r, decay, state}, {0.25});
    }
    take_apart(draw, sequences, both, S * H, states);
}

// Decay is a head's, or each number's of it.
void draw_delta_net(Draw& draw, const Value& from, int64_t S, int64_t H) {
    const Sequences sequences = draw_sequences(draw);
    const size_t states = new_states(draw, sequences, S * S * H, 0.1);
    const auto by_sequence = [&](size_t x, int64_t width) {
        return draw.add("reshape", {x},
                        {double(width), double(H), double(sequences.tokens), double(sequences.count)});
    };
    const size_t q = by_sequence(draw.add("l2_norm", {by_heads(draw, from, S, H, "")}), S);
    const size_t k = by_sequence(draw.add("l2_norm", {by_heads(draw, from, S, H, "")}), S);
    const size_t v = by_sequence(by_heads(draw, from, S, H, "unary.silu"), S);
    const auto gate = [&](int64_t width, const char* bound) {
        return draw.add(bound, {draw.add("mul_mat", {draw.weight(from.width, width * H), from.step})});
    };
    const int64_t decays = draw.chance(30) ? S : 1;
    const size_t decay = by_sequence(draw.add("unary.neg", {gate(decays, "unary.softplus")}), decays);
    const size_t beta = by_sequence(gate(1, "unary.sigmoid"), 1);
    const size_t state = draw.add("reshape", {read_states(draw, sequences, states)},
                                  {double(S), double(S), double(H), double(sequences.count)});
    take_apart(draw, sequences, draw.add("gated_delta_net", {q, k, v, decay, beta, state}), S * H, states);
}

// The last tokens of each sequence, those of now behind them, through a convolution: [inner, tokens, count].
size_t convolved(Draw& draw, const Sequences& sequences, size_t x, int64_t inner) {
    const int64_t kernel = 4;
    const auto tokens = double(sequences.tokens);
    const auto count = double(sequences.count);
    const auto width = double(inner);
    const size_t tails = new_states(draw, sequences, (kernel - 1) * inner, 1);
    const size_t tail =
        draw.add("reshape", {read_states(draw, sequences, tails)}, {double(kernel - 1), width, count});
    const size_t by_sequence = draw.add("reshape", {x}, {width, tokens, count});
    const size_t all = draw.add("concat", {tail, draw.add("transpose", {by_sequence})}, {0});
    const double row = 4 * (tokens + double(kernel) - 1);
    const size_t last =
        draw.add("view", {all}, {double(kernel - 1), width, count, 1, 4 * tokens, row, row * width});
    write_states(draw, sequences, tails, last, false);
    const size_t weight = draw.leaf("weight", {double(kernel), width}, "f32");
    return draw.add("unary.silu", {draw.add("ssm_conv", {all, weight})});
}

// Mamba: a convolution over the last tokens, then the scan. In the first kind each column is a head, and each
// number of its state has its own decay.
void draw_mamba(Draw& draw, const Value& from) {
    const bool first_kind = draw.chance(30);
    const int64_t head = first_kind ? 1 : 16;
    const int64_t heads = first_kind ? 16 * draw.random.range(1, 2) : draw.random.range(1, 3);
    const int64_t inner = head * heads;
    const int64_t S = 16;
    const Sequences sequences = draw_sequences(draw);
    const auto tokens = double(sequences.tokens);
    const auto count = double(sequences.count);
    const size_t x = draw.add("mul_mat", {draw.weight(from.width, inner, "blk.0.ssm_in.weight"), from.step});
    const size_t conv = convolved(draw, sequences, x, inner);
    const size_t states = new_states(draw, sequences, S * inner, 0.1);
    const auto product = [&](int64_t N, std::vector<double> shape) {
        const size_t made = draw.add("mul_mat", {draw.weight(from.width, N), from.step});
        return draw.add("reshape", {made}, std::move(shape));
    };
    const size_t by_head = draw.add("reshape", {conv}, {double(head), double(heads), tokens, count});
    const int64_t groups = heads % 2 == 0 && draw.chance(40) ? 2 : 1;
    const size_t dt = product(heads, {double(heads), tokens, count});
    const size_t B = product(S * groups, {double(S), double(groups), tokens, count});
    const size_t C = product(S * groups, {double(S), double(groups), tokens, count});
    const int64_t decays = first_kind ? S : 1;
    const size_t decay = draw.add(
        "unary.neg", {draw.add("reshape", {draw.vector(heads * decays)}, {double(decays), double(heads)})});
    const size_t stored =
        draw.add("reshape", {states}, {double(S), double(head), double(heads), double(sequences.cells)});
    const size_t both = draw.add("ssm_scan", {stored, by_head, dt, decay, B, C, sequences.places});
    take_apart(draw, sequences, both, inner, states);
}

}  // namespace

void draw_recurrence(Draw& draw) {
    const Value from = draw.any();
    const int64_t kind = draw.random.range(1, 5);
    // RWKV's heads have 64 columns, and ggml's loops take as many at once.
    const int64_t S = kind <= 3 ? 64 : 16 * draw.random.range(1, 2);
    const int64_t H = draw.random.range(1, kind <= 3 ? 2 : 3);
    if (!draw.may_multiply(from.width, 5 * S * H) || !draw.may_multiply(S, S * H, 4)) return;
    const Value x = {draw.normalised(from.step, from.width), from.width};
    if (kind <= 3) return draw_rwkv(draw, x, S, H, kind);
    if (kind == 4) return draw_delta_net(draw, x, S, H);
    draw_mamba(draw, x);
}

}  // namespace rknpu2::test
