// ggml's backend object: takes a graph, multiplies by stored weights on the NPU, gives the rest to the inner
// CPU backend.
#include <algorithm>
#include <memory>
#include <span>

#include "base/format.hpp"
#include "ggml/buffer.hpp"
#include "ggml/checksums.hpp"
#include "ggml/experts.hpp"
#include "ggml/flow_run.hpp"
#include "ggml/graph_order.hpp"
#include "ggml/guard.hpp"
#include "ggml/inner_cpu.hpp"
#include "ggml/input_version.hpp"
#include "ggml/matmul_group.hpp"
#include "ggml/plugin.hpp"
#include "ggml/problem_from_tensor.hpp"
#include "ggml/sensitivity.hpp"
#include "ggml/weights_ahead.hpp"
#include "matmul/cost_model.hpp"
#include "matmul/support.hpp"

namespace rknpu2 {
namespace {

ggml_guid kGuid = {0x72, 0x6b, 0x6e, 0x70, 0x75, 0x32, 0x2d, 0x67,
                   0x67, 0x6d, 0x6c, 0x2d, 0x33, 0x35, 0x38, 0x38};

struct Backend {
    explicit Backend(Host& owner)
        : host(owner),
          cpu(owner),
          one_thread_cpus(owner),
          inputs(owner),
          group(owner, one_thread_cpus),
          experts(owner),
          flow(owner, cpu, one_thread_cpus) {}

    Host& host;
    InnerCpu cpu;
    OneThreadCpus one_thread_cpus;
    InputVersion inputs;
    MatmulGroup group;
    ExpertsProduct experts;
    FlowRun flow;
    int no_flow_before = 0;  // of the running graph: nodes that have been found to be no flow
    ggml_abort_callback abort = nullptr;
    void* abort_data = nullptr;
    bool computed = false;                   // an idle backend writes nothing
    const ggml_tensor* one_plane = nullptr;  // a weight whose activations go without their second plane
    ggml_backend object{};
};

Backend& of(ggml_backend_t backend) {
    return *static_cast<Backend*>(backend->context);
}

const char* get_name(ggml_backend_t) noexcept {
    return kDeviceName;
}

void free_backend(ggml_backend_t backend) noexcept {
    Backend* const ours = &of(backend);
    guard(ours->host, "freeing a backend", false, [&] {
        if (ours->computed) write_statistics();
        delete ours;
        return true;
    });
}

// A buffer that a failed write left half written must not take part in anything.
const ggml_tensor* poisoned_tensor(const Host& host, const ggml_tensor* node) {
    for (const ggml_tensor* const source : node->src) {
        if (source == nullptr) continue;
        const Buffer* const buffer = our_buffer(host, source->buffer);
        if (buffer != nullptr && buffer->poisoned) return source;
    }
    return nullptr;
}

// What a node run by the CPU writes: its own tensor and, for optimiser steps, the parameters and moments it
// updates in place.
void note_writes(const Host& host, const ggml_tensor* node) {
    note_write(host, node);
    if (node->op != GGML_OP_OPT_STEP_ADAMW && node->op != GGML_OP_OPT_STEP_SGD) return;
    for (const ggml_tensor* const source : node->src) {
        if (source != nullptr) note_write(host, source);
    }
}

// A matmul that the CPU computes: it cannot be done here, or it is not worth it.
void count_on_cpu(Host& host, const ggml_tensor* node) {
    const Reason reason = support(describe(host, node));
    if (reason == Reason::kSupported && node->op == GGML_OP_MUL_MAT) {
        ++host.statistics->matrices_on_cpu;
    } else if (reason == Reason::kSupported) {
        host.statistics->add_placement(ExpertsProduct::place(host, node));
    } else {
        host.statistics->add_refusal(reason);
    }
}

// Can `node` be computed? Notes what it writes.
ggml_status prepare(Backend& backend, const ggml_tensor* node) {
    if (const ggml_tensor* const bad = poisoned_tensor(backend.host, node); bad != nullptr) {
        log(LogLevel::kError, "%s: an earlier write to its buffer failed; load the model again", bad->name);
        return GGML_STATUS_FAILED;
    }
    note_writes(backend.host, node);
    backend.inputs.note_write(node);
    return GGML_STATUS_SUCCESS;
}

ggml_status run_on_cpu(Backend& backend, ggml_cgraph* graph, int first, int last) {
    Host& host = backend.host;
    const PhaseTimer timer(*host.statistics, Phase::kCpu);
    ++host.statistics->cpu_segments;
    for (int i = first; i < last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (is_no_op(node)) continue;
        if (prepare(backend, node) != GGML_STATUS_SUCCESS) return GGML_STATUS_FAILED;
        ++host.statistics->cpu_nodes;
        if (is_matmul(node)) count_on_cpu(host, node);
    }
    return backend.cpu.compute(graph, first, last);
}

// Nodes that are computed together: multiplications by the same activations, or several that choose among
// experts alike.
ggml_status run_on_npu(Backend& backend, std::span<ggml_tensor* const> nodes) {
    Host& host = backend.host;
    for (const ggml_tensor* const node : nodes)
        if (prepare(backend, node) != GGML_STATUS_SUCCESS) return GGML_STATUS_FAILED;
    const ggml_tensor* const node = nodes[0];
    const ggml_tensor* const gate = node->op == GGML_OP_MUL_MAT_ID ? nullptr : backend.group.gate();
    if (gate != nullptr && prepare(backend, gate) != GGML_STATUS_SUCCESS) return GGML_STATUS_FAILED;
    const Status status = node->op == GGML_OP_MUL_MAT_ID
                              ? backend.experts.multiply(nodes)
                              : backend.group.multiply(backend.inputs, backend.one_plane);
    if (status.ok()) {
        if (host.checksums != nullptr && backend.one_plane == nullptr) host.checksums->add(nodes, gate);
        return GGML_STATUS_SUCCESS;
    }
    ++host.statistics->failures;
    const size_t others = nodes.size() - 1;
    log(LogLevel::kError, "%s with %s (%s)%s: %s", host.ggml.ggml_op_name(node->op), node->src[0]->name,
        host.ggml.ggml_type_name(node->src[0]->type),
        others == 0 ? "" : format(" and %zu more by the same activations", others).c_str(),
        status.to_string().c_str());
    return status.code() == StatusCode::kOutOfMemory ? GGML_STATUS_ALLOC_FAILED : GGML_STATUS_FAILED;
}

bool runs_on_npu(Host& host, const ggml_tensor* node) {
    if (multiplies_on_npu(host, node)) return true;
    return node->op == GGML_OP_MUL_MAT_ID && support(describe(host, node)) == Reason::kSupported &&
           ExpertsProduct::place(host, node).place == Place::kNpu;
}

// One past the last of the nodes from `first` on that choose alike and are computed together.
int end_of_experts(const Backend& backend, const ggml_cgraph* graph, int first) {
    Host& host = backend.host;
    host.statistics->add_placement(ExpertsProduct::place(host, graph->nodes[first]));
    int last = first + 1;
    while (host.config.fuse && last < graph->n_nodes &&
           ExpertsProduct::together(graph->nodes[first], graph->nodes[last]) &&
           runs_on_npu(host, graph->nodes[last])) {
        host.statistics->add_placement(ExpertsProduct::place(host, graph->nodes[last]));
        ++last;
    }
    return last;
}

// The first multiplication for the NPU from node `first` on; the number of nodes if there is none.
int next_npu_matmul(const Host& host, const ggml_cgraph* graph, int first) {
    int i = first;
    while (i < graph->n_nodes && !multiplies_on_npu(host, graph->nodes[i]))
        ++i;
    return i;
}

bool may_flow(const Backend& backend, int first) {
    const Host& host = backend.host;
    return first >= backend.no_flow_before && host.config.fuse && host.calibration == nullptr &&
           host.sensitivity == nullptr && host.checksums == nullptr && NpuFlow::possible(host.config);
}

// Computes nodes from `first` on with their rows in chunks, if they are of that kind. Returns the first that
// is not done then.
int run_flow(Backend& backend, ggml_cgraph* graph, int first, ggml_status& status) {
    Host& host = backend.host;
    const int matmul = next_npu_matmul(host, graph, first);
    const int64_t rows = matmul < graph->n_nodes ? graph->nodes[matmul]->ne[1] : 0;
    // A stretch has the rows of its first multiplication.
    backend.no_flow_before = matmul + 1;
    if (rows < kFewestFlowRows) return first;
    const FlowPlan plan = plan_flow(host, graph, first, rows);
    backend.no_flow_before = std::max(plan.last, first + 1);
    if (!plan.worth_it()) return first;
    for (int i = first; i < plan.last; ++i) {
        if (is_no_op(graph->nodes[i])) continue;
        status = prepare(backend, graph->nodes[i]);
        if (status != GGML_STATUS_SUCCESS) return first;
    }
    const Status result = backend.flow.run(plan, backend.abort, backend.abort_data);
    if (result.ok()) return plan.last;
    if (result.code() == StatusCode::kUnsupported) return first;
    status = result.code() == StatusCode::kAborted       ? GGML_STATUS_ABORTED
             : result.code() == StatusCode::kOutOfMemory ? GGML_STATUS_ALLOC_FAILED
                                                         : GGML_STATUS_FAILED;
    if (status == GGML_STATUS_ABORTED) return first;
    ++host.statistics->failures;
    log(LogLevel::kError, "%s and the %d operations after it, in chunks of rows: %s",
        graph->nodes[first]->name, plan.nodes() - 1, result.to_string().c_str());
    return first;
}

// Runs of other nodes between two matmuls go to the CPU as one graph.
ggml_status compute(Backend& backend, ggml_cgraph* graph) {
    Host& host = backend.host;
    ++host.statistics->graphs;
    backend.computed = true;
    backend.inputs.begin_graph();
    backend.no_flow_before = 0;
    load_weights_ahead(host, graph, backend.group, backend.abort, backend.abort_data);
    int i = 0;
    while (i < graph->n_nodes) {
        if (backend.abort != nullptr && backend.abort(backend.abort_data)) return GGML_STATUS_ABORTED;
        ggml_tensor* const node = graph->nodes[i];
        ggml_status status = GGML_STATUS_SUCCESS;
        if (!is_no_op(node) && may_flow(backend, i)) {
            const int last = run_flow(backend, graph, i, status);
            if (status != GGML_STATUS_SUCCESS) return status;
            if (last > i) {
                i = last;
                continue;
            }
        }
        if (is_no_op(node)) {
            ++i;
        } else if (runs_on_npu(host, node)) {
            if (node->op == GGML_OP_MUL_MAT_ID) {
                const int last = end_of_experts(backend, graph, i);
                status = run_on_npu(backend, {graph->nodes + i, graph->nodes + last});
                i = last;
            } else {
                i = backend.group.collect(graph, i);
                status = run_on_npu(backend, backend.group.nodes());
            }
        } else {
            int last = i + 1;
            while (last < graph->n_nodes && !runs_on_npu(host, graph->nodes[last]))
                ++last;
            status = run_on_cpu(backend, graph, i, last);
            i = last;
        }
        if (status != GGML_STATUS_SUCCESS) return status;
    }
    return GGML_STATUS_SUCCESS;
}

ggml_status graph_compute(ggml_backend_t backend, ggml_cgraph* graph) noexcept {
    Backend& ours = of(backend);
    Host& host = ours.host;
    return guard(host, "computing a graph", GGML_STATUS_FAILED, [&] {
        if (host.sensitivity == nullptr) return compute(ours, graph);
        return host.sensitivity->run(
            host, graph, [&](const ggml_tensor* node) { return multiplies_on_npu(host, node); },
            [&](const ggml_tensor* one_plane) {
                ours.one_plane = one_plane;
                return compute(ours, graph);
            });
    });
}

void graph_optimize(ggml_backend_t backend, ggml_cgraph* graph,
                    ggml_backend_graph_optimize_params*) noexcept {
    Host& host = of(backend).host;
    if (!host.config.fuse || host.config.precision == Precision::kReference) return;
    guard(host, "ordering a graph", false, [&] {
        // The same order for any number of rows: ggml gives memory to results by their places in it.
        bring_together(graph, [&](const ggml_tensor* node) { return can_multiply_on_npu(host, node); });
        return true;
    });
}

}  // namespace

ggml_backend_t new_backend(Host& host) {
    auto backend = std::make_unique<Backend>(host);
    backend->object.guid = &kGuid;
    backend->object.iface.get_name = get_name;
    backend->object.iface.free = free_backend;
    backend->object.iface.graph_compute = graph_compute;
    backend->object.iface.graph_optimize = graph_optimize;
    backend->object.device = &host.device;
    backend->object.context = backend.get();
    return &backend.release()->object;
}

void backend_set_n_threads(ggml_backend_t backend, int n_threads) noexcept {
    of(backend).cpu.set_threads(n_threads);
}

void backend_set_abort_callback(ggml_backend_t backend, ggml_abort_callback callback, void* data) noexcept {
    of(backend).abort = callback;
    of(backend).abort_data = data;
    of(backend).cpu.set_abort_callback(callback, data);
}

}  // namespace rknpu2
