// SPDX-License-Identifier: MIT
// The definition of the arithmetic. Nothing here is fast; every faster tier has to give the same bits.
#include <cstring>

#include "core/kernels/convert_output.hpp"
#include "core/kernels/tier.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

using namespace rknpu2;  // NOLINT: the layout specification

int integer_at(const void* data, size_t index, DType type) {
    if (type == DType::kInt4) return int4_get(static_cast<const uint8_t*>(data), index);
    return static_cast<const int8_t*>(data)[index];
}

// The exact sum over k in [first, last), modulo 2^32.
int32_t integer_sum(const Job& job, const void* a, size_t m, size_t n, size_t first, size_t last) {
    const DType type = input_type(job.type);
    uint32_t sum = 0;
    for (size_t k = first; k < last; ++k) {
        const int x = integer_at(a, a_index_native(m, k, job.M, type), type);
        const int y = integer_at(job.b, b_index_native(k, n, job.K, job.N, type), type);
        sum += static_cast<uint32_t>(x * y);
    }
    return static_cast<int32_t>(sum);
}

int16_t int4_result(const Job& job, const void* a, size_t m, size_t n) {
    uint64_t ignored = 0;
    uint64_t* clipped = job.clipped != nullptr ? job.clipped : &ignored;
    if (job.int4_saturation == Int4Saturation::kRun)
        return clip_to_int16(integer_sum(job, a, m, n, 0, job.K), clipped);
    int32_t total = 0;
    for (size_t first = 0; first < job.K; first += kSegmentK) {
        const int32_t sum = integer_sum(job, a, m, n, first, std::min(job.K, first + kSegmentK));
        total += clip_to_int16(sum, clipped);
    }
    return clip_to_int16(total, clipped);
}

double float_sum(const Job& job, const uint16_t* a, size_t m, size_t n) {
    const auto* b = static_cast<const uint16_t*>(job.b);
    double total = 0.0;
    for (size_t first = 0; first < job.K; first += kTileK) {
        float group = 0.0F;
        for (size_t k = first; k < first + kTileK; ++k) {
            const float x = float16_to_float(a[a_index_native(m, k, job.M, DType::kFloat16)]);
            const float y = float16_to_float(b[b_index_native(k, n, job.K, job.N, DType::kFloat16)]);
            group += x * y;
        }
        total += static_cast<double>(group);
    }
    return total;
}

void write_element(const Job& job, const void* a, size_t m, size_t n) {
    const DType c_type = output_type(job.type);
    const size_t at = c_index_native(m, n, job.M, c_type);
    switch (c_type) {
        case DType::kInt32:
            static_cast<int32_t*>(job.c)[at] = integer_sum(job, a, m, n, 0, job.K);
            break;
        case DType::kInt16:
            static_cast<int16_t*>(job.c)[at] = int4_result(job, a, m, n);
            break;
        case DType::kInt8:
            static_cast<int8_t*>(job.c)[at] =
                requantise(integer_sum(job, a, m, n, 0, job.K), job.scale, job.rounding);
            break;
        case DType::kFloat16:
            static_cast<uint16_t*>(job.c)[at] =
                round_to_float16(float_sum(job, static_cast<const uint16_t*>(a), m, n));
            break;
        default:
            static_cast<float*>(job.c)[at] =
                round_to_float(float_sum(job, static_cast<const uint16_t*>(a), m, n));
            break;
    }
}

bool load_a(const Job& job, Scratch& scratch) {
    const size_t bytes = dtype_bytes(input_type(job.type), job.M * job.K);
    auto* copy = scratch.get<std::byte>(Scratch::kA, bytes);
    if (copy == nullptr) return false;
    std::memcpy(copy, job.a, bytes);
    return true;
}

bool multiply(const Job& job, Scratch& scratch) {
    const void* a = scratch.held<std::byte>(Scratch::kA);
    for (size_t m = 0; m < job.M; ++m) {
        for (size_t n = 0; n < job.N; ++n)
            write_element(job, a, m, n);
    }
    return true;
}

}  // namespace

const KernelTier kReferenceTier = {"reference", load_a, multiply};

}  // namespace rknnsim
