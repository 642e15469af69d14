// SPDX-License-Identifier: MIT
// The data in leaves.
//
// Kinds of masks, for rows that are written to places p of the cells and then look at them:
//     0 causal: those of rows up to its own     1 all rows           2 a window of 16 rows
//     3 three sequences side by side, causal    4 causal with holes  5 causal, every seventh row sees nothing
// `old`: of 1000 other cells so many are seen, too. Half of the masks carry finite biases.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "ggml/random/leaves.hpp"
#include "sim/random/rng.hpp"

namespace rknpu2::test {
namespace {

using Rng = rknnsim_random::Rng;

constexpr uint16_t kHalfMinusInfinity = 0xFC00;

float uniform(Rng& random) {
    return static_cast<float>(random.bits() >> 40) * 0x1p-23F - 1.0F;
}

std::vector<float> normal_numbers(Rng& random, size_t count, float scale) {
    std::vector<float> values(count);
    for (float& value : values)
        value = (uniform(random) + uniform(random) + uniform(random) + uniform(random)) * 0.866F * scale;
    return values;
}

template <typename T>
std::vector<uint8_t> bytes_of(const std::vector<T>& values) {
    std::vector<uint8_t> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

template <typename T>
std::vector<uint8_t> integers(bool wide, const std::vector<T>& values) {
    if (wide) return bytes_of(std::vector<int64_t>(values.begin(), values.end()));
    return bytes_of(std::vector<int32_t>(values.begin(), values.end()));
}

// The conversion to these takes ggml up to half a minute of preparation.
bool is_slow_to_make(ggml_type type) {
    return type == GGML_TYPE_IQ1_S || type == GGML_TYPE_IQ1_M || type == GGML_TYPE_IQ2_XXS ||
           type == GGML_TYPE_IQ2_XS || type == GGML_TYPE_IQ2_S || type == GGML_TYPE_IQ3_XXS ||
           type == GGML_TYPE_IQ3_S;
}

// Random blocks that mean numbers of a usual size, about the root of 1 over `columns`: of few random ones
// those that do, again and again.
std::vector<uint8_t> random_blocks(GgmlHost& host, ggml_type type, int64_t columns, size_t bytes,
                                   Rng& random) {
    const auto elements = static_cast<size_t>(host.ggml.ggml_blck_size(type));
    const size_t block = host.ggml.ggml_row_size(type, static_cast<int64_t>(elements));
    const ggml_to_float_t to_float = host.ggml.ggml_get_type_traits(type)->to_float;
    std::vector<float> values(elements);
    std::vector<uint8_t> known;
    while (known.size() < 16 * block) {
        std::vector<uint8_t> one(block);
        for (uint8_t& byte : one)
            byte = static_cast<uint8_t>(random.bits());
        to_float(one.data(), values.data(), static_cast<int64_t>(elements));
        float largest = 0;
        for (const float value : values)
            largest = std::max(largest, std::isfinite(value) ? std::abs(value) : 1e9F);
        largest *= std::sqrt(static_cast<float>(columns));
        if (largest >= 1.0F && largest <= 6.0F) known.insert(known.end(), one.begin(), one.end());
    }
    std::vector<uint8_t> data(bytes);
    for (size_t at = 0; at < bytes; at += block) {
        const auto from = static_cast<ptrdiff_t>(block * static_cast<size_t>(random.range(0, 15)));
        std::copy_n(known.begin() + from, block, data.begin() + static_cast<ptrdiff_t>(at));
    }
    return data;
}

std::vector<uint8_t> matrix(GgmlHost& host, ggml_type type, int64_t columns, int64_t rows, float scale,
                            Rng& random) {
    const HostFunctions& ggml = host.ggml;
    const size_t bytes = ggml.ggml_row_size(type, columns) * static_cast<size_t>(rows);
    if (is_slow_to_make(type)) return random_blocks(host, type, columns, bytes, random);
    const std::vector<float> values = normal_numbers(random, static_cast<size_t>(columns * rows), scale);
    if (type == GGML_TYPE_F32) return bytes_of(values);
    std::vector<float> importance;
    if (ggml.ggml_quantize_requires_imatrix(type)) importance.assign(static_cast<size_t>(columns), 1.0F);
    std::vector<uint8_t> data(bytes);
    ggml.ggml_quantize_chunk(type, values.data(), data.data(), 0, rows, columns,
                             importance.empty() ? nullptr : importance.data());
    return data;
}

std::vector<uint8_t> state(GgmlHost& host, ggml_type type, const Step& step, Rng& random) {
    const int64_t columns = whole(step, 0, 1);
    const int64_t rows = whole(step, 1, 1) * whole(step, 2, 1) * whole(step, 3, 1);
    const int64_t content = whole(step, 4);
    if (content == 1)
        return matrix(host, type, columns, rows, static_cast<float>(parameter(step, 5, 1)), random);
    const auto count = static_cast<size_t>(columns * rows);
    if (content == 2 && type == GGML_TYPE_F16) {
        constexpr uint16_t kBad[] = {0x7C00, 0xFC00, 0x7E00, 0xFE00};
        std::vector<uint16_t> values(count);
        for (uint16_t& value : values)
            value = random.pick(kBad);
        return bytes_of(values);
    }
    if (content == 2) {
        const float infinity = std::numeric_limits<float>::infinity();
        const float bad[] = {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()};
        std::vector<float> values(count);
        for (float& value : values)
            value = random.pick(bad);
        return bytes_of(values);
    }
    if (content == 3) {
        std::vector<float> values(count);
        for (float& value : values)
            value = static_cast<float>(parameter(step, 5, 1)) * (1.0F + 0.5F * uniform(random));
        return bytes_of(values);
    }
    return matrix(host, type, columns, rows, 0.0F, random);
}

// What each row of far numbers is multiplied by. Products of two such stay finite in float32.
std::vector<float> far_scales(const Step& step) {
    const bool weight = step.op == "weight";
    Rng random(step.data + 77);
    std::vector<float> scales(static_cast<size_t>(std::max<int64_t>(1, whole(step, 1, 1))));
    for (float& scale : scales)
        scale = std::pow(10.0F, static_cast<float>(weight ? random.range(-12, 12) : random.range(-20, 20)));
    return scales;
}

// Content 1 to 4 of inputs and weights.
void put_far_numbers(const Step& step, int64_t content, Rng& random, std::vector<float>& values) {
    const auto columns = static_cast<size_t>(whole(step, 0, 1));
    const std::vector<float> scales = far_scales(step);
    for (size_t row = 0; row * columns < values.size(); ++row) {
        float* const numbers = values.data() + row * columns;
        const auto any = static_cast<size_t>(random.range(0, static_cast<int64_t>(columns) - 1));
        const bool plain = random.one_in(3);
        const float kept = numbers[any];
        const auto multiply = [&](float scale) {
            for (size_t i = 0; i < columns; ++i)
                numbers[i] *= scale;
        };
        if (content == 1) multiply(scales[row % scales.size()]);
        if (content == 2 && !plain) multiply(1e-40F);
        if (content == 3 && !plain) numbers[any] = 1e5F * (kept < 0 ? -1.0F : 1.0F);
        if (content == 4 && !plain) multiply(0);
        if (content == 4 && random.one_in(3)) numbers[any] = kept;
    }
}

// Element (i, j): 1 over the root of the columns, negative where i and j have an odd number of bits in common.
std::vector<float> rotation(uint64_t columns, uint64_t rows) {
    std::vector<float> values(columns * rows);
    const float size = 1.0F / std::sqrt(static_cast<float>(columns));
    for (uint64_t at = 0; at < values.size(); ++at) {
        const uint64_t common = (at / columns) & (at % columns);
        values[at] = std::popcount(common) % 2 == 0 ? size : -size;
    }
    return values;
}

std::vector<uint8_t> weight(GgmlHost& host, ggml_type type, const Step& step, Rng& random) {
    const int64_t columns = whole(step, 0, 1);
    const int64_t rows = whole(step, 1, 1) * whole(step, 2, 1);
    const int64_t content = whole(step, 3);
    const float scale = 1.0F / std::sqrt(static_cast<float>(columns));
    if (content == 0) return matrix(host, type, columns, rows, scale, random);
    std::vector<float> values = content == 5
                                    ? rotation(static_cast<uint64_t>(columns), static_cast<uint64_t>(rows))
                                    : normal_numbers(random, static_cast<size_t>(columns * rows), scale);
    if (content != 5) put_far_numbers(step, content, random, values);
    if (type == GGML_TYPE_F32) return bytes_of(values);
    std::vector<uint8_t> data(host.ggml.ggml_row_size(type, columns) * static_cast<size_t>(rows));
    host.ggml.ggml_quantize_chunk(type, values.data(), data.data(), 0, rows, columns, nullptr);
    return data;
}

std::vector<float> step_sizes(const Step& step, Rng& random) {
    const auto size = static_cast<float>(parameter(step, 1, 0.1)) * (1.0F + 0.5F * uniform(random));
    // AdamW: the step, two shares of what was before, a least divisor, decay, two corrections.
    if (whole(step, 0) == 7) return {size, 0.9F, 0.95F, 1e-5F, 0.1F, 1.5F, 1.2F};
    return {size, 0.1F};
}

bool sees(int64_t kind, int64_t row, int64_t other, int64_t rows, Rng& random) {
    const int64_t sequence = std::max<int64_t>(1, (rows + 2) / 3);
    switch (kind) {
        case 1:
            return true;
        case 2:
            return other <= row && row - other < 16;
        case 3:
            return other <= row && other / sequence == row / sequence;
        case 4:
            return other == row || (other < row && random.range(0, 3) != 0);
        case 5:
            return other <= row && row % 7 != 3;
        default:
            return other <= row;
    }
}

std::vector<uint8_t> mask(const Recipe& recipe, const Step& step, int round, Rng& random) {
    const int64_t cells = whole(step, 0, 1);
    const int64_t rows = whole(step, 1, 1);
    const int64_t planes = whole(step, 4, 1) * whole(step, 5, 1);
    std::vector<int64_t> row_in(static_cast<size_t>(cells), -1);
    if (!step.sources.empty()) {
        const std::vector<int64_t> places = places_of(recipe.steps[step.sources[0]], round);
        for (size_t i = 0; i < places.size(); ++i)
            if (places[i] < cells) row_in[static_cast<size_t>(places[i])] = static_cast<int64_t>(i);
    }
    const bool biased = random.one_in(2);
    constexpr uint16_t kBiases[] = {0x0000, 0xB800, 0xBC00, 0x3400};  // 0, -0.5, -1, 0.25
    std::vector<uint16_t> values(static_cast<size_t>(cells * rows * planes), kHalfMinusInfinity);
    for (int64_t at = 0; at < cells * rows * planes; ++at) {
        const int64_t row = at / cells % rows;
        const int64_t other = row_in[static_cast<size_t>(at % cells)];
        const bool seen = other >= 0 ? sees(whole(step, 2), row, other, rows, random)
                                     : random.range(0, 999) < whole(step, 3);
        if (seen) values[static_cast<size_t>(at)] = biased ? random.pick(kBiases) : 0;
    }
    return bytes_of(values);
}

std::vector<int32_t> choice(const Step& step, Rng& random) {
    const int64_t used = whole(step, 0, 1);
    const int64_t experts = std::max(used, whole(step, 2, 1));
    std::vector<int32_t> values;
    for (int64_t row = 0; row < whole(step, 1, 1); ++row) {
        std::vector<int32_t> free(static_cast<size_t>(experts));
        for (size_t i = 0; i < free.size(); ++i)
            free[i] = static_cast<int32_t>(i);
        for (int64_t slot = 0; slot < used; ++slot) {
            const auto at = static_cast<size_t>(random.range(0, static_cast<int64_t>(free.size()) - 1));
            values.push_back(free[at]);
            free.erase(free.begin() + static_cast<ptrdiff_t>(at));
        }
    }
    return values;
}

std::vector<uint8_t> number_list(const Step& step, int round, Rng& random) {
    if (step.op == "rows") return integers(step.type != "i32", places_of(step, round));
    if (step.op == "choice") return bytes_of(choice(step, random));
    std::vector<int32_t> values;
    if (step.op == "positions") {
        for (int64_t time = 0; time < whole(step, 1, 1); ++time)
            for (int64_t i = 0; i < whole(step, 0, 1); ++i)
                values.push_back(static_cast<int32_t>(7 + round + i));
    } else {
        for (int64_t i = 0; i < whole(step, 0, 1); ++i)
            values.push_back(static_cast<int32_t>(random.range(0, whole(step, 1, 1) - 1)));
    }
    return bytes_of(values);
}

}  // namespace

std::vector<uint8_t> leaf_data(GgmlHost& host, const Recipe& recipe, size_t index, int round) {
    const Step& step = recipe.steps[index];
    const bool stays = leaf_kind(step) != LeafKind::kInput;
    Rng random(step.data * 0x9E3779B97F4A7C15U + (stays ? 0 : static_cast<uint64_t>(round)));
    const ggml_type type = step.type.empty() ? GGML_TYPE_F32 : type_of(host.ggml, step.type);
    const auto count = [&] {
        return static_cast<size_t>(whole(step, 0, 1) * whole(step, 1, 1) * whole(step, 2, 1) *
                                   whole(step, 3, 1));
    };
    if (step.op == "weight") return weight(host, type, step, random);
    if (step.op == "state") return state(host, type, step, random);
    if (step.op == "mask") return mask(recipe, step, round, random);
    if (step.op == "input") {
        std::vector<float> values = normal_numbers(random, count(), 1.0F);
        if (whole(step, 4) != 0) put_far_numbers(step, whole(step, 4), random, values);
        return bytes_of(values);
    }
    if (step.op == "step_sizes") return bytes_of(step_sizes(step, random));
    if (step.op == "inverse") {
        std::vector<float> values(static_cast<size_t>(whole(step, 0, 1) * whole(step, 1, 1)), 1.0F);
        const std::vector<float> scales =
            step.sources.empty() ? values : far_scales(recipe.steps[step.sources[0]]);
        for (size_t i = 0; i < values.size(); ++i)
            values[i] = 1.0F / scales[i % scales.size()];
        return bytes_of(values);
    }
    if (step.op == "vector" || step.op == "positive") {
        std::vector<float> values(step.op == "vector" ? static_cast<size_t>(whole(step, 0, 1)) : count());
        for (float& value : values)
            value = 1.0F + 0.5F * uniform(random);
        return bytes_of(values);
    }
    return number_list(step, round, random);
}

}  // namespace rknpu2::test
