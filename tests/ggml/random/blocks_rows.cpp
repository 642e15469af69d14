// SPDX-License-Identifier: MIT
#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

constexpr const char* kSmooth[] = {"abs",       "neg",      "tanh",        "elu",        "relu",
                                   "sigmoid",   "gelu",     "silu",        "gelu_quick", "gelu_erf",
                                   "hardswish", "softplus", "hardsigmoid", "xielu"};
constexpr const char* kSteep[] = {"exp", "expm1"};
constexpr const char* kJumping[] = {"sgn", "step", "floor", "ceil", "round", "trunc"};

size_t draw_unary(Draw& draw, size_t x) {
    const int64_t kind = draw.random.range(1, 10);
    if (kind <= 7) return draw.add(std::string("unary.") + draw.random.pick(kSmooth), {x});
    if (kind == 8) {
        const size_t bounded = draw.add("clamp", {x}, {-3, 2});
        return draw.add(std::string("unary.") + draw.random.pick(kSteep), {bounded});
    }
    // What jumps turns a last bit into a whole number: it goes on as a thousandth.
    const size_t jump = draw.add(std::string("unary.") + draw.random.pick(kJumping), {x});
    return draw.add("add", {x, draw.add("scale", {jump}, {0.001})});
}

// Draws an operation with two operands, or with one and a row or column for all of its rows.
size_t draw_binary(Draw& draw, size_t x, int64_t width) {
    const int64_t kind = draw.random.range(1, 10);
    if (kind <= 2) return draw.add(draw.chance(50) ? "mul" : "add", {x, draw.vector(width)});
    if (kind == 3) return draw.add("div", {x, draw.vector(width)});
    if (kind == 4) return draw.add("mul", {x, draw.leaf("positive", {1, double(draw.rows)})});
    if (kind == 5) return draw.add("div", {x, draw.leaf("positive", {double(width), double(draw.rows)})});
    const size_t other = draw.any_of(width);
    if (kind <= 7) return draw.add("add", {x, other});
    if (kind == 8) return draw.add("sub", {x, draw.add("scale", {other}, {0.25})});
    if (kind == 9) return draw.add("mul", {x, other});
    return draw.add("add", {other, x});
}

size_t draw_one(Draw& draw, size_t x, int64_t width) {
    switch (draw.random.range(1, 9)) {
        case 1:
        case 2:
            return draw_unary(draw, x);
        case 3:
        case 4:
        case 5:
            return draw_binary(draw, x, width);
        case 6: {
            const double factor = draw.chance(50) ? 0.5 : -1.5;
            return draw.add("scale", {x}, {factor, draw.chance(30) ? 0.25 : 0.0});
        }
        case 7:
            return draw.chance(50) ? draw.add("clamp", {draw.add("sqr", {x})}, {0, 8})
                                   : draw.add("sqrt", {draw.add("clamp", {x}, {0.1, 10})});
        case 8:
            return draw.add("clamp", {x}, {-1.5, 2});
        default:
            break;
    }
    if (width >= 8 && draw.chance(20)) return draw.add("scale", {draw.add("l2_norm", {x})}, {4});
    return draw.normalised(x, width);
}

}  // namespace

void draw_row_operations(Draw& draw) {
    const Value from = draw.any();
    size_t x = from.step;
    const int64_t count = draw.random.range(1, 5);
    for (int64_t i = 0; i < count; ++i)
        x = draw_one(draw, x, from.width);
    draw.keep(draw.bounded(x, from.width), from.width);
}

void draw_unread(Draw& draw) {
    const Value from = draw.any();
    size_t x = from.step;
    const int64_t count = draw.random.range(1, 2);
    for (int64_t i = 0; i < count; ++i)
        x = draw_one(draw, x, from.width);
    if (draw.chance(20))
        x = draw.add("mul_mat", {draw.weight(from.width, draw.random.range(1, 64), draw.name()), x});
    if (draw.chance(10)) draw.add("reshape", {from.step}, {double(from.width * draw.rows)});
}

}  // namespace rknpu2::test
