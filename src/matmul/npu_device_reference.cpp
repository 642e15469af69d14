// SPDX-License-Identifier: MIT
// The precision that does not use the NPU: weights as they are stored, sums in float64.
#include <algorithm>

#include "base/aligned_buffer.hpp"
#include "kernels/reference_matmul.hpp"
#include "matmul/npu_device.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kReferenceColumns = 64;

}  // namespace

// The arithmetic, without counting anything but the time.
Status NpuDevice::reference_product(const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    const PhaseTimer timer(counters_, Phase::kReference);
    std::mutex mutex;
    Status failure;
    pool_.parallel_for(ceil_div(source.N, kReferenceColumns), [&](size_t task) {
        const size_t n0 = task * kReferenceColumns;
        const size_t count = std::min(kReferenceColumns, source.N - n0);
        Result<AlignedBuffer> rows = AlignedBuffer::allocate(count * source.K * sizeof(float));
        if (!rows.ok()) {
            const std::lock_guard lock(mutex);
            failure = rows.status();
            return;
        }
        auto* const b = rows.value().as<float>();
        for (size_t i = 0; i < count; ++i) {
            source.dequantise(source.row(n0 + i), b + i * source.K, static_cast<int64_t>(source.K));
        }
        matmul_reference(a, source.K, b, M, count, source.K, out + n0, source.N);
    });
    return failure;
}

Status NpuDevice::multiply_reference(const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(reference_product(source, a, M, out));
    WeightRecord record{source.name, source.type_name, source.K, source.N, "reference"};
    record.expert = source.expert;
    counters_.add_weight(record);
    ++counters_.reference_matmuls;
    return {};
}

}  // namespace rknpu2
