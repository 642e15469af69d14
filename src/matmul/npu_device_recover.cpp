// SPDX-License-Identifier: MIT
// How one multiplication of the device is done again when the NPU fails (recovery.hpp).
//
// It is done again as a whole, from its first row on, because a failed one leaves any part of its results
// written: the first segment of K stores and only later ones add, so a second attempt writes every element
// anew. Nothing of the first one is used again: not the contexts that failed, not the quantised activations.
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "device/recovery.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {

// While no other process does. One multiplication at a time, so that nobody waits long.
Status NpuDevice::multiply_alone(const Activations& input) {
    const Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(lock_.get());
    RKNPU2_RETURN_IF_ERROR(turn.status());
    return multiply_together(input);
}

// The running batch; the result says who did it.
Result<Target> NpuDevice::multiply_or_recover(const Activations& input) {
    Recovery recovery(config_, counters_.faults, fault_lines_);
    for (;;) {
        Status status = multiply_alone(input);
        if (status.ok()) return Target::kNpu;
        activations_.forget();
        if (context_limit_.lowered_after(status, batch_->name())) continue;
        switch (recovery.next(status, batch_->name())) {
            case OnError::kFail:
                return status;
            case OnError::kCpu:
                return multiply_on_cpu(input);
            case OnError::kReset:
                drop_all();
                break;
            case OnError::kRetry:
                break;
        }
    }
}

// From the weight as it is stored, whatever was packed of it.
Status NpuDevice::multiply_on_cpu(const WeightSource& source, const Activations& input, float* out) {
    Status status = reference_product(source, input.data, input.M, out);
    ++(status.ok() ? counters_.faults.by_cpu : counters_.faults.given_up);
    return status.ok() ? std::move(status) : std::move(status).with_context("on the CPU");
}

Result<Target> NpuDevice::multiply_on_cpu(const Activations& input) {
    for (const size_t position : batch_->positions) {
        const Product& product = products_[position];
        RKNPU2_RETURN_IF_ERROR(multiply_on_cpu(product.weight->source, input, product.out));
    }
    return Target::kCpu;
}

// Dropping what can be made again leaves more memory for weights. That is tried for one weight; the others
// that find none would only take from each other what multiplications need.
Status NpuDevice::allocate_or_recover(std::span<ReservedWeight> group, const std::string& names) {
    Recovery recovery(config_, counters_.faults, fault_lines_);
    for (;;) {
        Status status = allocate_cells(group);
        if (status.ok()) return status;
        if (start_wait_ != nullptr && may_pass(status) && start_wait_->again_after(status)) continue;
        const std::lock_guard lock(mutex_);
        if (full_) return status;
        switch (recovery.next(status, names)) {
            case OnError::kFail:
            case OnError::kCpu:  // the caller's part
                full_ = true;
                return status;
            case OnError::kReset:
                drop_all();
                break;
            case OnError::kRetry:
                break;
        }
    }
}

bool NpuDevice::is_full() {
    const std::lock_guard lock(mutex_);
    return full_;
}

// A weight has its place, and what packing needs besides is not there.
void NpuDevice::note_unpacked(const Status& failure, const std::string& name) {
    const std::lock_guard lock(mutex_);
    ++counters_.faults.failed;
    if (!does_without_packing(failure)) {
        ++counters_.faults.given_up;
    } else if (fault_lines_.allows()) {
        log(LogLevel::kWarning, "%s: %s; computing it on the CPU%s", name.c_str(),
            failure.to_string().c_str(), fault_lines_.left_out().c_str());
    }
}

bool NpuDevice::does_without_packing(const Status& failure) const {
    return may_pass(failure) && !config_.on_error.empty() && config_.on_error.back() == OnError::kCpu;
}

Status NpuDevice::multiply_stored(std::span<const StoredProduct> products, const Activations& input,
                                  Epilogue* epilogue) {
    std::vector<float*> outputs;
    for (const StoredProduct& product : products) {
        RKNPU2_RETURN_IF_ERROR(multiply_on_cpu(product.source, input, product.out));
        outputs.push_back(product.out);
    }
    const size_t N = products[0].source.N;
    if (epilogue != nullptr) epilogue->apply({0, input.M, 0, N, outputs, N});
    return {};
}

}  // namespace rknpu2
