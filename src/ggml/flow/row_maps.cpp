// SPDX-License-Identifier: MIT
#include "ggml/flow/row_maps.hpp"

#include <algorithm>

#include "ggml/host/host_tensor.hpp"
#include "ggml/node/describe.hpp"

namespace rknpu2 {
namespace {

// Operations that compute every element, or every row of dimension 0, from the same one of each source. A
// source of one row serves all rows.
constexpr Op kElementwise[] = {
    Op::kAdd,   Op::kSub,   Op::kMul, Op::kDiv,  Op::kScale,   Op::kSqr,    Op::kSqrt,
    Op::kClamp, Op::kUnary, Op::kGlu, Op::kNorm, Op::kRmsNorm, Op::kL2Norm,
};

}  // namespace

bool RowMaps::map(ggml_tensor* node, RowMap& mapped) const {
    mapped.node = node;
    mapped.source_dims.fill(kWhole);
    if ((node->flags & GGML_TENSOR_FLAG_PARAM) != 0) return false;
    const Op op = ggml_.op(node);
    if (op == Op::kSetRows) return map_set_rows(node, mapped) && cuts_what_is_computed(mapped);
    if (is_rotation(ggml_, node)) return map_rotation(node, mapped);
    const auto* const end = std::end(kElementwise);
    const bool elementwise = std::find(std::begin(kElementwise), end, op) != end;
    const bool known = (elementwise && map_elementwise(node, mapped)) ||
                       (op == Op::kRope && map_rope(node, mapped)) ||
                       (op == Op::kFlashAttention && map_attention(node, mapped));
    const int64_t streams = op == Op::kFlashAttention ? node->ne[3] : 1;
    return known && can_be_computed(node, mapped.dim, 1, streams) && cuts_what_is_computed(mapped);
}

// A chunk has only its own rows of what the flow computes, so no node may read such a result as a whole.
bool RowMaps::cuts_what_is_computed(const RowMap& mapped) const {
    for (size_t i = 0; i < mapped.source_dims.size(); ++i) {
        const ggml_tensor* const source = mapped.node->src[i];
        if (source != nullptr && is_computed(source) && mapped.source_dims[i] == kWhole) return false;
    }
    return true;
}

bool RowMaps::is_matrix(const ggml_tensor* node) const {
    return node->ne[1] == rows_ && can_be_computed(node, 1);
}

// Is it a tensor of floats with memory of its own, rows outermost and without gaps?
bool RowMaps::can_be_computed(const ggml_tensor* node, int dim, int64_t parts, int64_t streams) const {
    if (node->view_src != nullptr || node->type != GGML_TYPE_F32 || dim < 1 ||
        node->ne[dim] * streams != rows_ * parts)
        return false;
    size_t bytes = sizeof(float);
    for (int d = 0; d < GGML_MAX_DIMS; ++d) {
        const bool outer = d > dim;
        if (outer && node->ne[d] != (d == GGML_MAX_DIMS - 1 ? streams : 1)) return false;
        if ((!outer || node->ne[d] != 1) && node->nb[d] != bytes) return false;
        bytes *= static_cast<size_t>(node->ne[d]);
    }
    return true;
}

void RowMaps::compute(const ggml_tensor* node, int dim) {
    FlowTensor& tensor = tensors_[node];
    tensor.dim = dim;
    tensor.row_bytes = node->nb[dim];
    if (node->ne[dim] > rows_) tensor.row_bytes *= static_cast<size_t>(node->ne[dim] / rows_);
}

int RowMaps::dim_of(const ggml_tensor* tensor, int expected) const {
    const auto found = tensors_.find(memory_of(tensor));
    if (found != tensors_.end()) return dim_of_computed(tensor, found->second);
    if (tensor->ne[expected] == rows_) return expected;
    return tensor->ne[expected] == 1 ? kWhole : kNoRows;
}

// A view must show whole rows, or the same part of each. It may show each row as several rows of its own.
int RowMaps::dim_of_computed(const ggml_tensor* tensor, const FlowTensor& memory) const {
    if (tensor->view_src == nullptr) return memory.dim;
    int dim = kNoRows;
    size_t end = tensor->view_offs + sizeof(float);  // of a row's part
    for (int d = 0; d < GGML_MAX_DIMS; ++d) {
        const size_t parts = d > 0 && tensor->nb[d] > 0 ? memory.row_bytes / tensor->nb[d] : 1;
        if (tensor->ne[d] == rows_ * static_cast<int64_t>(parts) &&
            tensor->nb[d] * parts == memory.row_bytes && dim == kNoRows) {
            dim = d;
            end += (parts - 1) * tensor->nb[d];
        } else if (tensor->ne[d] != 1) {
            end += static_cast<size_t>(tensor->ne[d] - 1) * tensor->nb[d];
        }
    }
    return tensor->type == GGML_TYPE_F32 && end <= memory.row_bytes ? dim : kNoRows;
}

bool RowMaps::map_elementwise(const ggml_tensor* node, RowMap& mapped) const {
    mapped.dim = kNoRows;
    for (const ggml_tensor* const source : node->src)
        if (source != nullptr && is_computed(source)) mapped.dim = dim_of(source, 0);
    if (mapped.dim == kNoRows) {  // first nodes of a stretch, which read nothing that it computes: a matrix
        const bool matrix = node->src[0] != nullptr && !is_computed(node->src[0]) && node->ne[1] == rows_ &&
                            node->ne[2] == 1 && node->ne[3] == 1;
        if (!matrix) return false;
        mapped.dim = 1;
    }
    if (mapped.dim < 1) return false;
    for (size_t i = 0; i < mapped.source_dims.size(); ++i) {
        if (node->src[i] == nullptr) continue;
        mapped.source_dims[i] = dim_of(node->src[i], mapped.dim);
        if (mapped.source_dims[i] != mapped.dim && mapped.source_dims[i] != kWhole) return false;
    }
    return mapped.source_dims[0] == mapped.dim;
}

// Each head of a token is a row of its own, turned by the host's transform of single rows.
bool RowMaps::map_rotation(const ggml_tensor* node, RowMap& mapped) const {
    const ggml_tensor* const from = node->src[1];
    if (is_computed(node->src[0]) || !is_computed(from) || dim_of(from, 1) != 1 ||
        from->nb[1] != static_cast<size_t>(from->ne[0]) * sizeof(float))
        return false;
    mapped.dim = mapped.source_dims[1] = 1;
    return can_be_computed(node, 1, node->ne[1] / rows_);
}

constexpr int kManyPositions = 8;  // the flag of a mode of ROPE (MROPE): several positions a token

// Heads by tokens. One position a token, not several (MROPE), and frequencies for all.
bool RowMaps::map_rope(const ggml_tensor* node, RowMap& mapped) const {
    if ((node->op_params[2] & kManyPositions) != 0 || is_computed(node->src[1])) return false;
    mapped.dim = mapped.source_dims[0] = dim_of(node->src[0], 2);
    mapped.source_dims[1] = dim_of(node->src[1], 0);
    return mapped.dim == 2 && mapped.source_dims[1] == 0;
}

// Rows of a matrix, and one index for each.
bool RowMaps::map_set_rows(const ggml_tensor* node, RowMap& mapped) const {
    const ggml_tensor* const from = node->src[0];
    const ggml_tensor* const where = node->src[1];
    if (node->view_src == nullptr || is_computed(where) || is_computed(node)) return false;
    if (from->ne[2] != 1 || from->ne[3] != 1 || where->ne[1] != 1 || where->ne[2] != 1) return false;
    mapped.dim = kWhole;
    mapped.source_dims[0] = dim_of(from, 1);
    mapped.source_dims[1] = dim_of(where, 0);
    return mapped.source_dims[0] == 1 && mapped.source_dims[1] == 0;
}

// Queries by heads, each query with its row of the mask. Keys and values as a whole. Results are heads by
// queries. Streams, each with keys and values of its own, are outermost in all of them.
bool RowMaps::map_attention(const ggml_tensor* node, RowMap& mapped) const {
    HostTensor queries(ggml_, *node->src[0]);  // of all streams, one behind the other
    const int64_t streams = queries->ne[3];
    if (streams < 1 || rows_ % streams != 0) return false;
    if (streams > 1 && queries->nb[3] != queries->nb[1] * static_cast<size_t>(queries->ne[1])) return false;
    queries->ne[1] *= streams;
    queries->ne[3] = 1;
    for (const int operand : {1, 2}) {
        const ggml_tensor* const shown = node->src[operand];
        if (is_computed(shown) || shown->ne[3] != streams) return false;
    }
    if (const ggml_tensor* const mask = node->src[3]; mask != nullptr) {
        if (is_computed(mask) || mask->ne[1] < rows_ / streams || mask->ne[3] != streams) return false;
        mapped.source_dims[3] = 1;
    }
    mapped.dim = 2;
    // A copy of what is no view is another tensor, of which nothing is known.
    const bool unknown = streams > 1 && queries->view_src == nullptr;
    mapped.source_dims[0] = unknown ? kNoRows : dim_of(streams > 1 ? queries.get() : node->src[0], 1);
    return mapped.source_dims[0] == 1;
}

}  // namespace rknpu2
