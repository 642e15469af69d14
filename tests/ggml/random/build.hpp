// SPDX-License-Identifier: MIT
// Makes ggml's graph of a recipe, for the plug-in's device or as the reference for the CPU backend.
//
// The nodes stand in the graph in the order of the steps, read or not. Weights and states lie in buffers of
// their own, which stay; inputs and results get their memory from whoever computes the graph (execute.hpp).
//
// In the reference a stored matrix that is not float32 is converted to float32 where it is multiplied by:
// the CPU backend would round activations to the 8 bits or 16 of the weight's kind, which the NPU does not in
// precision `exact`. So both multiply the same numbers.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "ggml/random/recipe.hpp"
#include "ggml/stored_matmul.hpp"

namespace rknpu2::test {

// The recipe makes no graph: shapes do not fit, or the backend does not know an operation.
struct BuildError : std::runtime_error {
    using std::runtime_error::runtime_error;
};

struct BuiltGraph {
    explicit BuiltGraph(GgmlHost& owner);

    GgmlHost& host;
    // Those that hold weights, states, and inputs with results.
    ContextPtr weights, states, context;
    BufferPtr weight_buffer, state_buffer;
    std::vector<ggml_tensor*> tensors;  // of the steps
    ggml_cgraph* graph = nullptr;
};

// What becomes of multiplications.
enum class Product {
    kAsItIs,
    kOfFloats,  // by a stored matrix that is converted to float32 first
    kShaken,    // likewise, and activations have errors (custom.hpp)
};

// Weights and states have memory of `type` then, and no content. Throws BuildError.
void build(const Recipe& recipe, ggml_backend_buffer_type_t type, Product product, BuiltGraph& built);

// One operation (operations.cpp); null: not known. Shapes that do not fit end in ggml_abort(), of which
// build() makes a BuildError.
ggml_tensor* make_operation(const HostFunctions& ggml, ggml_context* context, const Step& step,
                            const std::vector<ggml_tensor*>& sources);

// The parameter, or what it is if the step has none.
double parameter(const Step& step, size_t index, double otherwise = 0);
int64_t whole(const Step& step, size_t index, int64_t otherwise = 0);

// The name's type; GGML_TYPE_COUNT: none.
ggml_type type_of(const HostFunctions& ggml, const std::string& name);

}  // namespace rknpu2::test
