// SPDX-License-Identifier: MIT
// Queries, keys, values and masks that a seed draws, and their attention in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "attention/problem.hpp"
#include "matrix/float16.hpp"
#include "support/random.hpp"

namespace rknpu2::testing {

inline constexpr uint16_t kHidden = 0xFC00;  // minus infinity

struct HeadsShape {
    size_t tokens = 40, positions = 700, heads = 4, kv_heads = 2, key_width = 64, value_width = 64;
    float scale = 0.125F, softcap = 0, max_bias = 0;
    bool masked = true, sinks = false, halves = true;
    size_t mask_heads = 1;
};

class Heads {
  public:
    Heads(const HeadsShape& shape, test::Random& random) : shape_(shape) {
        fill(queries_, shape.tokens * shape.heads * shape.key_width, random, 1);
        fill(keys_, shape.positions * shape.kv_heads * shape.key_width, random, 2);
        fill(values_, shape.positions * shape.kv_heads * shape.value_width, random, 1);
        fill(sinks_, shape.heads, random, 3);
        out.assign(shape.tokens * shape.heads * shape.value_width, -1e30F);
        mask.assign(shape.mask_heads * shape.tokens * shape.positions, 0);
        renew();
    }

    // Keys and values, as the cache holds them, are those of now.
    void renew() {
        for (const auto& [from, to] :
             {std::pair{&keys_, &key_halves_}, std::pair{&values_, &value_halves_}}) {
            to->resize(from->size());
            std::transform(from->begin(), from->end(), to->begin(), float_to_float16);
        }
    }

    // Floats of the cache become those of its halves.
    void round_to_halves() {
        std::transform(key_halves_.begin(), key_halves_.end(), keys_.begin(), float16_to_float);
        std::transform(value_halves_.begin(), value_halves_.end(), values_.begin(), float16_to_float);
    }

    // Token t sees positions from(t) .. to(t) - 1.
    template <typename From, typename To>
    void show(const From& from, const To& to) {
        for (size_t row = 0; row < shape_.mask_heads * shape_.tokens; ++row) {
            const size_t token = row % shape_.tokens;
            for (size_t n = 0; n < shape_.positions; ++n)
                if (n < from(token) || n >= to(token)) mask[row * shape_.positions + n] = kHidden;
        }
    }

    AttentionProblem problem() {
        constexpr size_t kFloat = sizeof(float);
        const size_t element = shape_.halves ? sizeof(uint16_t) : kFloat;
        const auto cache = [&](const std::vector<float>& floats, const std::vector<uint16_t>& halves,
                               size_t width) {
            const auto* const data = shape_.halves ? static_cast<const void*>(halves.data()) : floats.data();
            const DequantiseRow copy = [](const void* row, float* to, int64_t K) {
                std::memcpy(to, row, static_cast<size_t>(K) * kFloat);
            };
            return CacheRows{static_cast<const std::byte*>(data), shape_.kv_heads * width * element,
                             width * element, width, shape_.halves ? nullptr : copy};
        };
        AttentionProblem p;
        p.name = "kqv";
        p.tokens = shape_.tokens;
        p.positions = shape_.positions;
        p.heads = shape_.heads;
        p.kv_heads = shape_.kv_heads;
        // As llama.cpp has them: heads lie beside each other for each token.
        p.queries = reinterpret_cast<const std::byte*>(queries_.data());
        p.query_head_bytes = shape_.key_width * kFloat;
        p.query_token_bytes = shape_.heads * p.query_head_bytes;
        p.keys = cache(keys_, key_halves_, shape_.key_width);
        p.values = cache(values_, value_halves_, shape_.value_width);
        if (shape_.masked) p.mask = reinterpret_cast<const std::byte*>(mask.data());
        p.mask_token_bytes = shape_.positions * sizeof(uint16_t);
        p.mask_head_bytes = shape_.tokens * p.mask_token_bytes;
        p.mask_heads = shape_.mask_heads;
        if (shape_.sinks) p.sinks = sinks_.data();
        p.scale = shape_.scale;
        p.softcap = shape_.softcap;
        p.max_bias = shape_.max_bias;
        p.out = reinterpret_cast<std::byte*>(out.data());
        p.out_head_bytes = shape_.value_width * kFloat;
        p.out_token_bytes = shape_.heads * p.out_head_bytes;
        return p;
    }

    // One token of a head, with the halves of the cache.
    std::vector<double> expected(size_t token, size_t head) {
        const AttentionProblem p = problem();
        const size_t kv = head / p.group();
        std::vector<double> scores(shape_.positions, -INFINITY);
        double largest = shape_.sinks ? static_cast<double>(sinks_[head]) : -INFINITY;
        for (size_t n = 0; n < shape_.positions; ++n) {
            const uint16_t added = shape_.masked ? p.mask_row(token, head)[n] : 0;
            if (added == kHidden) continue;
            double score = 0;
            for (size_t k = 0; k < shape_.key_width; ++k)
                score += static_cast<double>(p.query(token, head)[k]) * key(n, kv, k);
            score *= static_cast<double>(shape_.scale);
            const auto cap = static_cast<double>(shape_.softcap);
            if (cap != 0) score = cap * std::tanh(score / cap);
            scores[n] = score + slope(head) * static_cast<double>(float16_to_float(added));
            largest = std::max(largest, scores[n]);
        }
        std::vector<double> sums(shape_.value_width);
        double weights = shape_.sinks ? std::exp(static_cast<double>(sinks_[head]) - largest) : 0;
        for (size_t n = 0; n < shape_.positions; ++n) {
            if (std::isinf(scores[n])) continue;
            const double weight = std::exp(scores[n] - largest);
            weights += weight;
            for (size_t k = 0; k < shape_.value_width; ++k)
                sums[k] += weight * value(n, kv, k);
        }
        for (double& sum : sums)
            sum = weights == 0 ? 0 : sum / weights;
        return sums;
    }

    // ALiBi as its paper has it: a geometric sequence for the first power of two of heads, every other number of the next
    // one for the rest.
    double slope(size_t head) const {
        if (shape_.max_bias == 0) return 1;
        double heads = 1;
        while (2 * heads <= static_cast<double>(shape_.heads))
            heads *= 2;
        const auto h = static_cast<double>(head);
        const double bias = shape_.max_bias;
        return h < heads ? std::pow(2, -bias * (h + 1) / heads)
                         : std::pow(2, -bias * (2 * (h - heads) + 1) / (2 * heads));
    }

    void set_key(size_t position, float to) { set(keys_, position, shape_.key_width, to); }
    void set_key_element(size_t position, size_t k, float to) {
        for (size_t head = 0; head < shape_.kv_heads; ++head)
            keys_[(position * shape_.kv_heads + head) * shape_.key_width + k] = to;
        renew();
    }
    void set_value(size_t position, float to) { set(values_, position, shape_.value_width, to); }
    float& query(size_t token, size_t head, size_t k) {
        return queries_[(token * shape_.heads + head) * shape_.key_width + k];
    }

    std::vector<float> out;
    std::vector<uint16_t> mask;

  private:
    static void fill(std::vector<float>& numbers, size_t count, test::Random& random, float times) {
        numbers.resize(count);
        for (float& number : numbers)
            number = times * random.normal();
    }
    void set(std::vector<float>& numbers, size_t position, size_t width, float to) {
        std::fill_n(numbers.begin() + static_cast<std::ptrdiff_t>(position * shape_.kv_heads * width),
                    shape_.kv_heads * width, to);
        renew();
    }
    double key(size_t n, size_t head, size_t k) const {
        return static_cast<double>(
            float16_to_float(key_halves_[(n * shape_.kv_heads + head) * shape_.key_width + k]));
    }
    double value(size_t n, size_t head, size_t k) const {
        return static_cast<double>(
            float16_to_float(value_halves_[(n * shape_.kv_heads + head) * shape_.value_width + k]));
    }

    HeadsShape shape_;
    std::vector<float> queries_, keys_, values_, sinks_;
    std::vector<uint16_t> key_halves_, value_halves_;
};

inline HeadsShape draw_heads(test::Random& random, size_t most_tokens) {
    HeadsShape shape;
    constexpr size_t kWidths[] = {32, 40, 64, 72, 80, 96, 128, 192, 256};
    shape.tokens = random.size(1, most_tokens);
    shape.positions = random.size(1, 2600);
    shape.kv_heads = random.size(1, 3);
    shape.heads = shape.kv_heads * random.size(1, 5);
    shape.key_width = kWidths[random.size(0, std::size(kWidths) - 1)];
    shape.value_width = random.one_in(3) ? kWidths[random.size(0, std::size(kWidths) - 1)] : shape.key_width;
    shape.scale = 1 / std::sqrt(static_cast<float>(shape.key_width));
    shape.softcap = random.one_in(4) ? 5.0F : 0.0F;
    shape.max_bias = random.one_in(4) ? 8.0F : 0.0F;
    shape.masked = !random.one_in(4);
    shape.sinks = random.one_in(3);
    shape.halves = !random.one_in(3);
    shape.mask_heads = random.one_in(4) ? shape.heads : 1;
    return shape;
}

// Later tokens see more; windows; holes; tokens that see nothing; numbers that are added.
inline void draw_mask(Heads& heads, const HeadsShape& shape, test::Random& random) {
    const size_t window = random.one_in(2) ? random.size(1, shape.positions) : shape.positions;
    const size_t last = random.size(1, shape.positions);
    heads.show(
        [&](size_t t) {
            const size_t end = last * (t + 1) / shape.tokens;
            return end > window ? end - window : 0;
        },
        [&](size_t t) { return last * (t + 1) / shape.tokens; });
    for (uint16_t& added : heads.mask) {
        if (added != kHidden && random.one_in(50)) added = kHidden;
        if (added != kHidden && shape.max_bias > 0) added = float_to_float16(random.uniform());
    }
}

}  // namespace rknpu2::testing
