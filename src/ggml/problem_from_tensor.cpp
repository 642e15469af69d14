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

}  // namespace

MatmulProblem describe(const Host& host, const ggml_tensor* op) {
    const ggml_tensor* const weight = op->src[0];
    const ggml_tensor* const activations = op->src[1];
    MatmulProblem p;
    p.K = static_cast<size_t>(weight->ne[0]);
    p.N = static_cast<size_t>(weight->ne[1]);
    p.M = static_cast<size_t>(host.ggml.ggml_nrows(activations));
    p.selects_experts = op->op == GGML_OP_MUL_MAT_ID;
    p.weight_is_stored = weight->op == GGML_OP_NONE && weight->view_src == nullptr;
    if (const ggml_backend_buffer* const buffer = weight->buffer; buffer != nullptr) {
        p.weight_in_our_memory = buffer->buft == &host.buffer_type;
        p.weight_in_compute_buffer = buffer->usage == GGML_BACKEND_BUFFER_USAGE_COMPUTE;
    }
    // The second parameter of MUL_MAT is a hint; the rotations of a quantised KV cache are leaves, too.
    p.weight_is_rotation = op->op == GGML_OP_MUL_MAT && op->op_params[1] == GGML_HINT_SRC0_IS_HADAMARD;
    p.weight_is_matrix = weight->ne[2] == 1 && weight->ne[3] == 1;
    p.weight_is_contiguous = host.ggml.ggml_is_contiguous(weight);
    p.weight_can_be_dequantised = dequantise_of(host, weight->type) != nullptr;
    p.activations_are_float = activations->type == GGML_TYPE_F32 && op->type == GGML_TYPE_F32;
    p.activations_are_contiguous =
        host.ggml.ggml_is_contiguous(activations) && host.ggml.ggml_is_contiguous(op);
    return p;
}

bool runs_on_npu(const Host& host, const ggml_tensor* node) {
    return is_matmul(node) && support(describe(host, node)) == Reason::kSupported;
}

WeightSource weight_source(const Host& host, const ggml_tensor* weight) {
    WeightSource source;
    source.name = weight->name;
    source.type_name = host.ggml.ggml_type_name(weight->type);
    source.K = static_cast<size_t>(weight->ne[0]);
    source.N = static_cast<size_t>(weight->ne[1]);
    source.data = static_cast<const std::byte*>(weight->data);
    source.row_bytes = weight->nb[1];
    source.dequantise = dequantise_of(host, weight->type);
    return source;
}

}  // namespace rknpu2
