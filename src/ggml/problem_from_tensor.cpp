#include "ggml/problem_from_tensor.hpp"

#include <cstring>

#include "matmul/support.hpp"

namespace rknpu2 {
namespace {

void copy_float_row(const void* row, float* out, int64_t K) {
    std::memcpy(out, row, static_cast<size_t>(K) * sizeof(float));
}

DequantiseRow dequantise_of(const Host& host, ggml_type type) {
    if (type == GGML_TYPE_F32) return copy_float_row;
    const ggml_type_traits* const traits = host.ggml.ggml_get_type_traits(type);
    return traits != nullptr ? traits->to_float : nullptr;
}

// The rows of A may lie anywhere, one by one; so may those of the choice, which is a view of sorted indices.
void describe_choice(const Host& host, const ggml_tensor* op, MatmulProblem& p) {
    const ggml_tensor* const rows = op->src[1];
    const ggml_tensor* const choice = op->src[2];
    p.experts = static_cast<size_t>(op->src[0]->ne[2]);
    p.experts_used = static_cast<size_t>(choice->ne[0]);
    p.M = p.experts_used * static_cast<size_t>(choice->ne[1]);
    p.activations_are_contiguous = rows->nb[0] == sizeof(float) && rows->ne[3] == 1 &&
                                   choice->type == GGML_TYPE_I32 && choice->nb[0] == sizeof(int32_t) &&
                                   host.ggml.ggml_is_contiguous(op);
}

}  // namespace

MatmulProblem describe(const Host& host, const ggml_tensor* op) {
    const ggml_tensor* const weight = op->src[0];
    const ggml_tensor* const activations = op->src[1];
    const bool chooses = op->op == GGML_OP_MUL_MAT_ID;
    MatmulProblem p;
    p.K = static_cast<size_t>(weight->ne[0]);
    p.N = static_cast<size_t>(weight->ne[1]);
    p.M = static_cast<size_t>(host.ggml.ggml_nrows(activations));
    p.weight_is_stored = weight->op == GGML_OP_NONE && weight->view_src == nullptr;
    if (const ggml_backend_buffer* const buffer = weight->buffer; buffer != nullptr) {
        p.weight_in_our_memory = buffer->buft == &host.buffer_type;
        p.weight_in_compute_buffer = buffer->usage == GGML_BACKEND_BUFFER_USAGE_COMPUTE;
    }
    // The second parameter of MUL_MAT is a hint; the rotations of a quantised KV cache are leaves, too.
    p.weight_is_rotation = op->op == GGML_OP_MUL_MAT && op->op_params[1] == GGML_HINT_SRC0_IS_HADAMARD;
    p.weight_is_matrix = (chooses || weight->ne[2] == 1) && weight->ne[3] == 1;
    p.weight_is_contiguous = host.ggml.ggml_is_contiguous(weight);
    p.weight_can_be_dequantised = dequantise_of(host, weight->type) != nullptr;
    p.activations_are_float = activations->type == GGML_TYPE_F32 && op->type == GGML_TYPE_F32;
    p.activations_are_contiguous =
        host.ggml.ggml_is_contiguous(activations) && host.ggml.ggml_is_contiguous(op);
    if (chooses) describe_choice(host, op, p);
    return p;
}

bool multiplies_on_npu(const Host& host, const ggml_tensor* node) {
    return node->op == GGML_OP_MUL_MAT && support(describe(host, node)) == Reason::kSupported;
}

ExpertsCall experts_call(const ggml_tensor* op) {
    const ggml_tensor* const stack = op->src[0];
    ExpertsCall call;
    call.K = static_cast<size_t>(stack->ne[0]);
    call.N = static_cast<size_t>(stack->ne[1]);
    call.experts = static_cast<size_t>(stack->ne[2]);
    call.used = static_cast<size_t>(op->src[2]->ne[0]);
    call.tokens = static_cast<size_t>(op->src[2]->ne[1]);
    call.raw_bytes = stack->nb[2];
    return call;
}

WeightSource weight_source(const Host& host, const ggml_tensor* weight, int expert) {
    WeightSource source;
    source.name = weight->name;
    source.type_name = host.ggml.ggml_type_name(weight->type);
    source.K = static_cast<size_t>(weight->ne[0]);
    source.N = static_cast<size_t>(weight->ne[1]);
    source.expert = expert;
    source.data = static_cast<const std::byte*>(weight->data);
    if (expert >= 0) source.data += static_cast<size_t>(expert) * weight->nb[2];
    source.row_bytes = weight->nb[1];
    source.dequantise = dequantise_of(host, weight->type);
    return source;
}

}  // namespace rknpu2
