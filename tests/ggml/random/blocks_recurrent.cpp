// SPDX-License-Identifier: MIT
// Recurrent layers: operations that plans do not know, with states that are read, then written by a copy.
#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// A product by heads, [S, H, rows], after what keeps it in bounds.
size_t by_heads(Draw& draw, const Value& from, int64_t S, int64_t H, const std::string& bound) {
    const int64_t width = S * H;
    size_t x = draw.add("mul_mat", {draw.weight(from.width, width, draw.name()), from.step});
    if (!bound.empty()) x = draw.add(bound, {x});
    return draw.add("reshape", {x}, {double(S), double(H), double(draw.rows)});
}

// The result's rows first, then the new state, which is copied to the old one's place.
void take_apart(Draw& draw, size_t both, int64_t width, int64_t states, size_t state) {
    const auto bytes = double(4 * width);
    const size_t out = draw.add("view", {both}, {double(width), double(draw.rows), 1, 1, 0, bytes});
    const size_t next = draw.add("view", {both}, {double(states), 1, 1, 1, bytes * double(draw.rows)});
    draw.add("cpy", {next, state});
    draw.keep(draw.normalised(draw.chance(50) ? draw.add("cont", {out}) : out, width), width);
}

void draw_rwkv(Draw& draw, const Value& from, int64_t S, int64_t H, int64_t kind) {
    const int64_t states = S * S * H;
    const size_t state = draw.leaf("state", {double(states), 1, 1, 1, 1, 0.1});
    const size_t k = by_heads(draw, from, S, H, "unary.tanh");
    const size_t v = by_heads(draw, from, S, H, "");
    const size_t r = by_heads(draw, from, S, H, "unary.sigmoid");
    const size_t decay = by_heads(draw, from, S, H, "unary.sigmoid");
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
    take_apart(draw, both, S * H, states, state);
}

void draw_delta_net(Draw& draw, const Value& from, int64_t S, int64_t H) {
    const auto rows = double(draw.rows);
    const size_t state = draw.leaf("state", {double(S), double(S), double(H), 1, 1, 0.1});
    const size_t q = draw.add("l2_norm", {by_heads(draw, from, S, H, "")});
    const size_t k = draw.add("l2_norm", {by_heads(draw, from, S, H, "")});
    const size_t v = by_heads(draw, from, S, H, "unary.silu");
    const auto gate = [&](const char* bound) {
        const size_t x = draw.add(bound, {draw.add("mul_mat", {draw.weight(from.width, H), from.step})});
        return draw.add("reshape", {x}, {1, double(H), rows});
    };
    const size_t decay = draw.add("unary.neg", {gate("unary.softplus")});
    const size_t beta = gate("unary.sigmoid");
    const size_t both = draw.add("gated_delta_net", {q, k, v, decay, beta, state});
    take_apart(draw, both, S * H, S * S * H, state);
}

// Mamba: a convolution over the last tokens, then the scan.
void draw_mamba(Draw& draw, const Value& from) {
    const int64_t head = 16;
    const int64_t heads = draw.random.range(1, 3);
    const int64_t inner = head * heads;
    const int64_t kernel = 4;
    const int64_t S = 16;
    const auto rows = double(draw.rows);
    const size_t tail = draw.leaf("state", {double(kernel - 1), double(inner), 1, 1, 1, 1});
    const size_t x = draw.add("mul_mat", {draw.weight(from.width, inner, "blk.0.ssm_in.weight"), from.step});
    const size_t all = draw.add("concat", {tail, draw.add("transpose", {x})}, {0});
    const double row = 4 * (rows + double(kernel) - 1);
    const size_t last = draw.add("view", {all}, {double(kernel - 1), double(inner), 1, 1, 4 * rows, row});
    draw.add("cpy", {last, tail});
    const size_t conv_weight = draw.leaf("weight", {double(kernel), double(inner)}, "f32");
    const size_t conv = draw.add("unary.silu", {draw.add("ssm_conv", {all, conv_weight})});
    const size_t state = draw.leaf("state", {double(S), double(head), double(heads), 1, 1, 0.1});
    const auto product = [&](int64_t N, std::vector<double> shape) {
        const size_t made = draw.add("mul_mat", {draw.weight(from.width, N), from.step});
        return draw.add("reshape", {made}, std::move(shape));
    };
    const size_t by_head = draw.add("reshape", {conv}, {double(head), double(heads), rows, 1});
    const size_t dt = product(heads, {double(heads), rows, 1});
    const size_t B = product(S, {double(S), 1, rows, 1});
    const size_t C = product(S, {double(S), 1, rows, 1});
    const size_t decay =
        draw.add("unary.neg", {draw.add("reshape", {draw.vector(heads)}, {1, double(heads)})});
    const size_t which = draw.leaf("indices", {1, 1});
    const size_t both = draw.add("ssm_scan", {state, by_head, dt, decay, B, C, which});
    const size_t out = draw.add("view", {both}, {double(inner), rows, 1, 1, 0, double(4 * inner)});
    const size_t next = draw.add("view", {both}, {double(S * inner), 1, 1, 1, 4 * double(inner) * rows});
    draw.add("cpy", {next, state});
    draw.keep(draw.normalised(draw.add("cont", {out}), inner), inner);
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
