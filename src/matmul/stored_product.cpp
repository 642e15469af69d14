// SPDX-License-Identifier: MIT
#include "matmul/stored_product.hpp"

#include <algorithm>

#include "base/aligned_buffer.hpp"
#include "kernels/reference_matmul.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kColumnsOfTask = 64;

}  // namespace

Status multiply_stored(NpuResources& npu, const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(npu.check_process());
    const PhaseTimer timer(npu.counters, Phase::kReference);
    return npu.pool.parallel_try(ceil_div(source.N, kColumnsOfTask), [&](size_t task) {
        const size_t n0 = task * kColumnsOfTask;
        const size_t count = std::min(kColumnsOfTask, source.N - n0);
        Result<AlignedBuffer> rows = AlignedBuffer::allocate(count * source.K * sizeof(float));
        RKNPU2_RETURN_IF_ERROR(rows.status());
        auto* const b = rows.value().as<float>();
        for (size_t i = 0; i < count; ++i)
            source.dequantise(source.row(n0 + i), b + i * source.K, static_cast<int64_t>(source.K));
        matmul_reference(a, source.K, b, M, count, source.K, out + n0, source.N);
        return Status();
    });
}

Status multiply_after_fault(NpuResources& npu, const WeightSource& source, const float* a, size_t M,
                            float* out) {
    Status status = multiply_stored(npu, source, a, M, out);
    ++(status.ok() ? npu.counters.faults.by_cpu : npu.counters.faults.given_up);
    return std::move(status).with_context("on the CPU");
}

}  // namespace rknpu2
