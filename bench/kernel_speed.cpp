// SPDX-License-Identifier: MIT
#include "kernel_speed.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

#include "base/aligned_buffer.hpp"
#include "kernels/dequantise.hpp"
#include "kernels/mix.hpp"
#include "kernels/quantise.hpp"
#include "kernels/rotate.hpp"
#include "matrix/layout.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kCopyBytes = size_t{256}
                              << 20;  // of each side: eight times the largest cache of this kind of machine

struct Kernel {
    std::string name;
    size_t bytes;
    size_t repeats;  // calls in one timing
    std::function<void()> call;
};

// This thread's CPU time: what else runs on the machine takes turns with us, and does not count.
double cpu_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double seconds_of(const Kernel& kernel) {
    const double start = cpu_seconds();
    for (size_t i = 0; i < kernel.repeats; ++i)
        kernel.call();
    return cpu_seconds() - start;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

// All that the kernels read and write.
struct Arrays {
    AlignedBuffer from, to, floats, cube, scratch, factors, sums32, out;
    AlignedBuffer few_rows;
    size_t next_cube = 0;
    std::vector<float> row_scales, channel_scales, sums;
};

Status allocate(AlignedBuffer& buffer, size_t bytes) {
    Result<AlignedBuffer> made = AlignedBuffer::allocate(bytes);
    RKNPU2_RETURN_IF_ERROR(made.status());
    buffer = made.take();
    std::memset(buffer.as<char>(), 1, bytes);  // so that the pages are there
    return {};
}

Status fill(const KernelBenchSettings& s, size_t K_padded, size_t N_padded, Arrays& arrays) {
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.from, kCopyBytes));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.to, kCopyBytes));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.floats, s.M * s.K * sizeof(float)));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.cube, 2 * s.M * K_padded));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.scratch, kRowGroup * K_padded * sizeof(float)));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.factors, s.K * sizeof(float)));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.sums32, s.M * N_padded * sizeof(int32_t)));
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.out, s.M * s.N * sizeof(float)));
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < s.M * s.K; ++i)
        arrays.floats.as<float>()[i] = normal(random);
    std::fill_n(arrays.factors.as<float>(), s.K, 1.25F);
    for (size_t i = 0; i < s.M * N_padded; ++i)
        arrays.sums32.as<int32_t>()[i] = static_cast<int32_t>(random() % 100000) - 50000;
    RKNPU2_RETURN_IF_ERROR(allocate(arrays.few_rows, 16 * s.N * sizeof(float)));
    arrays.row_scales.assign(std::max<size_t>(2 * s.M, 16), 0.01F);
    arrays.channel_scales.assign(s.N, 0.02F);
    arrays.sums.assign(s.M, 0.0F);
    return {};
}

// Floats to the int8 cube, in the groups that ActivationStore takes (matmul/activations.cpp). planes: 1, or 2
// with the residual; rotate: with rotation, mixing and smoothing.
void quantise(const KernelBenchSettings& s, size_t K_padded, Arrays& x, size_t planes, bool rotate) {
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
                {rows, s.K, count, s.K, K_padded, x.scratch.as<float>(), x.factors.as<float>(), absmax});
            mix_blocks(x.scratch.as<float>(), count, K_padded, default_tier(), absmax);
            rows = x.scratch.as<float>();
            K = K_padded;
        }
        float* const scales = x.row_scales.data() + m;
        RowsToCube<int8_t> plane{.x = rows,
                                 .row_stride = K,
                                 .M = count,
                                 .K = K,
                                 .K_padded = K_padded,
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

void dequantise_chunk(const KernelBenchSettings& s, Arrays& x) {
    const size_t cube = kFlowChunk * round_up(s.N, rk3588::align_n(DType::kInt8));
    const size_t cubes = kCopyBytes / sizeof(int32_t) / cube;
    const int32_t* const native = x.from.as<int32_t>() + x.next_cube++ % cubes * cube;
    for (size_t m = 0; m < kFlowChunk; m += kFlowBlock) {
        dequantise_rows(CubeToRows{native, kFlowChunk, m, kFlowBlock, s.N, x.row_scales.data(),
                                   x.channel_scales.data(), x.few_rows.as<float>(), s.N, Accumulate::kStore});
    }
}

std::vector<Kernel> kernels_of(const KernelBenchSettings& s, size_t K_padded, Arrays& x) {
    const size_t input = s.M * s.K * sizeof(float);
    const size_t output = s.M * s.N * sizeof(float);
    const auto dequantise = [&s, &x](Accumulate mode) {
        dequantise_rows(CubeToRows{x.sums32.as<int32_t>(), s.M, 0, s.M, s.N, x.row_scales.data(),
                                   x.channel_scales.data(), x.out.as<float>(), s.N, mode});
    };
    std::vector<Kernel> kernels = {
        {"memcpy", 2 * kCopyBytes, 1, [&x] { std::memcpy(x.to.as<char>(), x.from.as<char>(), kCopyBytes); }},
        {"quantise and pack", input + s.M * K_padded, 1,
         [&, K_padded] { quantise(s, K_padded, x, 1, false); }},
        {"rotate, quantise and pack", input + s.M * K_padded, 1,
         [&, K_padded] { quantise(s, K_padded, x, 1, true); }},
        {"rotate, quantise and pack, two planes", input + 2 * s.M * K_padded, 1,
         [&, K_padded] { quantise(s, K_padded, x, 2, true); }},
        {"dequantise", 2 * output, 1, [dequantise] { dequantise(Accumulate::kStore); }},
        {"dequantise, a few rows at a time", 2 * kFlowChunk * s.N * sizeof(float), 1,
         [&s, &x] { dequantise_chunk(s, x); }},
        {"dequantise and add", 3 * output, 1, [dequantise] { dequantise(Accumulate::kAdd); }},
    };
    // Short calls are repeated until a timing covers a few milliseconds.
    constexpr size_t kLeastBytes = size_t{64} << 20;
    for (Kernel& kernel : kernels)
        kernel.repeats = std::max<size_t>(1, kLeastBytes / kernel.bytes);
    return kernels;
}

}  // namespace

Result<std::vector<KernelSpeed>> measure_kernels(const KernelBenchSettings& settings) {
    const size_t K_padded = round_up(settings.K, rk3588::kAlignK);
    const size_t N_padded = round_up(settings.N, rk3588::align_n(DType::kInt8));
    Arrays arrays;
    RKNPU2_RETURN_IF_ERROR(fill(settings, K_padded, N_padded, arrays));
    const std::vector<Kernel> kernels = kernels_of(settings, K_padded, arrays);
    std::vector<std::vector<double>> rates(kernels.size());
    std::vector<std::vector<double>> ratios(kernels.size());
    for (const Kernel& kernel : kernels)
        kernel.call();  // once to warm up
    for (size_t round = 0; round < settings.rounds; ++round) {
        for (size_t i = 0; i < kernels.size(); ++i) {
            const auto bytes = static_cast<double>(kernels[i].bytes * kernels[i].repeats);
            rates[i].push_back(bytes / seconds_of(kernels[i]) * 1e-9);
            ratios[i].push_back(rates[i].back() / rates[0].back());
        }
    }
    std::vector<KernelSpeed> speeds;
    for (size_t i = 0; i < kernels.size(); ++i) {
        const auto [low, high] = std::minmax_element(ratios[i].begin(), ratios[i].end());
        speeds.push_back(
            {kernels[i].name, kernels[i].bytes, median(rates[i]), median(ratios[i]), *low, *high});
    }
    return speeds;
}

}  // namespace rknpu2
