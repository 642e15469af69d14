// What happens when the NPU fails: the steps of GGML_RKNPU2_ON_ERROR, one after the other, until one of them
// helps.
//
// A multiplication is done again as a whole, from its first row on, because a failed one leaves any part of
// its results written: the first segment of K stores and only later ones add, so a second attempt writes
// every element anew. Nothing of the first one is used again: not the contexts that failed, not the quantised
// activations. Each step is counted and, unless there are very many, logged.
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

// Is it of a kind that may pass? A call that breaks a rule breaks it again.
bool may_pass(const Status& status) {
    switch (status.code()) {
        case StatusCode::kOutOfMemory:
        case StatusCode::kDeviceUnavailable:
        case StatusCode::kDeviceError:
        case StatusCode::kTimeout:
            return true;
        default:
            return false;
    }
}

const char* what_follows(OnError step) {
    switch (step) {
        case OnError::kRetry:
            return "trying again in new contexts";
        case OnError::kReset:
            return "trying again after dropping all contexts and work areas";
        case OnError::kCpu:
            return "computing it on the CPU";
        case OnError::kFail:
            break;
    }
    return "giving up";
}

}  // namespace

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
    FaultCounters& faults = statistics_.faults;
    std::string tried;
    for (size_t attempt = 0;; ++attempt) {
        Status status = multiply_alone(input);
        if (status.ok()) return Place::kNpu;
        ++faults.failed;
        activations_.forget();
        const bool more = attempt < config_.on_error.size() && may_pass(status);
        const OnError step = more ? config_.on_error[attempt] : OnError::kFail;
        if (step == OnError::kFail) {
            ++faults.given_up;
            return tried.empty() ? std::move(status) : std::move(status).with_context(tried);
        }
        if (fault_lines_.allows()) {
            log(LogLevel::kWarning, "%s: %s; %s%s", names_together().c_str(), status.to_string().c_str(),
                what_follows(step), fault_lines_.left_out().c_str());
        }
        if (step == OnError::kCpu) return multiply_on_cpu(input);
        ++(step == OnError::kRetry ? faults.retried : faults.reset);
        tried += tried.empty() ? "after " : " and ";
        tried += on_error_name(step);
        if (step == OnError::kReset) drop_all();
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
