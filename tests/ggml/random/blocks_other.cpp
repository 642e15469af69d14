// SPDX-License-Identifier: MIT
#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// [width, rows] to the same or another width.
Value draw_one(Draw& draw, const Value& x) {
    const auto width = double(x.width);
    const auto rows = double(draw.rows);
    switch (draw.random.range(1, 15)) {
        case 1:
            return {draw.add("scale", {draw.add("soft_max", {x.step}, {1, 0})}, {4}), x.width};
        case 2: {
            const size_t both = draw.add("concat", {x.step, draw.any_of(x.width)}, {0});
            return {both, 2 * x.width};
        }
        case 3: {
            const size_t both = draw.add("concat", {x.step, draw.any_of(x.width)}, {1});
            const size_t part =
                draw.add("view", {both}, {width, rows, 1, 1, 4 * width * double(draw.rows / 2), 4 * width});
            return {draw.add("cont", {part}), x.width};
        }
        case 4:
            return {draw.add("add", {x.step, draw.add("repeat", {draw.vector(x.width)}, {width, rows})}),
                    x.width};
        case 5: {
            const size_t sums = draw.add("scale", {draw.add("sum_rows", {x.step})}, {1 / width});
            return {draw.add("add", {x.step, sums}), x.width};
        }
        case 6:
            return {draw.add("add", {x.step, draw.add("mean", {x.step})}), x.width};
        case 7:
            return {draw.add("scale", {draw.add("cumsum", {x.step})}, {1 / width}), x.width};
        case 8: {
            const size_t masked = draw.add("diag_mask_inf", {x.step}, {double(draw.random.range(0, 3))});
            return {draw.add("soft_max", {masked}, {1, 0}), x.width};
        }
        case 9: {
            const size_t padded = draw.add("pad", {x.step}, {double(draw.random.range(0, 9)), 3, 0, 0});
            const double stride = 4 * (width + draw.recipe.steps[padded].parameters[0]);
            return {draw.add("cont", {draw.add("view", {padded}, {width, rows, 1, 1, 0, stride})}), x.width};
        }
        case 10:
            return {draw.add("roll", {x.step},
                             {double(draw.random.range(0, x.width - 1)), draw.rows > 1 ? 1.0 : 0.0, 0, 0}),
                    x.width};
        case 11:
            if (x.width % 2 != 0) return {draw.add("leaky_relu", {x.step}), x.width};
            return {draw.add("pool_1d", {x.step}, {2}), x.width / 2};
        case 12:
            return {draw.add("leaky_relu", {x.step}), x.width};
        case 13: {
            const int64_t kind = draw.random.range(1, 3);
            if (kind == 1) return {draw.add("map_custom1", {x.step}), x.width};
            const size_t other = draw.any_of(x.width);
            if (kind == 2) return {draw.add("map_custom2", {x.step, other}), x.width};
            return {draw.add("map_custom3", {x.step, other, draw.any_of(x.width)}), x.width};
        }
        case 14: {
            const size_t bounded = draw.add("clamp", {x.step}, {0.2, 9});
            return {draw.add(draw.chance(50) ? "sin" : "log", {bounded}), x.width};
        }
        default:
            return {draw.add("get_rows", {x.step, draw.leaf("indices", {rows, rows})}), x.width};
    }
}

}  // namespace

void draw_other(Draw& draw) {
    // What pools, rolls and custom functions read has no gaps: not every value does.
    Value x = draw.any();
    x.step = draw.add("cont", {x.step});
    const Value made = draw_one(draw, x);
    draw.keep(draw.normalised(made.step, made.width), made.width);
}

void draw_views(Draw& draw) {
    const Value x = draw.any();
    const auto width = double(x.width);
    const auto rows = double(draw.rows);
    const int64_t kind = draw.random.range(1, 7);
    if (kind == 1) {  // by heads, and back
        const int64_t heads = x.width % 4 == 0 ? 4 : 1;
        const size_t split = draw.add("reshape", {x.step}, {width / double(heads), double(heads), rows});
        const size_t norm = draw.add("rms_norm", {split});
        draw.keep(
            draw.add("reshape", {draw.chance(50) ? draw.add("scale", {norm}, {0.5}) : norm}, {width, rows}),
            x.width);
    } else if (kind == 2) {  // columns of it
        const int64_t part = draw.random.range(1, x.width);
        const auto offset = double(4 * draw.random.range(0, x.width - part));
        const size_t view = draw.add("view", {x.step}, {double(part), rows, 1, 1, offset, 4 * width});
        draw.keep(draw.bounded(draw.add(draw.chance(50) ? "unary.silu" : "sqr", {view}), part), part);
    } else if (kind == 3) {  // there and back
        const size_t turned = draw.add("cont", {draw.add("transpose", {x.step})});
        const size_t changed = draw.add("scale", {turned}, {1.5});
        draw.keep(draw.add("cont", {draw.add("transpose", {changed})}), x.width);
    } else if (kind == 4) {  // the two halves of it
        const int64_t half = x.width / 2;
        if (half == 0) return;
        const auto part = [&](int64_t i) {
            return draw.add("view", {x.step}, {double(half), rows, 1, 1, double(4 * half * i), 4 * width});
        };
        const char* const op = draw.chance(50) ? "glu.swiglu" : "mul";
        draw.keep(draw.bounded(draw.add(op, {part(0), part(1)}), half), half);
    } else if (kind == 5) {  // in place, on a copy nobody else has
        const size_t copy = draw.add("cont", {x.step});
        const size_t changed = draw.chance(30)   ? draw.add("mul_inplace", {copy, draw.vector(x.width)})
                               : draw.chance(50) ? draw.add("scale_inplace", {copy}, {0.5})
                                                 : draw.add("unary.relu", {copy}, {1});
        draw.keep(draw.add("add", {changed, x.step}), x.width);
    } else if (kind == 6) {  // a norm that its factor reads, and somebody else through a view
        const int64_t heads = x.width % 4 == 0 ? 4 : 1;
        const size_t norm = draw.add("rms_norm", {x.step});
        const size_t product = draw.add("mul", {norm, draw.vector(x.width)});
        const size_t split = draw.add("reshape", {norm}, {width / double(heads), double(heads), rows});
        const size_t scaled = draw.add("scale", {split}, {0.5});
        draw.keep(draw.add("add", {product, draw.add("reshape", {scaled}, {width, rows})}), x.width);
    } else {  // another order of dimensions
        const size_t split = draw.add("reshape", {x.step}, {width, 1, rows});
        const size_t turned = draw.add("permute", {split}, {0, 2, 1, 3});
        draw.keep(draw.add("add", {draw.add("reshape", {draw.add("cont", {turned})}, {width, rows}), x.step}),
                  x.width);
    }
}

// As a model's last layer takes the rows whose logits are wanted.
void draw_fewer_rows(Draw& draw) {
    const Value from = draw.any();
    const int64_t fewer = draw.random.range(1, std::max<int64_t>(1, draw.rows / 2));
    const size_t chosen = draw.leaf("indices", {double(fewer), double(draw.rows)});
    const size_t x = draw.add("get_rows", {from.step, chosen});
    draw.rows = fewer;
    draw.values = {{x, from.width}};
    draw_feed_forward(draw);
    draw_products(draw);
}

}  // namespace rknpu2::test
