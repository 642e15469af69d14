// SPDX-License-Identifier: MIT
// Calls one kernel a number of times, for instructions.py to count:
//
//   kernel_calls              one line for each kernel: its name, and the elements of one call
//   kernel_calls NAME CALLS
//
// What the program does besides is the same for any number of calls, so the difference of two runs is calls
// alone. Sizes are those of a small layer; every value is ordinary, as a model's are.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "attention/few_tokens.hpp"
#include "base/hash.hpp"
#include "kernels/attention.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/pack.hpp"
#include "kernels/quantise.hpp"
#include "kernels/reference_matmul.hpp"
#include "kernels/rotate.hpp"

namespace {

using namespace rknpu2;

constexpr size_t kM = 16;
constexpr size_t kK = 1536;  // three blocks of 512: rotated and mixed
constexpr size_t kN = 64;
constexpr size_t kHead = 128, kPositions = 512;  // keys and values
constexpr size_t kCachePositions = 1024, kMostQueries = 32;

struct Kernel {
    std::string name;
    size_t elements;
    std::function<void()> call;
};

// All that the kernels read and write.
struct Arrays {
    std::vector<float> rows = std::vector<float>(kN * kK), rotated = std::vector<float>(kM * kK);
    std::vector<float> out = std::vector<float>(kM * kK), factors = std::vector<float>(kK, 1.25F);
    std::vector<float> scales = std::vector<float>(kK, 0.02F), fine = std::vector<float>(kK),
                       sums = std::vector<float>(kM);
    std::vector<int8_t> cube8 = std::vector<int8_t>(kN * kK);
    std::vector<uint16_t> cube16 = std::vector<uint16_t>(kN * kK);
    std::vector<int32_t> native = std::vector<int32_t>(kM * kK);
    std::vector<float> native_float = std::vector<float>(kM * kK, 0.5F);
    std::vector<uint16_t> halves = std::vector<uint16_t>(kPositions * kHead, 0xC000),
                          block = std::vector<uint16_t>(kAttentionBlock * kHead);
    std::vector<const uint16_t*> masks = std::vector<const uint16_t*>(kM, halves.data());
    std::vector<uint16_t> cache = std::vector<uint16_t>(kCachePositions * kHead, 0x3800),
                          mask = std::vector<uint16_t>(kMostQueries * kCachePositions);
    std::vector<float> attended = std::vector<float>(kMostQueries * kHead);
    FewTokensAttention attention;

    Arrays() {
        uint32_t state = 1;
        for (float& value : rows) {
            state = state * 1664525U + 1013904223U;
            value = static_cast<float>(static_cast<int32_t>(state)) * 0x1p-30F;
        }
        for (size_t i = 0; i < native.size(); ++i)
            native[i] = static_cast<int32_t>(i * 2654435761U) >> 8;
    }
};

// Query heads of one KV head for a token, or so many tokens: all of the work, whole.
void attend(Arrays& x, size_t tokens, size_t heads, size_t width) {
    AttentionProblem p;
    p.tokens = tokens;
    p.positions = kCachePositions;
    p.heads = heads;
    p.kv_heads = 1;
    p.queries = reinterpret_cast<const std::byte*>(x.rows.data());
    p.query_head_bytes = p.out_head_bytes = width * sizeof(float);
    p.query_token_bytes = p.out_token_bytes = heads * p.query_head_bytes;
    p.keys = p.values = {reinterpret_cast<const std::byte*>(x.cache.data()), width * sizeof(uint16_t), 0,
                         width, nullptr};
    p.mask = reinterpret_cast<const std::byte*>(x.mask.data());
    p.mask_token_bytes = kCachePositions * sizeof(uint16_t);
    p.scale = 0.1F;
    p.out = reinterpret_cast<std::byte*>(x.attended.data());
    if (x.attention.begin(p, 1).ok()) x.attention.work();
}

void add_attentions(Arrays& x, std::vector<Kernel>& kernels) {
    for (const size_t width : {64U, 128U})
        for (const auto& [tokens, heads] : {std::pair<size_t, size_t>{1, 1}, {1, 4}, {2, 4}, {8, 4}})
            kernels.push_back(
                {"few tokens: " + std::to_string(tokens * heads) + " rows of " + std::to_string(width),
                 tokens * heads * kCachePositions * 2 * width,
                 [&x, tokens = tokens, heads = heads, width] { attend(x, tokens, heads, width); }});
}

std::vector<Kernel> kernels_of(Arrays& x) {
    const size_t rows = kM * kK;
    const auto dequantise = [&x](const auto& native, Accumulate mode) {
        dequantise_rows(CubeToRows{native.data(), kM, 0, kM, kK, x.scales.data(), x.scales.data(),
                                   x.out.data(), kK, mode});
    };
    const auto weigh = [&x](const uint16_t* const* masks, float softcap) {
        weigh_scores({x.rows.data(),
                      kM,
                      0,
                      kM,
                      kAttentionBlock,
                      x.factors.data(),
                      softcap,
                      masks,
                      x.scales.data(),
                      {x.cube16.data(), x.cube16.data() + kValueBlock * kM},
                      x.fine.data(),
                      x.sums.data()});
    };
    const HalvesToBlock cache{reinterpret_cast<const std::byte*>(x.halves.data()),
                              kHead * 2,
                              kHead,
                              kHead,
                              0,
                              kPositions,
                              nullptr,
                              x.block.data()};
    return {
        {"row_absmax", kK, [&x] { x.sums[0] = row_absmax(x.rows.data(), kK); }},
        {"quantise_rows_int8", rows,
         [&x] {
             quantise_rows_int8({x.rows.data(), kK, kM, kK, kK, kM, 0, x.cube8.data()}, x.fine.data(),
                                default_tier(), x.sums.data());
         }},
        {"quantise_residuals_int8", rows,
         [&x] {
             quantise_residuals_int8({x.rows.data(), kK, kM, kK, kK, kM, 0, x.cube8.data()}, x.scales.data(),
                                     x.fine.data(), default_tier(), x.sums.data());
         }},
        {"convert_rows_fp16", rows,
         [&x] {
             convert_rows_fp16({x.rows.data(), kK, kM, kK, kK, kM, 0, x.cube16.data()}, x.fine.data());
         }},
        {"rotate_rows", rows,
         [&x] {
             rotate_rows({x.rows.data(), kK, kM, kK, kK, x.rotated.data(), x.factors.data()});
         }},
        {"mix_blocks", rows, [&x] { mix_blocks(x.rotated.data(), kM, kK); }},
        {"dequantise_rows_int32", rows, [&x, dequantise] { dequantise(x.native, Accumulate::kStore); }},
        {"dequantise_rows_int32 and add", rows, [&x, dequantise] { dequantise(x.native, Accumulate::kAdd); }},
        {"scale_rows_fp32", rows, [&x, dequantise] { dequantise(x.native_float, Accumulate::kStore); }},
        {"pack_rows_int8", kN * kK,
         [&x] {
             pack_rows(RowsToBlock{x.rows.data(), kK, 0, kN, 0, kK, kK, kN, x.cube8.data()}, x.scales.data());
         }},
        {"pack_rows_fp16", kN * kK,
         [&x] {
             pack_rows(RowsToBlock{x.rows.data(), kK, 0, kN, 0, kK, kK, kN, x.cube16.data()},
                       x.scales.data());
         }},
        {"weigh_scores", kM * kAttentionBlock, [weigh] { weigh(nullptr, 0); }},
        {"weigh_scores with masks", kM * kAttentionBlock, [&x, weigh] { weigh(x.masks.data(), 0); }},
        {"weigh_scores with softcap", kM * kAttentionBlock, [weigh] { weigh(nullptr, 30); }},
        {"pack_keys", kPositions * kHead, [cache] { pack_keys(cache); }},
        {"pack_values", kPositions * kHead, [cache] { pack_values(cache); }},
        {"rounding_error_int8", kK,
         [&x] {
             x.sums[0] = static_cast<float>(rounding_error_int8(x.rows.data(), kK, 0.02F, x.scales.data()));
         }},
        {"matmul_reference", kM * kK * kN,
         [&x] { matmul_reference(x.rows.data(), kK, x.rows.data(), kM, kN, kK, x.out.data(), kN); }},
        {"hash128", kN * kK * sizeof(float),
         [&x] { x.sums[0] = static_cast<float>(hash128(x.rows.data(), kN * kK * sizeof(float)).low); }},
    };
}

}  // namespace

int main(int argc, char** argv) {
    Arrays arrays;
    std::vector<Kernel> kernels = kernels_of(arrays);
    add_attentions(arrays, kernels);
    for (const Kernel& kernel : kernels) {
        if (argc == 1) {
            std::printf("%s,%zu\n", kernel.name.c_str(), kernel.elements);
        } else if (argc == 3 && kernel.name == argv[1]) {
            for (long i = std::atol(argv[2]); i > 0; --i)
                kernel.call();
            return 0;
        }
    }
    return argc == 1 ? 0 : 2;
}
