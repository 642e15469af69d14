// SPDX-License-Identifier: MIT
// A host's own functions among products, which a plan cannot look into, and products that ask for more.
#include <array>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// What a function makes of one product or two; in place, or not.
size_t draw_function(Draw& draw, size_t a, size_t b) {
    switch (draw.random.range(1, 6)) {
        case 1:
            return draw.add("custom", {a});
        case 2:
            return draw.add("custom", {a, b, draw.chance(50) ? a : b});
        case 3:
            return draw.add("custom_inplace", {a, b});
        case 4:
            return draw.add("map_custom1_inplace", {a});
        case 5:
            return draw.add("map_custom2", {a, b});
        default:
            return draw.add("map_custom3", {a, b, b});
    }
}

}  // namespace

// Between two products: reads what one wrote, and is read by the other.
void draw_custom(Draw& draw) {
    const Value from = draw.any();
    const int64_t N = draw.width();
    if (!draw.may_multiply(from.width, N, 2) || !draw.may_multiply(N, from.width)) return;
    const size_t x = draw.normalised(from.step, from.width);
    const auto product = [&] { return draw.add("mul_mat", {draw.weight(from.width, N, draw.name()), x}); };
    const size_t a = product();
    // Other products by these activations before it, or behind it.
    const bool before = draw.chance(50);
    const size_t b = before ? product() : draw.input(N);
    const size_t made = draw_function(draw, a, b);
    if (!before) draw.keep(product(), N);
    if (draw.chance(30)) return draw.keep(draw.bounded(made, N), N);
    const size_t next = draw.add("mul_mat", {draw.weight(N, from.width, draw.name()), made});
    draw.keep(draw.bounded(draw.chance(60) ? draw.add("add", {next, from.step}) : next, from.width),
              from.width);
}

// By a matrix that the host says is a rotation: one that computes as fast as it can does not multiply.
void draw_rotation(Draw& draw) {
    constexpr int64_t kWidths[] = {32, 64, 64, 128, 256};
    const int64_t n = draw.random.pick(kWidths);
    if (!draw.may_multiply(n, n)) return;
    const size_t x = draw.any_of(n);
    const size_t weight = draw.leaf("weight", {double(n), double(n), 1, 5}, "f32", draw.name());
    draw.keep(draw.add("mul_mat", {weight, x}, {0, draw.chance(80) ? 1.0 : 0.0}), n);
}

// Asks for exact sums or activations, as hosts do for some models.
void draw_hints(Draw& draw) {
    constexpr std::array<double, 4> kOfSums = {0, 10, 20, 30};
    constexpr std::array<double, 6> kOfActivations = {0, 10, 15, 20, 30, 40};
    for (Step& step : draw.recipe.steps) {
        if (step.op == "flash_attn" && draw.chance(30)) step.parameters.push_back(10);
        if (step.op.rfind("mul_mat", 0) != 0 || !step.parameters.empty() || !draw.chance(40)) continue;
        const double of_sums = draw.random.pick(kOfSums);
        step.parameters = {of_sums, 0, draw.random.pick(kOfActivations)};
    }
}

}  // namespace rknpu2::test
