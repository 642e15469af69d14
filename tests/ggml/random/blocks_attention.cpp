// SPDX-License-Identifier: MIT
// Attention as llama.cpp writes it: Q, K and V of one matrix or three, norms of heads, rotary embeddings,
// rows set in caches of any type or none, flash attention or soft_max, one stream of tokens or several.
#include <algorithm>
#include <cmath>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

struct Shape {
    int64_t head = 32, heads = 2, kv_heads = 1;
    int64_t v_head = 32;
    int64_t cells = 0;    // of a stream
    int64_t streams = 1;  // tokens are dealt to them in order
    bool flash = true, cached = true, masked = true;
    std::string k_type, v_type;
    int64_t mask_kind = 0, old = 0, content = 1;
};

Shape draw_shape(Draw& draw) {
    constexpr int64_t kHeads[] = {16, 40, 48, 64, 64, 64, 72, 80, 96, 112, 128, 128, 192, 256};
    Shape shape;
    shape.head = draw.chance(60) ? 32 : draw.random.pick(kHeads);
    shape.v_head = draw.chance(80) ? shape.head : draw.random.pick(kHeads);
    shape.kv_heads = draw.random.range(1, 2);
    shape.heads = shape.kv_heads * draw.random.range(1, 3);
    shape.flash = !draw.chance(25);
    if (draw.rows % 2 == 0 && draw.chance(12)) shape.streams = 2;
    const int64_t tokens = draw.rows / shape.streams;
    shape.cells = draw.chance(40) ? tokens : tokens + draw.random.skewed(1, 200);
    if (draw.chance(10)) shape.cells = std::max(tokens, draw.random.range(500, 2300));
    if (draw.rows == 1)
        shape.cells = draw.chance(10) ? draw.random.range(512, 700) : draw.random.range(1, 400);
    const auto type = [&](int64_t head) -> std::string {
        if (draw.chance(60)) return "f16";
        constexpr const char* kTypes[] = {"q8_0", "q4_0", "q5_1", "q8_0", "f32", "bf16", "q4_1"};
        const std::string drawn = draw.random.pick(kTypes);
        return head % 32 == 0 || row_bytes(drawn, 32) % 32 == 0 ? drawn : "f16";
    };
    shape.k_type = type(shape.head);
    shape.v_type = draw.chance(70) && shape.head == shape.v_head ? shape.k_type : type(shape.v_head);
    if (!shape.flash) shape.v_type = draw.chance(70) ? "f16" : "f32";
    shape.mask_kind = draw.random.range(0, shape.flash ? 5 : 4);
    shape.old = draw.chance(50) ? 0 : draw.random.range(0, 1000);
    // Encoders look at all that is there.
    if (shape.streams == 1 && draw.chance(15)) {
        shape.cached = false;
        shape.cells = draw.rows;
        shape.masked = draw.chance(60);
    }
    return shape;
}

// Cells that nothing can see may hold what is no number: those that are written first, and with fewer than 64
// queries all, for then ggml looks at no hidden one.
void draw_content(Draw& draw, Shape& shape) {
    const auto holds_anything = [](const std::string& type) { return type == "f16" || type == "f32"; };
    if (!shape.cached) return;
    const bool all_written = shape.cells * shape.streams == draw.rows;
    const bool hidden_unread = shape.flash && draw.rows < 64 && shape.old == 0 && shape.streams == 1;
    if (!holds_anything(shape.k_type) || !holds_anything(shape.v_type)) return;
    if ((all_written || hidden_unread) && draw.chance(50)) shape.content = 2;
}

// A product by heads: [head, heads, rows].
size_t heads_of(Draw& draw, size_t product, int64_t offset, int64_t row, int64_t head, int64_t heads) {
    if (offset == 0 && row == head * heads)
        return draw.add("reshape", {product}, {double(head), double(heads), double(draw.rows)});
    return draw.add("view", {product},
                    {double(head), double(heads), double(draw.rows), 1, double(4 * offset), double(4 * head),
                     double(4 * row), double(4 * row * draw.rows)});
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
size_t through_cache(Draw& draw, const Part& x, const Shape& shape, int64_t head, const std::string& type,
                     size_t places) {
    if (!shape.cached) {
        const size_t shown = draw.add("permute", {x.step}, {0, 2, 1, 3});
        return shape.flash ? draw.add("cast", {shown}, {}, "f16") : shown;
    }
    const int64_t row = head * shape.kv_heads;
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
                 {double(head), double(shape.kv_heads), double(shape.cells), double(shape.streams), 0,
                  bytes(head), bytes(row), bytes(row * shape.cells)});
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
    const bool biased = shape.masked && draw.chance(12);
    std::vector<size_t> further;
    if (shape.masked) further.push_back(mask);
    if (shape.masked && draw.chance(15)) further.push_back(draw.vector(shape.heads));
    const double width = double(shape.v_head * shape.heads);
    if (shape.flash) {
        std::vector<size_t> sources = {q, k, v};
        sources.insert(sources.end(), further.begin(), further.end());
        const size_t seen =
            draw.add("flash_attn", sources, {scale, biased ? 8.0 : 0.0, draw.chance(15) ? 5.0 : 0.0});
        return draw.add("reshape", {seen}, {width, double(draw.rows)});
    }
    std::vector<size_t> sources = {draw.add("mul_mat", {k, q})};
    if (draw.chance(12))
        sources[0] = draw.add("scale", {draw.add("unary.tanh", {draw.add("scale", sources, {0.2})})}, {5});
    sources.insert(sources.end(), further.begin(), further.end());
    const size_t shares = draw.add("soft_max", sources, {scale, biased ? 8.0 : 0.0});
    const size_t turned_v = draw.add("cont", {draw.add("permute", {v}, {1, 0, 2, 3})});
    const size_t seen = draw.add("mul_mat", {turned_v, shares});
    const size_t by_tokens = draw.add("cont", {draw.add("permute", {seen}, {0, 2, 1, 3})});
    return draw.add("reshape", {by_tokens}, {width, double(draw.rows)});
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

int64_t columns_of_all(const Shape& shape) {
    return shape.head * (shape.heads + shape.kv_heads) + shape.v_head * shape.kv_heads;
}

// Draws Q, K and V as parts of one product, or as three products.
void draw_parts(Draw& draw, const Shape& shape, const Value& x, size_t positions, int64_t mode,
                Part (&parts)[3]) {
    const int64_t all = columns_of_all(shape);
    const int64_t heads[3] = {shape.heads, shape.kv_heads, shape.kv_heads};
    const char* const names[] = {"blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight"};
    const bool joined = draw.chance(30);
    const size_t together =
        joined ? draw.add("mul_mat", {draw.weight(x.width, all, "blk.0.attn_qkv.weight"), x.step}) : 0;
    int64_t offset = 0;
    for (int i = 0; i < 3; ++i) {
        const int64_t head = i < 2 ? shape.head : shape.v_head;
        const int64_t N = head * heads[i];
        if (joined) {
            parts[i] = {heads_of(draw, together, offset, all, head, heads[i]), all};
            offset += N;
        } else {
            size_t product = draw.add("mul_mat", {draw.weight(x.width, N, names[i]), x.step});
            if (draw.chance(15)) product = draw.add("add", {product, draw.vector(N)});
            parts[i] = {heads_of(draw, product, 0, N, head, heads[i]), N};
        }
        if (i < 2) turn(draw, parts[i], shape, heads[i], positions, mode);
    }
}

}  // namespace

void draw_attention(Draw& draw) {
    Shape shape = draw_shape(draw);
    draw_content(draw, shape);
    const Value from = draw.any();
    const int64_t all = columns_of_all(shape);
    const double looks = double(shape.cells) * double(shape.heads * shape.head) * double(draw.rows);
    if (looks > 30e6 || !draw.may_multiply(from.width, all)) return;
    const Value x = {draw.normalised(from.step, from.width), from.width};
    constexpr int64_t kModes[] = {-1, 0, 2, 2, 2, 8};
    const int64_t mode = draw.random.pick(kModes);
    const size_t positions =
        mode < 0 ? 0 : draw.leaf("positions", {double(draw.rows), mode == 8 ? 4.0 : 1.0});
    const double order = shape.cached ? double(draw.random.range(0, 2)) : 0;
    const size_t places = draw.leaf("rows", {double(draw.rows), double(shape.cells * shape.streams), order},
                                    draw.chance(85) ? "i64" : "i32");
    Part parts[3];
    draw_parts(draw, shape, x, positions, mode, parts);
    const size_t k = through_cache(draw, parts[1], shape, shape.head, shape.k_type, places);
    const size_t v = through_cache(draw, parts[2], shape, shape.v_head, shape.v_type, places);
    const size_t mask = shape.masked ? draw_mask(draw, shape, places) : 0;
    const size_t seen = look(draw, shape, queries(draw, parts[0], shape), k, v, mask);
    const int64_t width = shape.v_head * shape.heads;
    if (!draw.may_multiply(width, from.width) || draw.chance(10)) return draw.keep(seen, width);
    const size_t out =
        draw.add("mul_mat", {draw.weight(width, from.width, "blk.0.attn_output.weight"), seen});
    draw.keep(draw.chance(70) ? draw.add("add", {out, from.step}) : out, from.width);
}

namespace {

// A matrix for each head: [N, heads, rows] of [K, heads, rows].
size_t by_each_head(Draw& draw, size_t x, int64_t K, int64_t N, int64_t heads, const char* name) {
    const std::string type = heads == 1 ? "f32" : draw.weight_type(K);
    const size_t weights = draw.leaf("weight", {double(K), double(N), double(heads)}, type, name);
    return draw.add("permute", {draw.add("mul_mat", {weights, draw.add("permute", {x}, {0, 2, 1, 3})})},
                    {0, 2, 1, 3});
}

}  // namespace

// Attention over latent vectors (MLA): K is one head for all, and V a part of it.
void draw_latent_attention(Draw& draw) {
    constexpr int64_t kLatent[] = {32, 64, 96, 128};
    const bool as_models = draw.rows <= 32 && draw.chance(40);
    const int64_t latent = as_models ? 512 : draw.random.pick(kLatent);
    const int64_t turned = as_models ? 64 : 16 * draw.random.range(1, 2);
    constexpr int64_t kPlain = 32;
    Shape shape;
    shape.heads = draw.random.range(1, 4);
    shape.head = latent + turned;
    shape.v_head = latent;
    shape.flash = !draw.chance(25);
    shape.cells = draw.rows + (draw.chance(40) ? 0 : draw.random.skewed(1, 200));
    shape.k_type = draw.chance(70) ? "f16" : shape.flash && turned == 32 ? "q8_0" : "f32";
    shape.mask_kind = draw.random.range(0, shape.flash ? 5 : 4);
    const Value from = draw.any();
    const double looks = double(shape.cells) * double(shape.heads * shape.head) * double(draw.rows);
    if (looks > 30e6 || !draw.may_multiply(from.width, shape.heads * (kPlain + turned) + shape.head) ||
        !draw.may_multiply(latent, 2 * kPlain * shape.heads))
        return;
    const Value x = {draw.normalised(from.step, from.width), from.width};
    const size_t positions = draw.leaf("positions", {double(draw.rows), 1});
    const size_t places =
        draw.leaf("rows", {double(draw.rows), double(shape.cells), double(draw.random.range(0, 2))});
    const auto part = [&](size_t of, int64_t width, int64_t row, int64_t offset, int64_t heads) {
        return draw.add("view", {of},
                        {double(width), double(heads), double(draw.rows), 1, double(4 * offset),
                         double(4 * row), double(4 * row * heads)});
    };
    const auto turn_part = [&](size_t of) {
        return draw.add("rope", {of, positions}, {double(turned), 0, 10000});
    };
    const int64_t each = kPlain + turned;
    const size_t q =
        draw.add("mul_mat", {draw.weight(x.width, shape.heads * each, "blk.0.attn_q.weight"), x.step});
    const size_t k =
        draw.add("mul_mat", {draw.weight(x.width, shape.head, "blk.0.attn_kv_a_mqa.weight"), x.step});
    const size_t absorbed = by_each_head(draw, part(q, kPlain, each, 0, shape.heads), kPlain, latent,
                                         shape.heads, "blk.0.attn_k_b.weight");
    const size_t queries_of =
        draw.add("concat", {turn_part(part(q, turned, each, kPlain, shape.heads)), absorbed}, {0});
    const size_t norm = draw.add("rms_norm", {part(k, latent, shape.head, 0, 1)});
    const size_t key = draw.add("concat", {turn_part(part(k, turned, shape.head, latent, 1)), norm}, {0});
    const size_t shown = through_cache(draw, {key, shape.head}, shape, shape.head, shape.k_type, places);
    // The latent numbers are behind those that are turned.
    const auto bytes = [&](int64_t elements) { return double(row_bytes(shape.k_type, elements)); };
    const size_t values = draw.add("view", {shown},
                                   {double(latent), double(shape.cells), 1, 1, bytes(turned),
                                    bytes(shape.head), bytes(shape.head * shape.cells)});
    const size_t mask = draw_mask(draw, shape, places);
    const size_t seen =
        look(draw, shape, draw.add("permute", {queries_of}, {0, 2, 1, 3}), shown, values, mask);
    const size_t by_heads =
        draw.add("reshape", {seen}, {double(latent), double(shape.heads), double(draw.rows)});
    const size_t out = by_each_head(draw, by_heads, latent, kPlain, shape.heads, "blk.0.attn_v_b.weight");
    const int64_t width = kPlain * shape.heads;
    draw.keep(draw.add("reshape", {draw.add("cont", {out})}, {double(width), double(draw.rows)}), width);
}

}  // namespace rknpu2::test
