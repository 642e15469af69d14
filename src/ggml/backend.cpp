// SPDX-License-Identifier: MIT
// ggml's backend object: takes a graph, multiplies by stored weights on the NPU, gives the rest to the inner
// CPU backend.
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/diagnostics/checksums.hpp"
#include "ggml/diagnostics/sensitivity.hpp"
#include "ggml/flow/flow_execution.hpp"
#include "ggml/graph/experts.hpp"
#include "ggml/graph/graph_plan.hpp"
#include "ggml/graph/matmul_group.hpp"
#include "ggml/graph/order.hpp"
#include "ggml/graph/weights_ahead.hpp"
#include "ggml/host/graph_status.hpp"
#include "ggml/host/guard.hpp"
#include "ggml/host/process_end.hpp"
#include "ggml/node/access.hpp"
#include "ggml/node/describe.hpp"
#include "ggml/plugin.hpp"

namespace rknpu2 {
namespace {

ggml_guid kGuid = {0x72, 0x6b, 0x6e, 0x70, 0x75, 0x32, 0x2d, 0x67,
                   0x67, 0x6d, 0x6c, 0x2d, 0x33, 0x35, 0x38, 0x38};

struct Backend {
    explicit Backend(Host& owner)
        : host(owner),
          cpu(owner),
          one_thread_cpus(owner),
          group(owner, one_thread_cpus),
          experts(owner),
          flow(owner, cpu, one_thread_cpus) {}

    Host& host;
    InnerCpu cpu;
    OneThreadCpus one_thread_cpus;
    MatmulGroup group;
    ExpertsMultiplication experts;
    FlowExecution flow;
    GraphPlan plan;        // of the running graph
    bool failed = false;   // one of its steps has, and the log says which
    uint64_t version = 0;  // of the activations that the last group has read (Activations::version)
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
        if (ours->computed) write_files();
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

// Can the nodes of a step be computed? What was derived from bytes that they write is dropped.
Status prepare(const Backend& backend, const Step& step) {
    for (int i = step.first; i < step.last; ++i) {
        const ggml_tensor* const node = backend.plan.graph->nodes[i];
        if (is_no_op(node)) continue;
        if (const ggml_tensor* const bad = poisoned_tensor(backend.host, node); bad != nullptr) {
            return {StatusCode::kInvalidArgument,
                    format("%s: an earlier write to its buffer failed; load the model again", bad->name)};
        }
        for_each_written(node, [&](const ggml_tensor* tensor) { note_write(backend.host, tensor); });
    }
    return {};
}

// A matmul that the CPU computes: it cannot be done here, or it is not worth it.
void count_on_cpu(Host& host, const ggml_tensor* node, const NodeDecision& decision) {
    if (decision.reason != Reason::kSupported) {
        host.counters->add_refusal(decision.reason);
    } else if (node->op == GGML_OP_MUL_MAT) {
        ++host.counters->matrices_on_cpu;
    } else {
        host.counters->add_choice(decision.choice);
    }
}

Status run_on_cpu(Backend& backend, ggml_cgraph* graph, const Step& step) {
    Host& host = backend.host;
    const PhaseTimer timer(*host.counters, Phase::kCpu);
    ++host.counters->cpu_segments;
    for (int i = step.first; i < step.last; ++i) {
        const ggml_tensor* const node = graph->nodes[i];
        if (is_no_op(node)) continue;
        ++host.counters->cpu_nodes;
        if (is_matmul(node)) count_on_cpu(host, node, backend.plan.decisions[static_cast<size_t>(i)]);
    }
    return status_of_cpu(backend.cpu.compute(graph, step.first, step.last, backend.plan.decisions),
                         graph->nodes[step.first]);
}

Status run_group(Backend& backend, const Step& step) {
    Host& host = backend.host;
    const std::span<const PlannedMatmul> members = backend.plan.members_of(step);
    if (!step.same_activations) backend.version = host.npu->new_version();
    const uint64_t version = host.config.fuse ? backend.version : 0;
    RKNPU2_RETURN_IF_ERROR(backend.group.multiply({members, step.gate, version, backend.one_plane}));
    if (host.checksums != nullptr && backend.one_plane == nullptr) host.checksums->add(members, step.gate);
    return {};
}

Status run_experts(Backend& backend, const Step& step) {
    Host& host = backend.host;
    const std::span<const PlannedMatmul> members = backend.plan.members_of(step);
    for (const PlannedMatmul& member : members)
        host.counters->add_choice(member.decision->choice);
    RKNPU2_RETURN_IF_ERROR(backend.experts.multiply(members));
    if (host.checksums != nullptr && backend.one_plane == nullptr) host.checksums->add(members, nullptr);
    return {};
}

Status run_steps(Backend& backend, ggml_cgraph* graph, std::span<const Step> steps);

// A ggml_abort_callback: does the host want us to stop, or does the process end?
bool must_stop(void* ours) {
    const Backend& backend = *static_cast<const Backend*>(ours);
    return process_is_ending() || (backend.abort != nullptr && backend.abort(backend.abort_data));
}

Status run_flow(Backend& backend, ggml_cgraph* graph, const Step& step) {
    Status status = backend.flow.run(backend.plan.flows[step.flow], must_stop, &backend);
    if (status.code() == StatusCode::kUnsupported)
        return run_steps(backend, graph, steps_without_flow(backend.host, step, backend.plan));
    return status;
}

Status run_step(Backend& backend, ggml_cgraph* graph, const Step& step) {
    RKNPU2_RETURN_IF_ERROR(prepare(backend, step));
    switch (step.kind) {
        case Step::Kind::kCpu:
            return run_on_cpu(backend, graph, step);
        case Step::Kind::kGroup:
            return run_group(backend, step);
        case Step::Kind::kExperts:
            return run_experts(backend, step);
        case Step::Kind::kFlow:
            return run_flow(backend, graph, step);
    }
    return {StatusCode::kInternal, "a step of no kind"};
}

// One line, with what the step computes. Such as "MUL_MAT with blk.0.attn_q.weight (q4_0) and 2 more by the
// same activations: the NPU did not answer".
void log_failure(const Backend& backend, const Step& step, const Status& status) {
    const GgmlFunctions& ggml = backend.host.ggml;
    const char* const first = backend.plan.graph->nodes[step.first]->name;
    const int others = step.last - step.first - 1;
    const std::string why = status.to_string();
    if (step.kind == Step::Kind::kFlow) {
        log(LogLevel::kError, "%s and the %d operations after it, in chunks of rows: %s", first, others,
            why.c_str());
    } else if (step.kind == Step::Kind::kCpu) {
        log(LogLevel::kError, "%s and the %d operations after it: %s", first, others, why.c_str());
    } else {
        const std::span<const PlannedMatmul> members = backend.plan.members_of(step);
        const ggml_tensor* const node = members.front().node;
        const size_t more = members.size() - 1;
        log(LogLevel::kError, "%s with %s (%s)%s: %s", ggml.ggml_op_name(node->op), node->src[0]->name,
            ggml.ggml_type_name(node->src[0]->type),
            more == 0 ? "" : format(" and %zu more by the same activations", more).c_str(), why.c_str());
    }
}

Status run_steps(Backend& backend, ggml_cgraph* graph, std::span<const Step> steps) {
    for (const Step& step : steps) {
        if (must_stop(&backend)) return {StatusCode::kAborted, "the host asked to stop"};
        Status status = run_step(backend, graph, step);
        if (status.ok()) continue;
        // The steps that take the place of a flow are inside of its step.
        if (status.code() != StatusCode::kAborted && !std::exchange(backend.failed, true)) {
            ++backend.host.counters->failures;
            log_failure(backend, step, status);
        }
        return status;
    }
    return {};
}

ggml_status compute(Backend& backend, ggml_cgraph* graph) {
    Host& host = backend.host;
    ++host.counters->graphs;
    backend.computed = true;
    backend.failed = false;
    load_weights_ahead(host, backend.plan, must_stop, &backend);
    return ggml_status_of(run_steps(backend, graph, backend.plan.steps));
}

ggml_status graph_compute(ggml_backend_t backend, ggml_cgraph* graph) noexcept {
    Backend& ours = of(backend);
    Host& host = ours.host;
    const Computing computing;
    if (process_is_ending()) return GGML_STATUS_ABORTED;
    return guard(host, "computing a graph", GGML_STATUS_FAILED, [&] {
        {
            const PhaseTimer timer(*host.counters, Phase::kPlan);
            plan_graph(host, graph, ours.plan);
        }
        if (host.sensitivity == nullptr) return compute(ours, graph);
        return host.sensitivity->run(host, ours.plan, [&](const ggml_tensor* one_plane) {
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
        bring_together(host.ggml, graph,
                       [&](const ggml_tensor* node) { return can_multiply_on_npu(host, node); });
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
