// SPDX-License-Identifier: MIT
#include "matmul/npu_device.hpp"

#include <algorithm>

#include "device/cpu_team.hpp"

namespace rknpu2 {

NpuDevice::NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Counters& counters,
                     std::unique_ptr<Coherency> coherency)
    : npu_(std::move(runtime), config, counters, std::move(coherency)),
      buffers_(std::min(npu_.pool.most_spinning(), cpu_threads(config))) {
    if (config.weight_cache_directory.empty()) return;
    cache_ = std::make_unique<WeightCache>(config.weight_cache_directory,
                                           static_cast<uint64_t>(config.weight_cache_mb) << 20, counters);
}

bool NpuDevice::is_full() {
    const std::lock_guard lock(npu_.mutex);
    return full_;
}

Status NpuDevice::multiply(std::span<const Product> products, const Activations& input, Epilogue* epilogue) {
    RKNPU2_RETURN_IF_ERROR(check_process());
    const std::lock_guard lock(npu_.mutex);
    return Multiplication(npu_, buffers_, products, input).multiply(epilogue);
}

bool NpuDevice::does_without_packing(const Status& failure) const {
    const std::vector<OnError>& remedies = npu_.config.on_error;
    return may_pass(failure) && !remedies.empty() && remedies.back() == OnError::kCpu;
}

Status NpuDevice::multiply_stored(std::span<const StoredProduct> products, const Activations& input,
                                  Epilogue* epilogue) {
    for (const StoredProduct& product : products)
        RKNPU2_RETURN_IF_ERROR(multiply_after_fault(npu_, product.source, input.data, input.M, product.out));
    if (epilogue != nullptr) apply_to_all(*epilogue, products, input.M, products[0].source.N);
    return {};
}

Status NpuDevice::multiply_reference(const WeightSource& source, const float* a, size_t M, float* out) {
    RKNPU2_RETURN_IF_ERROR(rknpu2::multiply_stored(npu_, source, a, M, out));
    WeightRecord record{source.name, source.type_name, source.K, source.N, "reference"};
    record.expert = source.expert;
    record.data = source.data;
    npu_.counters.add_weight(record);
    ++npu_.counters.reference_matmuls;
    return {};
}

}  // namespace rknpu2
