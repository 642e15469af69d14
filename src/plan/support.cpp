// SPDX-License-Identifier: MIT
#include "plan/support.hpp"

#include <algorithm>
#include <array>

#include "base/checked.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

// What plan_weight() makes of it, however it is cut: segments are whole steps of K, tiles whole groups of N,
// but for the last ones, which are padded.
size_t packed_bytes_of(const MatmulProblem& p) {
    const DType type = operand_type(p.arithmetic);
    const size_t elements =
        saturating_mul(round_up(p.N, rk3588::align_n(type)), round_up(p.K, rk3588::kAlignK));
    return elements == SIZE_MAX ? SIZE_MAX : saturating_mul(elements, dtype_bytes(type, 2) / 2);
}

// Activations and results that lie in the weight's address space at once: those of a piece of the rows, at most.
size_t work_area_bytes(const MatmulProblem& p) {
    const DType type = operand_type(p.arithmetic);
    const size_t planes = p.arithmetic == NpuArithmetic::kFloat16 ? 1 : 2;
    const size_t rows = std::min(saturating_mul(p.M, planes), kMostRowChunks * kMaxRows);
    const size_t activations = saturating_mul(rows, dtype_bytes(type, round_up(p.K, rk3588::kAlignK)));
    const size_t runs = std::max(ceil_div(p.K, most_segment_k(p.arithmetic)), kMostSegments) * rk3588::kCores;
    const size_t columns = std::min(round_up(p.N, rk3588::align_n(type)), rk3588::kMaxN);
    const size_t result = std::min(std::min(rows, kMaxRows) * columns * sizeof(float), kMostResultBytes);
    return saturating_add(activations, saturating_mul(runs * kResultSlots, result));
}

// Packed, a weight lies in one address space of the NPU (device_memory.hpp). Whether there is that much
// memory is another question.
bool too_large(const MatmulProblem& p) {
    if (std::max({p.M, p.N, p.K, p.experts, p.operand_bytes}) > kMostOperandBytes) return true;
    const size_t packed = packed_bytes_of(p);
    if (packed > kMostWeightBytes || work_area_bytes(p) > kWorkAreaBytes) return true;
    const size_t rows = saturating_mul(p.M, std::max(p.N, p.K));
    return saturating_mul(packed, p.experts) > kMostOperandBytes || rows > kMostOperandBytes / sizeof(float);
}

// By Reason.
constexpr std::array<const char*, kReasons> kReasonTexts = {
    "runs on the NPU",
    "a dimension is zero",
    "first operand is computed, not a stored weight",
    "weight lies in another device's memory",
    "first operand lies in a compute buffer",
    "rotation of a quantised KV cache",
    "weight has more than two dimensions",
    "weight rows are not contiguous",
    "weight type has no conversion to float",
    "activations or result are not float32",
    "activations are not contiguous",
    "shapes of the operands and the result do not fit each other",
    "larger than what one address space of the NPU has for weights",
};

}  // namespace

const char* reason_text(Reason reason) {
    return kReasonTexts[static_cast<size_t>(reason)];
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
    // With `compact` it may keep eight bits.
    MatmulProblem eight_bits = p;
    eight_bits.arithmetic = NpuArithmetic::kInt8;
    if (p.arithmetic == NpuArithmetic::kInt4 && too_large(eight_bits)) return Reason::kTooLarge;
    return Reason::kSupported;
}

}  // namespace rknpu2
