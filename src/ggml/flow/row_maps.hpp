// SPDX-License-Identifier: MIT
// Where the rows of a flow are in a tensor: which of its dimensions counts them, and for which operations
// each row of the result depends on the same rows of the sources only.
//
// A result of the flow has its rows in its outermost dimension, without gaps. In a view of it, rows are counted
// by the dimension whose stride is the distance of two rows. If the stride is that distance divided by n, a row
// of the flow is n rows of the view, such as the heads of a token. Which dimension of a tensor from outside
// counts rows follows from the operation.
#pragma once

#include "ggml/flow/flow_plan.hpp"

namespace rknpu2 {

class RowMaps {
  public:
    // Enters what is computed into `tensors`, which must stay.
    RowMaps(const GgmlFunctions& ggml, std::unordered_map<const ggml_tensor*, FlowTensor>& tensors,
            int64_t rows)
        : ggml_(ggml), tensors_(tensors), rows_(rows) {}

    // Can a chunk of the node's rows be computed from the same rows of its sources? Then `mapped` says which
    // dimensions are cut; sources that the flow computes always are. A node that writes rows where another
    // source says (SET_ROWS) has dimension kWhole.
    bool map(ggml_tensor* node, RowMap& mapped) const;

    // Is it a matrix of floats with a row for each row of the flow, and with memory of its own?
    bool is_matrix(const ggml_tensor* node) const;

    // Notes that the flow computes `node`.
    void compute(const ggml_tensor* node, int dim);

    // Returns the dimension of `tensor`, an operand, that counts rows; kNoRows if none does. For a tensor from
    // outside that is `expected` or nothing; kWhole if this dimension has one element.
    int dim_of(const ggml_tensor* tensor, int expected) const;
    static constexpr int kNoRows = -2;

  private:
    int dim_of_computed(const ggml_tensor* tensor, const FlowTensor& memory) const;
    bool is_computed(const ggml_tensor* tensor) const { return tensors_.contains(memory_of(tensor)); }
    bool cuts_what_is_computed(const RowMap& mapped) const;
    // parts: rows of the node for each row of the flow. streams: elements of its last dimension, which count
    // rows, too.
    bool can_be_computed(const ggml_tensor* node, int dim, int64_t parts = 1, int64_t streams = 1) const;
    bool map_elementwise(const ggml_tensor* node, RowMap& mapped) const;
    bool map_rotation(const ggml_tensor* node, RowMap& mapped) const;
    bool map_rope(const ggml_tensor* node, RowMap& mapped) const;
    bool map_set_rows(const ggml_tensor* node, RowMap& mapped) const;
    bool map_attention(const ggml_tensor* node, RowMap& mapped) const;

    const GgmlFunctions& ggml_;
    std::unordered_map<const ggml_tensor*, FlowTensor>& tensors_;
    const int64_t rows_;
};

}  // namespace rknpu2
