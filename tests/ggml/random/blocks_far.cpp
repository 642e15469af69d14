// SPDX-License-Identifier: MIT
// Operands that are far from 1: rows of all magnitudes that float32 has, subnormal numbers, one huge number
// among others, zeros. What is far is brought back behind the product, so that each row counts as much.
#include "ggml/random/blocks.hpp"
#include "ggml/random/execute.hpp"

namespace rknpu2::test {
namespace {

enum Content : int64_t { kPlain, kAllMagnitudes, kSubnormal, kOutliers, kZeros };

// Only these types have the exponents of float32.
std::string wide_type(Draw& draw) {
    return draw.chance(70) ? "f32" : "bf16";
}

// Content of a weight that is multiplied by such activations. Two that are tiny have a product of few bits;
// where a huge number meets a zero, 8 bits leave nothing of the others.
int64_t draw_content_of_weight(Draw& draw, int64_t of_input) {
    if (of_input == kSubnormal || !draw.chance(of_input == kPlain ? 100 : 40)) return kPlain;
    const int64_t content = draw.random.range(kAllMagnitudes, kZeros);
    const bool too_small = content == kSubnormal && of_input != kPlain;
    const auto lonely = [](int64_t a, int64_t b) { return a == kOutliers && b != kPlain; };
    const bool too_coarse = (lonely(content, of_input) || lonely(of_input, content)) &&
                            !multiplies_exactly(draw.recipe.environment);
    return too_small || too_coarse ? int64_t{kPlain} : content;
}

}  // namespace

void draw_far_products(Draw& draw) {
    const int64_t K = draw.width();
    const auto rows = double(draw.rows);
    const int64_t content = draw.random.range(kPlain, kZeros);
    const size_t x = draw.leaf("input", {double(K), rows, 1, 1, double(content)});
    // The CPU, where it multiplies as well, keeps scales of 8 bits in float16.
    const bool wide =
        (content == kAllMagnitudes || content == kOutliers) && !multiplies_exactly(draw.recipe.environment);
    const int64_t count = draw.random.range(1, 3);
    for (int64_t i = 0; i < count; ++i) {
        const int64_t N = draw.chance(30) ? draw.random.skewed(1, 40) : draw.width();
        if (!draw.may_multiply(K, N)) return;
        const int64_t of_weight = draw_content_of_weight(draw, content);
        const bool plain = of_weight == kPlain && !wide;
        const size_t weight = plain ? draw.weight(K, N, draw.name())
                                    : draw.leaf("weight", {double(K), double(N), 1, double(of_weight)},
                                                wide_type(draw), draw.name());
        size_t product = draw.add("mul_mat", {weight, x});
        const auto bring_back = [&](const std::vector<double>& shape, size_t far) {
            const size_t inverse = draw.leaf("inverse", shape);
            draw.recipe.steps[inverse].sources = {far};
            product = draw.add("mul", {product, inverse});
        };
        if (content == kAllMagnitudes) bring_back({1, rows}, x);
        if (of_weight == kAllMagnitudes) bring_back({double(N)}, weight);
        const bool huge = content == kOutliers || of_weight == kOutliers;
        if (huge) product = N < 8 ? draw.add("clamp", {product}, {-9, 9}) : draw.normalised(product, N);
        // Nothing would be left of products of these, where 8 bits have scales in float16.
        if (content == kSubnormal || of_weight == kSubnormal)
            product = draw.add("add", {product, draw.vector(N)});
        draw.keep(product, N);
    }
}

}  // namespace rknpu2::test
