// SPDX-License-Identifier: MIT
// Attention as llama.cpp writes it: Q, K and V of one matrix or three, norms of heads, rotary embeddings,
// rows set in caches of any type, flash attention or soft_max, one stream of tokens or several.
#include <algorithm>
#include <cmath>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

struct Shape {
    int64_t head = 32, heads = 2, kv_heads = 1;
    int64_t cells = 0;    // of a stream
    int64_t streams = 1;  // tokens are dealt to them in order
    bool flash = true;
    std::string k_type, v_type;
    int64_t mask_kind = 0, old = 0, content = 1;
};

Shape draw_shape(Draw& draw) {
    constexpr int64_t kHeads[] = {16, 32, 64};
    Shape shape;
    shape.head = draw.chance(70) ? 32 : draw.random.pick(kHeads);
    shape.kv_heads = draw.random.range(1, 2);
    shape.heads = shape.kv_heads * draw.random.range(1, 3);
    shape.flash = !draw.chance(25);
    if (draw.rows % 2 == 0 && draw.chance(12)) shape.streams = 2;
    const int64_t tokens = draw.rows / shape.streams;
    shape.cells = draw.chance(40) ? tokens : tokens + draw.random.skewed(1, 200);
    if (draw.rows == 1)
        shape.cells = draw.chance(10) ? draw.random.range(512, 700) : draw.random.range(1, 400);
    const auto type = [&]() -> std::string {
        if (draw.chance(60)) return "f16";
        constexpr const char* kTypes[] = {"q8_0", "q4_0", "q5_1", "q8_0", "f32", "bf16", "q4_1"};
        const std::string drawn = draw.random.pick(kTypes);
        return shape.head % 32 == 0 || row_bytes(drawn, 32) % 32 == 0 ? drawn : "f16";
    };
    shape.k_type = type();
    shape.v_type = draw.chance(70) ? shape.k_type : type();
    if (!shape.flash) shape.v_type = draw.chance(70) ? "f16" : "f32";
    shape.mask_kind = draw.random.range(0, shape.flash ? 5 : 4);
    shape.old = draw.chance(50) ? 0 : draw.random.range(0, 1000);
    return shape;
}

// Cells that nothing can see may hold what is no number: those that are written first, and with fewer than 64
// queries all, for then ggml looks at no hidden one.
void draw_content(Draw& draw, Shape& shape) {
    const auto holds_anything = [](const std::string& type) { return type == "f16" || type == "f32"; };
    const bool all_written = shape.cells * shape.streams == draw.rows;
    const bool hidden_unread = shape.flash && draw.rows < 64 && shape.old == 0 && shape.streams == 1;
    if (!holds_anything(shape.k_type) || !holds_anything(shape.v_type)) return;
    if ((all_written || hidden_unread) && draw.chance(50)) shape.content = 2;
}

// A product by heads: [head, heads, rows].
size_t heads_of(Draw& draw, size_t product, int64_t offset, int64_t row, const Shape& shape, int64_t heads) {
    if (offset == 0 && row == shape.head * heads)
        return draw.add("reshape", {product}, {double(shape.head), double(heads), double(draw.rows)});
    return draw.add("view", {product},
                    {double(shape.head), double(heads), double(draw.rows), 1, double(4 * offset),
                     double(4 * shape.head), double(4 * row), double(4 * row * draw.rows)});
}

// Q, K or V by heads, and the distance of two rows in elements.
struct Part {
    size_t step = 0;
    int64_t row = 0;
};

// K and Q are turned by their positions; norms of heads before. Both leave no gaps.
void turn(Draw& draw, Part& x, const Shape& shape, int64_t heads, size_t positions, int64_t mode) {
    if (draw.chance(20))
        x = {draw.add("mul", {draw.add("rms_norm", {x.step}), draw.vector(shape.head)}), shape.head * heads};
    if (mode < 0) return;
    std::vector<size_t> sources = {x.step, positions};
    if (mode < 8 && draw.chance(10)) sources.push_back(draw.leaf("vector", {double(shape.head) / 2}));
    x = {draw.add("rope", sources, {double(shape.head), double(mode), 10000}), shape.head * heads};
}

// Writes rows of all heads to the cache and shows it by heads: [head, cells, heads, streams].
size_t through_cache(Draw& draw, const Part& x, const Shape& shape, const std::string& type, size_t places) {
    const int64_t row = shape.head * shape.kv_heads;
    const size_t cache =
        draw.leaf("state", {double(row), double(shape.cells * shape.streams), 1, 1, double(shape.content), 1},
                  type, draw.chance(50) ? "cache_k_l0" : "");
    const size_t flat = draw.add("view", {x.step},
                                 {double(row), double(draw.rows), 1, 1, 0, double(4 * x.row),
                                  double(4 * x.row * draw.rows), double(4 * x.row * draw.rows)});
    draw.add("set_rows", {cache, flat, places});
    const auto bytes = [&](int64_t elements) { return double(row_bytes(type, elements)); };
    const size_t shown =
        draw.add("view", {cache},
                 {double(shape.head), double(shape.kv_heads), double(shape.cells), double(shape.streams), 0,
                  bytes(shape.head), bytes(row), bytes(row * shape.cells)});
    return draw.add("permute", {shown}, {0, 2, 1, 3});
}

size_t draw_mask(Draw& draw, const Shape& shape, size_t places) {
    const auto tokens = double(draw.rows / shape.streams);
    const double planes = shape.flash && draw.chance(10) ? double(shape.heads) : 1;
    const double old = shape.content == 2 ? 0 : double(shape.old);
    // A row that sees nothing is none for soft_max.
    const double seen = shape.flash ? 600 : 1000;
    if (shape.streams > 1)
        return draw.leaf("mask", {double(shape.cells), tokens, 1, seen, planes, double(shape.streams)});
    const size_t mask =
        draw.leaf("mask", {double(shape.cells), tokens, double(shape.mask_kind), old, planes, 1});
    draw.recipe.steps[mask].sources = {places};
    return mask;
}

size_t look(Draw& draw, const Shape& shape, size_t q, size_t k, size_t v, size_t mask) {
    const double scale = 1.0 / std::sqrt(double(shape.head));
    const bool biased = draw.chance(12);
    if (shape.flash) {
        std::vector<size_t> sources = {q, k, v, mask};
        if (draw.chance(15)) sources.push_back(draw.vector(shape.heads));
        const size_t seen =
            draw.add("flash_attn", sources, {scale, biased ? 8.0 : 0.0, draw.chance(15) ? 5.0 : 0.0});
        return draw.add("reshape", {seen}, {double(shape.head * shape.heads), double(draw.rows)});
    }
    const size_t scores = draw.add("mul_mat", {k, q});
    const size_t shares = draw.add("soft_max", {scores, mask}, {scale, biased ? 8.0 : 0.0});
    const size_t turned_v = draw.add("cont", {draw.add("permute", {v}, {1, 0, 2, 3})});
    const size_t seen = draw.add("mul_mat", {turned_v, shares});
    const size_t by_tokens = draw.add("cont", {draw.add("permute", {seen}, {0, 2, 1, 3})});
    return draw.add("reshape", {by_tokens}, {double(shape.head * shape.heads), double(draw.rows)});
}

// By heads and tokens of a stream: [head, tokens, heads, streams].
size_t queries(Draw& draw, const Part& part, const Shape& shape) {
    size_t q = part.step;
    if (shape.streams > 1) {
        if (part.row != shape.head * shape.heads) q = draw.add("cont", {q});
        q = draw.add("reshape", {q},
                     {double(shape.head), double(shape.heads), double(draw.rows / shape.streams),
                      double(shape.streams)});
    }
    return draw.add("permute", {q}, {0, 2, 1, 3});
}

// Draws Q, K and V as parts of one product, or as three products.
void draw_parts(Draw& draw, const Shape& shape, const Value& x, size_t positions, int64_t mode,
                Part (&parts)[3]) {
    const int64_t all = shape.head * (shape.heads + 2 * shape.kv_heads);
    const int64_t heads[3] = {shape.heads, shape.kv_heads, shape.kv_heads};
    const char* const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
    const bool joined = draw.chance(30);
    const size_t together =
        joined ? draw.add("mul_mat", {draw.weight(x.width, all, "blk.0.attn_qkv.weight"), x.step}) : 0;
    int64_t offset = 0;
    for (int i = 0; i < 3; ++i) {
        const int64_t N = shape.head * heads[i];
        if (joined) {
            parts[i] = {heads_of(draw, together, offset, all, shape, heads[i]), all};
            offset += N;
        } else {
            size_t product = draw.add("mul_mat", {draw.weight(x.width, N, names[i]), x.step});
            if (draw.chance(15)) product = draw.add("add", {product, draw.vector(N)});
            parts[i] = {heads_of(draw, product, 0, N, shape, heads[i]), N};
        }
        if (i < 2) turn(draw, parts[i], shape, heads[i], positions, mode);
    }
}

}  // namespace

void draw_attention(Draw& draw) {
    Shape shape = draw_shape(draw);
    draw_content(draw, shape);
    const Value from = draw.any();
    const int64_t all = shape.head * (shape.heads + 2 * shape.kv_heads);
    const double looks = double(shape.cells) * double(shape.heads * shape.head) * double(draw.rows);
    if (looks > 30e6 || !draw.may_multiply(from.width, all)) return;
    const Value x = {draw.normalised(from.step, from.width), from.width};
    constexpr int64_t kModes[] = {-1, 0, 2, 2, 2, 8};
    const int64_t mode = draw.random.pick(kModes);
    const size_t positions =
        mode < 0 ? 0 : draw.leaf("positions", {double(draw.rows), mode == 8 ? 4.0 : 1.0});
    const size_t places = draw.leaf(
        "rows", {double(draw.rows), double(shape.cells * shape.streams), double(draw.random.range(0, 2))},
        draw.chance(85) ? "i64" : "i32");
    Part parts[3];
    draw_parts(draw, shape, x, positions, mode, parts);
    const size_t k = through_cache(draw, parts[1], shape, shape.k_type, places);
    const size_t v = through_cache(draw, parts[2], shape, shape.v_type, places);
    const size_t mask = draw_mask(draw, shape, places);
    const size_t seen = look(draw, shape, queries(draw, parts[0], shape), k, v, mask);
    const int64_t width = shape.head * shape.heads;
    if (!draw.may_multiply(width, from.width) || draw.chance(10)) return draw.keep(seen, width);
    const size_t out =
        draw.add("mul_mat", {draw.weight(width, from.width, "blk.0.attn_output.weight"), seen});
    draw.keep(draw.chance(70) ? draw.add("add", {out, from.step}) : out, from.width);
}

}  // namespace rknpu2::test
