// SPDX-License-Identifier: MIT
// rknpu2-bench kernels: how fast the kernels between floats and the NPU are, as a share of memcpy.
//
// Seconds mean little on a PC; what carries over is how near a kernel is to only moving its bytes. So each
// kernel's bytes read plus written in a second are divided by those of a memcpy between buffers larger than
// any cache. The figures are medians over the rounds. One thread.
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "attention/few_tokens.hpp"
#include "base/aligned_buffer.hpp"
#include "base/format.hpp"
#include "commands.hpp"
#include "kernels/attention.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "matrix/layout.hpp"
#include "predict/csv.hpp"
#include "soc/rk3588.hpp"
#include "text_table.hpp"
#include "turns.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

// Each side of the memcpy: eight times the largest cache of this kind of machine.
constexpr size_t kCopyBytes = size_t{256} << 20;

struct Sizes {
    size_t M = 512, K = 4096, N = 4096;
    size_t rounds = 15;
};

struct Kernel {
    const char* name;
    size_t bytes;  // read plus written in one call, each array once
    std::function<void()> call;

    // Short calls are repeated until a timing covers a few milliseconds.
    size_t repeats() const { return std::max<size_t>(1, (size_t{64} << 20) / bytes); }
};

AlignedBuffer buffer_of(size_t bytes) {
    AlignedBuffer buffer = value_of(AlignedBuffer::allocate(bytes));
    std::memset(buffer.as<char>(), 1, bytes);  // so that the pages are there
    return buffer;
}

// All that the kernels read and write.
struct Arrays {
    explicit Arrays(const Sizes& sizes)
        : s(sizes),
          K_padded(round_up(s.K, rk3588::kAlignK)),
          N_padded(round_up(s.N, rk3588::align_n(DType::kInt8))),
          floats(buffer_of(s.M * s.K * sizeof(float))),
          cube(buffer_of(2 * s.M * K_padded)),
          scratch(buffer_of(kRowGroup * K_padded * sizeof(float))),
          factors(buffer_of(s.K * sizeof(float))),
          sums32(buffer_of(s.M * N_padded * sizeof(int32_t))),
          out(buffer_of(s.M * s.N * sizeof(float))),
          few_rows(buffer_of(16 * s.N * sizeof(float))),
          row_scales(std::max<size_t>(2 * s.M, 16), 0.01F),
          channel_scales(s.N, 0.02F),
          sums(s.M) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        std::generate_n(floats.as<float>(), s.M * s.K, [&] { return normal(random); });
        std::fill_n(factors.as<float>(), s.K, 1.25F);
        std::generate_n(sums32.as<int32_t>(), s.M * N_padded,
                        [&] { return static_cast<int32_t>(random() % 100000) - 50000; });
    }

    const Sizes s;
    const size_t K_padded, N_padded;
    AlignedBuffer from = buffer_of(kCopyBytes), to = buffer_of(kCopyBytes);
    AlignedBuffer floats, cube, scratch, factors, sums32, out, few_rows;
    AlignedBuffer weights = buffer_of(size_t{512} * kAttentionBlock * sizeof(uint16_t));
    std::vector<float> block_factors = std::vector<float>(512, 0.5F), maxima = block_factors,
                       block_sums = block_factors;
    std::vector<float> queries = std::vector<float>(size_t{8} * 32 * 128, 0.1F), attended = queries;
    FewTokensAttention attention;
    size_t next_cube = 0;
    std::vector<float> row_scales, channel_scales, sums;
};

// Floats to the int8 cube, in the groups that ActivationStore takes (matmul/activations.cpp). planes: 1, or 2
// with the residual; rotate: with rotation, mixing and smoothing.
void quantise(Arrays& x, size_t planes, bool rotate) {
    const Sizes& s = x.s;
    auto* const cube = x.cube.as<int8_t>();
    const size_t total = s.M * planes;
    std::fill(x.sums.begin(), x.sums.end(), 0.0F);
    for (size_t m = 0; m < s.M; m += kRowGroup) {
        const size_t count = std::min(kRowGroup, s.M - m);
        const float* rows = x.floats.as<float>() + m * s.K;
        size_t K = s.K;
        float absmax[kRowGroup];
        if (rotate) {
            rotate_rows(
                {rows, s.K, count, s.K, x.K_padded, x.scratch.as<float>(), x.factors.as<float>(), absmax});
            mix_blocks(x.scratch.as<float>(), count, x.K_padded, absmax);
            rows = x.scratch.as<float>();
            K = x.K_padded;
        }
        float* const scales = x.row_scales.data() + m;
        RowsToCube<int8_t> plane{.x = rows,
                                 .row_stride = K,
                                 .M = count,
                                 .K = K,
                                 .K_padded = x.K_padded,
                                 .M_total = total,
                                 .m0 = m,
                                 .native = cube};
        quantise_rows_int8(plane, scales, default_tier(), rotate ? x.sums.data() + m : nullptr,
                           rotate ? absmax : nullptr);
        if (planes == 2) {
            plane.m0 = s.M + m;
            quantise_residuals_int8(plane, scales, scales + s.M, default_tier(), x.sums.data() + m);
        }
    }
}

// As a flow takes a chunk's results: from memory that no cache has, some rows after the other into floats
// that stay in a cache.
constexpr size_t kFlowChunk = 64, kFlowBlock = 16;

void dequantise_chunk(Arrays& x) {
    const size_t cube = kFlowChunk * x.N_padded;
    const size_t cubes = kCopyBytes / sizeof(int32_t) / cube;
    const int32_t* const native = x.from.as<int32_t>() + x.next_cube++ % cubes * cube;
    for (size_t m = 0; m < kFlowChunk; m += kFlowBlock) {
        dequantise_rows(CubeToRows{native, kFlowChunk, m, kFlowBlock, x.s.N, x.row_scales.data(),
                                   x.channel_scales.data(), x.few_rows.as<float>(), x.s.N,
                                   Accumulate::kStore});
    }
}

// A block's scores. Each call has its own, which no cache has, or all have the first.
constexpr size_t kScoreRows = 512, kScores = kScoreRows * kAttentionBlock, kHead = 128;

void weigh(Arrays& x, bool own) {
    constexpr size_t kCubes = kCopyBytes / sizeof(float) / kScores;
    auto* const weights = x.weights.as<uint16_t>();
    weigh_scores({x.from.as<float>() + (own ? x.next_cube++ % kCubes * kScores : 0),
                  kScoreRows,
                  0,
                  kScoreRows,
                  kAttentionBlock,
                  x.block_factors.data(),
                  0.0F,
                  nullptr,
                  nullptr,
                  {weights, weights + kScores / 2},
                  x.maxima.data(),
                  x.block_sums.data()});
}

// A block's rows of a cache of a head, as they lie with eight heads.
HalvesToBlock cache_of(Arrays& x, size_t positions) {
    constexpr size_t kRow = 8 * kHead * sizeof(uint16_t);
    const size_t block = x.next_cube++ % (kCopyBytes / kRow / kAttentionBlock) * kAttentionBlock;
    return {x.from.as<std::byte>() + block * kRow,
            kRow,
            kHead,
            kHead,
            0,
            positions,
            nullptr,
            x.weights.as<uint16_t>()};
}

// Rows of queries for each of eight heads of keys and values, of a cache that no nearer one has.
constexpr size_t kKvHeads = 8, kPositions = 4096,
                 kCacheBytes = kKvHeads * kPositions * kHead * sizeof(uint16_t);

void attend(Arrays& x, size_t rows) {
    const auto cache = [&x] {
        const std::byte* const data =
            x.from.as<std::byte>() + x.next_cube++ % (kCopyBytes / kCacheBytes) * kCacheBytes;
        return CacheRows{data, kKvHeads * kHead * sizeof(uint16_t), kHead * sizeof(uint16_t), kHead};
    };
    AttentionProblem p;
    p.tokens = 1;
    p.positions = kPositions;
    p.heads = rows * kKvHeads;
    p.kv_heads = kKvHeads;
    p.queries = reinterpret_cast<const std::byte*>(x.queries.data());
    p.keys = cache();
    p.values = cache();
    p.scale = 0.1F;
    p.out = reinterpret_cast<std::byte*>(x.attended.data());
    p.query_head_bytes = p.out_head_bytes = kHead * sizeof(float);
    if (x.attention.begin(p, 1).ok()) x.attention.work();
}

std::vector<Kernel> kernels_of(Arrays& x) {
    const Sizes& s = x.s;
    const size_t input = s.M * s.K * sizeof(float), cube = s.M * x.K_padded;
    const size_t output = s.M * s.N * sizeof(float);
    const auto dequantise = [&x, s](Accumulate mode) {
        dequantise_rows(CubeToRows{x.sums32.as<int32_t>(), s.M, 0, s.M, s.N, x.row_scales.data(),
                                   x.channel_scales.data(), x.out.as<float>(), s.N, mode});
    };
    return {
        {"memcpy", 2 * kCopyBytes, [&x] { std::memcpy(x.to.as<char>(), x.from.as<char>(), kCopyBytes); }},
        {"quantise and pack", input + cube, [&x] { quantise(x, 1, false); }},
        {"rotate, quantise and pack", input + cube, [&x] { quantise(x, 1, true); }},
        {"rotate, quantise and pack, two planes", input + 2 * cube, [&x] { quantise(x, 2, true); }},
        {"dequantise", 2 * output, [dequantise] { dequantise(Accumulate::kStore); }},
        {"dequantise, a few rows at a time", 2 * kFlowChunk * s.N * sizeof(float),
         [&x] { dequantise_chunk(x); }},
        {"dequantise and add", 3 * output, [dequantise] { dequantise(Accumulate::kAdd); }},
        {"weigh scores, 512 rows of 1024", kScores * 6, [&x] { weigh(x, false); }},
        {"weigh scores from memory", kScores * 6, [&x] { weigh(x, true); }},
        {"pack keys, 1024 of 128", kAttentionBlock * kHead * 4,
         [&x] { pack_keys(cache_of(x, kAttentionBlock)); }},
        {"pack values, 512 of 128", kValueBlock * kHead * 4, [&x] { pack_values(cache_of(x, kValueBlock)); }},
        {"attend, 1 row of 128", 2 * kCacheBytes, [&x] { attend(x, 1); }},
        {"attend, 8 rows of 128", 2 * kCacheBytes, [&x] { attend(x, 8); }},
        {"attend, 32 rows of 128", 2 * kCacheBytes, [&x] { attend(x, 32); }},
    };
}

std::vector<Json> measure(const Sizes& sizes) {
    Arrays arrays(sizes);
    const std::vector<Kernel> kernels = kernels_of(arrays);
    std::vector<std::function<void()>> bodies;
    for (const Kernel& kernel : kernels) {
        bodies.emplace_back([&kernel] {
            for (size_t i = 0; i < kernel.repeats(); ++i)
                kernel.call();
        });
    }
    std::vector<std::vector<double>> rates = take_turns(bodies, sizes.rounds, CLOCK_THREAD_CPUTIME_ID);
    std::vector<Json> speeds;
    for (size_t i = 0; i < kernels.size(); ++i) {
        const auto bytes = static_cast<double>(kernels[i].bytes * kernels[i].repeats());
        for (double& rate : rates[i])
            rate = bytes / rate * 1e-9;
        const std::vector<double> of_copy = ratios(rates[i], rates[0]);
        speeds.push_back({{"name", kernels[i].name},
                          {"bytes", kernels[i].bytes},
                          {"gbps", median(rates[i])},
                          {"of_memcpy", median(of_copy)},
                          {"low", quantile(of_copy, 0)},
                          {"high", quantile(of_copy, 1)}});
    }
    return speeds;
}

std::string as_text(const Sizes& s, const std::vector<Json>& speeds) {
    TextTable table("lrrrr");
    table.add({"kernel", "MB", "GB/s", "of memcpy", "range"});
    for (const Json& speed : speeds) {
        const auto number = [&](const char* name) { return speed[name].get<double>(); };
        table.add({speed["name"], format("%.1f", number("bytes") * 1e-6), format("%.1f", number("gbps")),
                   format("%.2f", number("of_memcpy")), format("%.2f-%.2f", number("low"), number("high"))});
    }
    return format("M=%zu K=%zu N=%zu, one thread, medians of %zu interleaved rounds\n", s.M, s.K, s.N,
                  s.rounds) +
           table.to_string();
}

void run(const Sizes& s, const std::string& form) {
    const std::vector<Json> speeds = measure(s);
    const Json document = {{"schema", 1}, {"M", s.M},           {"K", s.K},
                           {"N", s.N},    {"rounds", s.rounds}, {"kernels", speeds}};
    show(form == "json"  ? document.dump(2) + "\n"
         : form == "csv" ? csv_text("kernel,bytes,gbps,of_memcpy,low,high", speeds)
                         : as_text(s, speeds));
}

}  // namespace

void add_kernels(CLI::App& app) {
    const auto sizes = std::make_shared<Sizes>();
    const auto form = std::make_shared<std::string>("text");
    CLI::App* const command = app.add_subcommand(
        "kernels", "how fast activations are made ready for the NPU and results are read, against memcpy");
    command->add_option("-M", sizes->M, "rows")->check(CLI::Range(1, 1 << 16));
    command->add_option("-K", sizes->K, "elements of a row of activations")->check(CLI::Range(1, 8192));
    command->add_option("-N", sizes->N, "columns of the result")->check(CLI::Range(1, 1 << 16));
    command->add_option("--rounds", sizes->rounds, "interleaved rounds")->check(CLI::Range(1, 10000));
    add_format(*command, *form);
    command->callback([sizes, form] { run(*sizes, *form); });
}

}  // namespace rknpu2
