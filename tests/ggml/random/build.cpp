// SPDX-License-Identifier: MIT
#include "ggml/random/build.hpp"

#include <cmath>

#include "ggml/random/custom.hpp"
#include "ggml/random/leaves.hpp"
#include "ggml/random/statistics.hpp"

namespace rknpu2::test {
namespace {

// ggml checks shapes with ggml_abort(), which must not return: an exception leaves it. While ggml makes a
// node it holds nothing that would have to be given back.
[[noreturn]] void leave_abort(const char* message) {
    throw BuildError(message);
}

ContextPtr context_for(GgmlHost& host, size_t tensors) {
    const size_t bytes = tensors * host.ggml.ggml_tensor_overhead() +
                         2 * host.ggml.ggml_graph_overhead_custom(GGML_DEFAULT_GRAPH_SIZE, false);
    return {host.ggml.ggml_init({bytes, nullptr, true}), host.ggml.ggml_free};
}

class Builder {
  public:
    Builder(const Recipe& recipe, Product product, BuiltGraph& built)
        : recipe_(recipe), product_(product), built_(built), ggml_(built.host.ggml) {}

    void make_tensors() {
        for (size_t i = 0; i < recipe_.steps.size(); ++i) {
            const Step& step = recipe_.steps[i];
            ggml_tensor* const tensor = is_leaf(step) ? leaf(step) : operation(step);
            const std::string name = name_with_statistics(step);
            if (!name.empty()) ggml_.ggml_set_name(tensor, name.c_str());
            if (step.output) ggml_.ggml_set_output(tensor);
            built_.tensors.push_back(tensor);
        }
    }

    void make_graph() {
        built_.graph = ggml_.ggml_new_graph(built_.context.get());
        for (size_t i = 0; i < recipe_.steps.size(); ++i)
            if (!is_leaf(recipe_.steps[i])) ggml_.ggml_build_forward_expand(built_.graph, built_.tensors[i]);
        if (ggml_.ggml_graph_n_nodes(built_.graph) == 0) throw BuildError("no operation");
    }

  private:
    ggml_tensor* leaf(const Step& step) {
        switch (leaf_kind(step)) {
            case LeafKind::kWeight:
                return make_leaf(ggml_, built_.weights.get(), step);
            case LeafKind::kState:
                return make_leaf(ggml_, built_.states.get(), step);
            case LeafKind::kInput:
                break;
        }
        ggml_tensor* const tensor = make_leaf(ggml_, built_.context.get(), step);
        ggml_.ggml_set_input(tensor);
        return tensor;
    }

    ggml_tensor* operation(const Step& step) {
        std::vector<ggml_tensor*> sources;
        for (const size_t source : step.sources)
            sources.push_back(built_.tensors[source]);
        const bool multiplies = step.op.rfind("mul_mat", 0) == 0 && !sources.empty();
        if (multiplies && product_ != Product::kAsItIs) sources[0] = as_floats(sources[0]);
        if (multiplies && product_ == Product::kShaken && sources.size() > 1)
            sources[1] = ggml_.ggml_map_custom1(built_.context.get(),
                                                ggml_.ggml_cont(built_.context.get(), sources[1]),
                                                custom_shake, 1, nullptr);
        ggml_tensor* const tensor = checked(step, sources);
        if (tensor == nullptr) throw BuildError("unknown operation " + step.op);
        return tensor;
    }

    ggml_tensor* checked(const Step& step, const std::vector<ggml_tensor*>& sources) {
        const ggml_abort_callback_t before = ggml_.ggml_set_abort_callback(leave_abort);
        try {
            ggml_tensor* const tensor = make_operation(ggml_, built_.context.get(), step, sources);
            ggml_.ggml_set_abort_callback(before);
            return tensor;
        } catch (const BuildError& error) {
            ggml_.ggml_set_abort_callback(before);
            throw BuildError(text_of(step) + ": " + error.what());
        }
    }

    ggml_tensor* as_floats(ggml_tensor* matrix) {
        const bool stored = matrix->op == GGML_OP_NONE && matrix->type != GGML_TYPE_F32;
        return stored ? ggml_.ggml_cast(built_.context.get(), matrix, GGML_TYPE_F32) : matrix;
    }

    const Recipe& recipe_;
    const Product product_;
    BuiltGraph& built_;
    const HostFunctions& ggml_;
};

}  // namespace

BuiltGraph::BuiltGraph(GgmlHost& owner)
    : host(owner),
      weights(nullptr, owner.ggml.ggml_free),
      states(nullptr, owner.ggml.ggml_free),
      context(nullptr, owner.ggml.ggml_free),
      weight_buffer(nullptr, owner.ggml.ggml_backend_buffer_free),
      state_buffer(nullptr, owner.ggml.ggml_backend_buffer_free) {}

void build(const Recipe& recipe, ggml_backend_buffer_type_t type, Product product, BuiltGraph& built) {
    const HostFunctions& ggml = built.host.ggml;
    for (ContextPtr* const context : {&built.weights, &built.states, &built.context})
        *context = context_for(built.host, 3 * recipe.steps.size() + 8);
    Builder builder(recipe, product, built);
    builder.make_tensors();
    builder.make_graph();
    built.weight_buffer.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(built.weights.get(), type));
    if (built.weight_buffer != nullptr)
        ggml.ggml_backend_buffer_set_usage(built.weight_buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    built.state_buffer.reset(ggml.ggml_backend_alloc_ctx_tensors_from_buft(built.states.get(), type));
}

double parameter(const Step& step, size_t index, double otherwise) {
    return index < step.parameters.size() ? step.parameters[index] : otherwise;
}

int64_t whole(const Step& step, size_t index, int64_t otherwise) {
    return std::llround(parameter(step, index, static_cast<double>(otherwise)));
}

ggml_type type_of(const HostFunctions& ggml, const std::string& name) {
    for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
        const char* const known = ggml.ggml_type_name(static_cast<ggml_type>(type));
        if (known != nullptr && name == known) return static_cast<ggml_type>(type);
    }
    return GGML_TYPE_COUNT;
}

}  // namespace rknpu2::test
