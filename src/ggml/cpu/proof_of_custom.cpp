// SPDX-License-Identifier: MIT
#include "ggml/cpu/proof_of_custom.hpp"

#include <array>
#include <atomic>
#include <cstring>
#include <memory>

#include "base/format.hpp"
#include "ggml/cpu/hand_over.hpp"
#include "ggml/host/graph_status.hpp"

namespace rknpu2 {
namespace {

Status differs(const char* fact) {
    return {StatusCode::kUnsupported, format("functions as nodes: %s", fact)};
}

// How one node's function was called.
struct Calls {
    const ggml_tensor* node = nullptr;
    const Calls* before = nullptr;  // of the node before this one
    std::array<std::atomic<int>, GGML_MAX_N_THREADS> by_thread{};
    std::atomic<int> calls{0}, threads{0};
    std::atomic<bool> unexpected{false};

    bool are_right() const { return !unexpected && calls > 0 && calls == threads; }
};

void note(ggml_tensor* node, int ith, int nth, void* userdata) {
    HandOver::take();
    Calls& calls = *static_cast<Calls*>(userdata);
    ++calls.calls;
    int known = 0;
    const bool fits = node == calls.node && nth > 0 && nth <= GGML_MAX_N_THREADS && ith >= 0 && ith < nth &&
                      (calls.threads.compare_exchange_strong(known, nth) || known == nth) &&
                      (calls.before == nullptr || calls.before->calls == nth);
    if (!fits || calls.by_thread[static_cast<size_t>(ith)]++ != 0) calls.unexpected = true;
    HandOver::give_back();
}

bool has_parameters(const ggml_tensor* node, const Calls& calls) {
    ggml_custom_op_params parameters;
    static_assert(sizeof parameters <= sizeof node->op_params);
    std::memcpy(&parameters, node->op_params, sizeof parameters);
    return parameters.fun == note && parameters.n_tasks == GGML_N_TASKS_MAX && parameters.userdata == &calls;
}

}  // namespace

Status prove_custom_nodes(const GgmlFunctions& ggml, ggml_backend_t backend) {
    if (ggml.ggml_custom_4d == nullptr) return differs("no function ggml_custom_4d");
    const std::unique_ptr<ggml_context, decltype(&::ggml_free)> context(
        ggml.ggml_init({8 * ggml.ggml_tensor_overhead() + ggml.ggml_graph_overhead(), nullptr, true}),
        ggml.ggml_free);
    if (context == nullptr) return {StatusCode::kOutOfMemory, "no memory for a ggml context"};
    const auto calls = std::make_unique<std::array<Calls, 2>>();
    ggml_tensor* source = ggml.ggml_new_tensor_2d(context.get(), GGML_TYPE_F32, 3, 2);
    for (Calls& these : *calls) {
        ggml_tensor* const node = ggml.ggml_custom_4d(context.get(), GGML_TYPE_F32, 3, 2, 1, 1, &source, 1,
                                                      note, GGML_N_TASKS_MAX, &these);
        if (ggml.op(node) != Op::kCustom || node->src[0] != source || node->ne[0] != 3 || node->ne[1] != 2)
            return differs("a node");
        if (!has_parameters(node, these)) return differs("a node's parameters");
        these.node = source = node;
    }
    calls->back().before = calls->data();
    ggml_cgraph* const graph = ggml.ggml_new_graph(context.get());
    ggml.ggml_build_forward_expand(graph, source);
    HandOver::give();
    const ggml_status status = ggml.ggml_backend_graph_compute(backend, graph);
    HandOver::take_back();
    if (status == GGML_STATUS_ABORTED) return asked_to_stop();
    if (status == GGML_STATUS_ALLOC_FAILED) return Status::no_memory();
    if (status != GGML_STATUS_SUCCESS) return differs("the CPU backend does not compute them");
    const bool right =
        (*calls)[0].are_right() && (*calls)[1].are_right() && (*calls)[0].threads == (*calls)[1].threads;
    return right ? Status() : differs("the CPU backend calls them in another way");
}

}  // namespace rknpu2
