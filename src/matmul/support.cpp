#include "matmul/support.hpp"

#include <algorithm>

#include "base/checked.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Packed, a weight lies in one address space of the NPU (device_memory.hpp). Whether there is that much
// memory is another question.
bool too_large(const MatmulProblem& p) {
    if (std::max({p.M, p.N, p.K, p.experts, p.operand_bytes}) > kMostOperandBytes) return true;
    const size_t packed =
        saturating_mul(round_up(p.N, rk3588::align_n(DType::kInt8)), round_up(p.K, rk3588::kAlignK));
    if (packed > rk3588::kDomainBytes) return true;
    const size_t rows = saturating_mul(p.M, std::max(p.N, p.K));
    return saturating_mul(packed, p.experts) > kMostOperandBytes || rows > kMostOperandBytes / sizeof(float);
}

}  // namespace

const char* reason_text(Reason reason) {
    switch (reason) {
        case Reason::kSupported:
            return "runs on the NPU";
        case Reason::kEmpty:
            return "a dimension is zero";
        case Reason::kWeightIsComputed:
            return "first operand is computed, not a stored weight";
        case Reason::kWeightElsewhere:
            return "weight lies in another device's memory";
        case Reason::kWeightIsTemporary:
            return "first operand lies in a compute buffer";
        case Reason::kWeightIsRotation:
            return "rotation of a quantised KV cache";
        case Reason::kWeightHasMoreDimensions:
            return "weight has more than two dimensions";
        case Reason::kWeightHasGaps:
            return "weight rows are not contiguous";
        case Reason::kWeightType:
            return "weight type has no conversion to float";
        case Reason::kActivationsType:
            return "activations or result are not float32";
        case Reason::kActivationsHaveGaps:
            return "activations are not contiguous";
        case Reason::kShapesDiffer:
            return "shapes of the operands and the result do not fit each other";
        case Reason::kTooLarge:
            return "larger than an address space";
    }
    return "unknown reason";
}

Reason support(const MatmulProblem& p) {
    if (!p.weight_is_stored) return Reason::kWeightIsComputed;
    if (!p.weight_in_our_memory) return Reason::kWeightElsewhere;
    if (p.weight_in_compute_buffer) return Reason::kWeightIsTemporary;
    if (p.weight_is_rotation) return Reason::kWeightIsRotation;
    if (!p.weight_is_matrix) return Reason::kWeightHasMoreDimensions;
    if (!p.weight_is_contiguous) return Reason::kWeightHasGaps;
    if (!p.weight_can_be_dequantised) return Reason::kWeightType;
    if (!p.activations_are_float) return Reason::kActivationsType;
    if (!p.activations_are_contiguous) return Reason::kActivationsHaveGaps;
    if (p.M == 0 || p.N == 0 || p.K == 0) return Reason::kEmpty;
    if (!p.shapes_agree) return Reason::kShapesDiffer;
    if (too_large(p)) return Reason::kTooLarge;
    return Reason::kSupported;
}

}  // namespace rknpu2
