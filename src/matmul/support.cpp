#include "matmul/support.hpp"

namespace rknpu2 {

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
    return Reason::kSupported;
}

}  // namespace rknpu2
