// SPDX-License-Identifier: MIT
#include "ggml/node/describe.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"
#include "ggml/host/types.hpp"

namespace rknpu2 {
namespace {

// As a number, since a tensor can come from another machine: what is no type must not be read as one.
int32_t type_of(const ggml_tensor* tensor) {
    int32_t type = 0;
    static_assert(sizeof tensor->type == sizeof type);
    std::memcpy(&type, &tensor->type, sizeof type);
    return type;
}

const ggml_type_traits* traits_of(const Host& host, const ggml_tensor* tensor) {
    return traits_of(host.ggml, static_cast<uint32_t>(type_of(tensor)));
}

// Less than no elements are none.
size_t elements(const ggml_tensor* tensor, int dimension) {
    return static_cast<size_t>(std::max<int64_t>(tensor->ne[dimension], 0));
}

size_t rows_of(const ggml_tensor* tensor) {
    return saturating_mul(saturating_mul(elements(tensor, 1), elements(tensor, 2)), elements(tensor, 3));
}

// Bytes from the first to the last one of the tensor, or more: each element of a quantised row counts as a
// whole block. SIZE_MAX: too large.
size_t reach_of(const ggml_tensor* tensor) {
    size_t bytes = 0;
    for (int d = 0; d < GGML_MAX_DIMS; ++d) {
        const size_t steps = d == 0 ? elements(tensor, d) : std::max<size_t>(elements(tensor, d), 1) - 1;
        bytes = saturating_add(bytes, saturating_mul(steps, tensor->nb[d]));
    }
    return bytes;
}

// Are rows, and the matrices of a stack, stored one behind the other? Asked even of a single one, whose
// stride ggml does not look at. Rows are whole blocks.
bool stored_without_gaps(const Host& host, const ggml_tensor* weight) {
    const ggml_type_traits* const traits = traits_of(host, weight);
    if (traits == nullptr || traits->blck_size <= 0) return false;
    const auto block = static_cast<size_t>(traits->blck_size);
    if (elements(weight, 0) % block != 0) return false;
    const size_t row_bytes = saturating_mul(elements(weight, 0) / block, traits->type_size);
    return weight->nb[1] == row_bytes && weight->nb[2] == saturating_mul(row_bytes, elements(weight, 1)) &&
           host.ggml.ggml_is_contiguous(weight);
}

// What ggml demands when it makes a node. Nodes from elsewhere (an RPC server) may break it.
bool product_shapes_agree(const ggml_tensor* op) {
    const ggml_tensor* const weight = op->src[0];
    const ggml_tensor* const activations = op->src[1];
    return activations->ne[0] == weight->ne[0] && op->ne[0] == weight->ne[1] &&
           std::equal(op->ne + 1, std::end(op->ne), activations->ne + 1);
}

bool experts_shapes_agree(const ggml_tensor* op) {
    const ggml_tensor* const stack = op->src[0];
    const ggml_tensor* const rows = op->src[1];
    const ggml_tensor* const choice = op->src[2];
    return rows->ne[0] == stack->ne[0] && op->ne[0] == stack->ne[1] && op->ne[1] == choice->ne[0] &&
           op->ne[2] == choice->ne[1] && op->ne[3] == 1 && rows->ne[1] > 0 &&
           choice->ne[0] % rows->ne[1] == 0 && rows->ne[2] == choice->ne[1] && rows->ne[3] == 1 &&
           choice->ne[2] == 1 && choice->ne[3] == 1;
}

// Rows of activations may have gaps between them; so may those of the choice, a view of sorted indices.
void describe_choice(const Host& host, const ggml_tensor* op, MatmulProblem& p) {
    const ggml_tensor* const rows = op->src[1];
    const ggml_tensor* const choice = op->src[2];
    p.experts = elements(op->src[0], 2);
    p.experts_used = elements(choice, 0);
    p.M = p.experts == 0 ? 0 : saturating_mul(p.experts_used, elements(choice, 1));
    p.shapes_agree = experts_shapes_agree(op);
    p.operand_bytes = std::max(p.operand_bytes, reach_of(choice));
    p.activations_are_contiguous = rows->nb[0] == sizeof(float) && type_of(choice) == GGML_TYPE_I32 &&
                                   choice->nb[0] == sizeof(int32_t) && p.activations_are_float &&
                                   host.ggml.ggml_is_contiguous(op);
}

}  // namespace

DequantiseRow dequantise_of(const Host& host, const ggml_tensor* weight) {
    if (type_of(weight) == GGML_TYPE_F32)
        return [](const void* row, float* out, int64_t K) {
            std::memcpy(out, row, static_cast<size_t>(K) * sizeof(float));
        };
    const ggml_type_traits* const traits = traits_of(host, weight);
    return traits != nullptr ? traits->to_float : nullptr;
}

MatmulProblem describe(const Host& host, const ggml_tensor* op) {
    const ggml_tensor* const weight = op->src[0];
    const ggml_tensor* const activations = op->src[1];
    const bool chooses = host.ggml.op(op) == Op::kMatMulExperts;
    MatmulProblem p;
    if (weight == nullptr || activations == nullptr || (chooses && op->src[2] == nullptr)) return p;
    p.arithmetic = recipe_of(host.config.precision, wants_float_activations(op)).arithmetic;
    p.K = elements(weight, 0);
    p.N = elements(weight, 1);
    p.M = rows_of(activations);
    p.shapes_agree = product_shapes_agree(op);
    p.operand_bytes = std::max({reach_of(weight), reach_of(activations), reach_of(op)});
    p.weight_is_stored = host.ggml.op(weight) == Op::kNone && weight->view_src == nullptr;
    if (const ggml_backend_buffer* const buffer = weight->buffer; buffer != nullptr) {
        p.weight_in_our_memory = host.abi->buffer_type(buffer) == &host.buffer_type;
        p.weight_in_compute_buffer = host.abi->buffer_usage(buffer) == GGML_BACKEND_BUFFER_USAGE_COMPUTE;
    }
    p.weight_is_rotation = is_rotation(host.ggml, op);
    p.weight_is_matrix = (chooses || weight->ne[2] == 1) && weight->ne[3] == 1;
    p.weight_is_contiguous = stored_without_gaps(host, weight);
    p.weight_can_be_dequantised = dequantise_of(host, weight) != nullptr;
    p.activations_are_float = type_of(activations) == GGML_TYPE_F32 && type_of(op) == GGML_TYPE_F32;
    p.activations_are_contiguous = p.activations_are_float && host.ggml.ggml_is_contiguous(activations) &&
                                   host.ggml.ggml_is_contiguous(op);
    if (chooses) describe_choice(host, op, p);
    return p;
}

bool is_rotation(const GgmlFunctions& ggml, const ggml_tensor* node) {
    return ggml.op(node) == Op::kMatMul && node->op_params[1] == GGML_HINT_SRC0_IS_HADAMARD;
}

bool can_multiply_on_npu(const Host& host, const ggml_tensor* node) {
    return host.ggml.op(node) == Op::kMatMul && support(describe(host, node)) == Reason::kSupported;
}

MatrixCall matrix_call(const Host& host, const ggml_tensor* op) {
    const ggml_tensor* const weight = op->src[0];
    return {elements(weight, 0), elements(weight, 1), rows_of(op->src[1]), host.ggml.ggml_nbytes(weight),
            wants_float_activations(op)};
}

ExpertsCall experts_call(const ggml_tensor* op) {
    const ggml_tensor* const stack = op->src[0];
    const ggml_tensor* const choice = op->src[2];
    return {elements(stack, 0),  elements(stack, 1), elements(stack, 2),         elements(choice, 0),
            elements(choice, 1), stack->nb[2],       wants_float_activations(op)};
}

bool wants_float_activations(const ggml_tensor* op) {
    static_assert(GGML_PREC_UNDEFINED == 0 && GGML_PREC_F32 == 10 && GGML_PREC_F16 == 20 &&
                  GGML_PREC_Q8 == 30);
    constexpr size_t kOfActivations = 3;  // in op_params; of the sums it is 0
    const int32_t lowest = op->op_params[kOfActivations];
    return lowest > GGML_PREC_UNDEFINED && lowest < GGML_PREC_Q8;
}

WeightSource weight_source(const Host& host, const ggml_tensor* op, int expert) {
    const ggml_tensor* const weight = op->src[0];
    WeightSource source;
    source.name = weight->name;
    source.type_name = host.ggml.ggml_type_name(weight->type);
    source.K = static_cast<size_t>(weight->ne[0]);
    source.N = static_cast<size_t>(weight->ne[1]);
    source.expert = expert;
    source.data = static_cast<const std::byte*>(weight->data);
    if (expert >= 0) source.data += static_cast<size_t>(expert) * weight->nb[2];
    source.row_bytes = weight->nb[1];
    source.dequantise = dequantise_of(host, weight);
    source.float_activations = wants_float_activations(op);
    return source;
}

}  // namespace rknpu2
