// SPDX-License-Identifier: MIT
#include "ggml/host/proof.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/format.hpp"
#include "ggml/host/host_tensor.hpp"
#include "ggml/host/proof_of_tables.hpp"
#include "ggml/host/types.hpp"
#include "ggml/host/uses.hpp"

namespace rknpu2 {
namespace {

constexpr uint32_t kTypesOfOldest = 40;  // in ggml 0.9.3; a later one is checked when a tensor has it

Status differs(const char* fact) {
    return {StatusCode::kUnsupported,
            format("it differs from ggml %s and %s in %s", kAbis[1].releases, kAbis[0].releases, fact)};
}

#define RKNPU2_FACT(holds, fact) \
    if (!(holds)) return differs(fact)

// As long as the longest, with its zero.
std::string long_name() {
    std::string name(kLongestName, 'a');
    for (size_t at = 0; at < name.size(); ++at)
        name[at] = static_cast<char>('a' + at % 26);
    return name;
}

// Tensors and a graph that the host makes, without memory for elements.
struct Made {
    explicit Made(const GgmlFunctions& functions)
        : ggml(functions),
          context(
              functions.ggml_init(
                  {64 * functions.ggml_tensor_overhead() + functions.ggml_graph_overhead(), nullptr, true}),
              functions.ggml_free) {}

    const GgmlFunctions& ggml;
    std::unique_ptr<ggml_context, decltype(&::ggml_free)> context;
    ggml_tensor* weight = nullptr;
    ggml_tensor* activations = nullptr;
    ggml_tensor* view = nullptr;
    ggml_tensor* product = nullptr;
    ggml_cgraph* graph = nullptr;
};

Status prove_shape(const Made& made) {
    const GgmlFunctions& ggml = made.ggml;
    const ggml_tensor& weight = *made.weight;
    RKNPU2_FACT(weight.type == GGML_TYPE_F16, "a tensor's type");
    const int64_t ne[] = {64, 3, 1, 1};
    const size_t nb[] = {2, 128, 384, 384};
    RKNPU2_FACT(std::equal(std::begin(ne), std::end(ne), weight.ne), "a tensor's shape");
    RKNPU2_FACT(std::equal(std::begin(nb), std::end(nb), weight.nb), "a tensor's strides");
    RKNPU2_FACT(weight.data == nullptr && weight.buffer == nullptr && weight.view_src == nullptr,
                "a tensor's memory");
    // The host has cut the name: so it is that long, and what follows lies behind it.
    const size_t name_bytes = ggml.tensor_bytes - offsetof(ggml_tensor, name) - kBehindName;
    const std::string cut = long_name().substr(0, name_bytes - 1);
    RKNPU2_FACT(std::memcmp(weight.name, cut.c_str(), name_bytes) == 0, "a tensor's name");
    RKNPU2_FACT(ggml.ggml_nbytes(&weight) == 384 && ggml.ggml_nrows(&weight) == 3 &&
                    ggml.ggml_nelements(&weight) == 192 && ggml.ggml_is_contiguous(&weight),
                "a tensor's size");
    return {};
}

Status prove_node(const Made& made) {
    const Operations& ops = made.ggml.operations;
    const ggml_tensor& product = *made.product;
    RKNPU2_FACT(
        ops.of(made.weight) == Op::kNone && ops.of(&product) == Op::kMatMul && ops.of(made.view) == Op::kView,
        "a tensor's operation");
    RKNPU2_FACT(product.src[0] == made.weight && product.src[1] == made.activations &&
                    product.src[2] == nullptr && product.src[GGML_MAX_SRC - 1] == nullptr,
                "a tensor's sources");
    RKNPU2_FACT(made.view->view_src == made.activations && made.view->view_offs == 256, "a view");
    const int32_t before = product.flags;
    RKNPU2_FACT(before == 0 || before == GGML_TENSOR_FLAG_COMPUTE, "the flag of a node to compute");
    made.ggml.ggml_set_output(made.product);
    RKNPU2_FACT(product.flags == before + GGML_TENSOR_FLAG_OUTPUT, "the flag of an output");
    made.ggml.ggml_set_param(made.weight);
    RKNPU2_FACT(made.weight->flags == GGML_TENSOR_FLAG_PARAM, "the flag of a parameter");
    return {};
}

// The nodes lie behind the graph: so that is its size.
bool graph_fits(const ggml_cgraph* graph, const Abi& abi) {
    return reinterpret_cast<const std::byte*>(graph->nodes) ==
           reinterpret_cast<const std::byte*>(graph) + abi.graph();
}

// All of a graph is one piece of memory: where its counts of uses point is known before it is read.
bool counts_are_within(const ggml_cgraph* graph, size_t bytes) {
    const auto within = [&](const auto* first, size_t count) {
        const size_t offset = reinterpret_cast<uintptr_t>(first) - reinterpret_cast<uintptr_t>(graph);
        constexpr size_t kBytes = sizeof *first;  // NOLINT(bugprone-sizeof-expression): a pointer's, too
        return offset < bytes && count <= (bytes - offset) / kBytes;
    };
    const ggml_hash_set& set = graph->visited_hash_set;
    return knows_uses(graph) && within(graph->use_counts, set.size) && within(set.keys, set.size) &&
           within(set.used, (set.size + 31) / 32);
}

Status prove_graph(const Made& made) {
    const GgmlFunctions& ggml = made.ggml;
    const ggml_cgraph* const graph = made.graph;
    RKNPU2_FACT(graph->n_nodes == 2 && ggml.ggml_graph_n_nodes(made.graph) == 2 && graph->size > 2 &&
                    graph->n_leafs == 2,
                "a graph's count of nodes");
    RKNPU2_FACT(
        std::any_of(kAbis.begin(), kAbis.end(), [&](const Abi& abi) { return graph_fits(graph, abi); }),
        "the size of a graph");
    RKNPU2_FACT(graph->nodes[1] == made.product && ggml.ggml_graph_node(made.graph, 1) == made.product,
                "a graph's nodes");
    RKNPU2_FACT(counts_are_within(graph, ggml.ggml_graph_overhead()) && uses_of(graph, made.weight) == 1 &&
                    uses_of(graph, made.activations) == 2 && uses_of(graph, made.product) == 0,
                "a graph's counts of uses");
    const ggml_cgraph part = ggml.ggml_graph_view(made.graph, 1, 2);
    RKNPU2_FACT(part.n_nodes == 1 && part.nodes == graph->nodes + 1 && part.use_counts == graph->use_counts,
                "a view of a graph");
    return {};
}

Status prove_types(const GgmlFunctions& ggml) {
    for (const GgmlType& type : kGgmlTypes) {
        if (type.id >= kTypesOfOldest) continue;
        const auto id = static_cast<ggml_type>(type.id);
        const bool fits = traits_of(ggml, type.id) != nullptr &&
                          std::string(ggml.ggml_type_name(id)) == type.name &&
                          ggml.ggml_blck_size(id) == type.block && ggml.ggml_type_size(id) == type.bytes;
        if (!fits) return differs(format("type %u (%s)", type.id, type.name).c_str());
    }
    const ggml_type_traits* const f16 = ggml.ggml_get_type_traits(GGML_TYPE_F16);
    // Room for what another function in this place would read and write.
    const std::array<uint16_t, 32> half = {0x3c00};
    std::array<float, 16> one{};
    RKNPU2_FACT(is_in_a_library(reinterpret_cast<const void*>(f16->to_float)), "the conversion of a type");
    f16->to_float(half.data(), one.data(), 1);
    RKNPU2_FACT(one[0] == 1.0F, "the conversion of a type");
    return {};
}

void make_leaves(Made& made) {
    made.weight = made.ggml.ggml_new_tensor_2d(made.context.get(), GGML_TYPE_F16, 64, 3);
    made.activations = made.ggml.ggml_new_tensor_2d(made.context.get(), GGML_TYPE_F32, 64, 5);
    made.ggml.ggml_set_name(made.weight, long_name().c_str());
}

// A view of the activations' rows from the second one on, and the product.
void make_nodes(Made& made) {
    const GgmlFunctions& ggml = made.ggml;
    ggml_context* const context = made.context.get();
    made.view = ggml.ggml_view_2d(context, made.activations, 64, 2, 256, 256);
    made.product = ggml.ggml_mul_mat(context, made.weight, made.activations);
    made.graph = ggml.ggml_new_graph(context);
    ggml.ggml_build_forward_expand(made.graph, made.view);
    ggml.ggml_build_forward_expand(made.graph, made.product);
}

}  // namespace

Result<const Abi*> prove_abi(const GgmlFunctions& ggml) {
    RKNPU2_FACT(
        ggml.tensor_bytes >= sizeof(ggml_tensor) + kBehindName && ggml.tensor_bytes <= sizeof(HostTensor),
        "the size of a tensor");
    RKNPU2_RETURN_IF_ERROR(prove_types(ggml));
    Made made(ggml);
    if (made.context == nullptr) return Status(StatusCode::kOutOfMemory, "no memory for a ggml context");
    make_leaves(made);
    RKNPU2_RETURN_IF_ERROR(prove_shape(made));
    make_nodes(made);
    RKNPU2_RETURN_IF_ERROR(prove_node(made));
    RKNPU2_RETURN_IF_ERROR(prove_graph(made));
    Status last;
    for (const Abi& abi : kAbis) {
        if (!graph_fits(made.graph, abi)) continue;
        const char* const table = first_table_that_differs(ggml, abi, made.activations, made.graph);
        if (table == nullptr) return &abi;
        last = differs(table);
    }
    return last;
}

bool marks_wanted_nodes(const GgmlFunctions& ggml) {
    Made made(ggml);
    if (made.context == nullptr) return false;
    make_leaves(made);
    make_nodes(made);
    return made.product->flags == GGML_TENSOR_FLAG_COMPUTE;
}

}  // namespace rknpu2
