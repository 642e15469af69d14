// How one multiplication of the device is done again when the NPU fails (recovery.hpp).
//
// It is done again as a whole, from its first row on, because a failed one leaves any part of its results
// written: the first segment of K stores and only later ones add, so a second attempt writes every element
// anew. Nothing of the first one is used again: not the contexts that failed, not the quantised activations.
#include <utility>

#include "base/format.hpp"
#include "matmul/npu_device.hpp"
#include "matmul/recovery.hpp"

namespace rknpu2 {

// Such as "blk.0.attn_q.weight and 2 more".
std::string NpuDevice::names_together() const {
    const std::string& first = weights_[0]->source.name;
    return together_.size() == 1 ? first : format("%s and %zu more", first.c_str(), together_.size() - 1);
}

// While no other process does. One multiplication at a time, so that nobody waits long.
Status NpuDevice::multiply_alone(const Activations& input) {
    if (lock_ == nullptr) return multiply_together(input);
    RKNPU2_RETURN_IF_ERROR(lock_->acquire());
    Status status = multiply_together(input);
    lock_->release();
    return status;
}

// Those of together_; the result says who did it.
Result<Place> NpuDevice::multiply_or_recover(const Activations& input) {
    Recovery recovery(config_, statistics_.faults, fault_lines_);
    for (;;) {
        Status status = multiply_alone(input);
        if (status.ok()) return Place::kNpu;
        activations_.forget();
        switch (recovery.next(status, names_together())) {
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

// From the weights as they are stored, whatever was packed of them.
Result<Place> NpuDevice::multiply_on_cpu(const Activations& input) {
    for (const Product& product : together_) {
        Status status = reference_product(product.weight->source, input.data, input.M, product.out);
        if (!status.ok()) {
            ++statistics_.faults.given_up;
            return std::move(status).with_context("on the CPU");
        }
        ++statistics_.faults.by_cpu;
    }
    return Place::kCpu;
}

}  // namespace rknpu2
