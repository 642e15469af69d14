// SPDX-License-Identifier: MIT
// ggml's backend object: takes a graph, multiplies by stored weights on the NPU, gives the rest to the inner
// CPU backend.
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "base/format.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/cpu/attention_on_npu.hpp"
#include "ggml/cpu/gated_epilogue.hpp"
#include "ggml/cpu/measure_rates.hpp"
#include "ggml/diagnostics/checksums.hpp"
#include "ggml/diagnostics/sensitivity.hpp"
#include "ggml/flow/flow_execution.hpp"
#include "ggml/graph/experts.hpp"
#include "ggml/graph/order.hpp"
#include "ggml/graph/placement.hpp"
#include "ggml/graph/weights_ahead.hpp"
#include "ggml/host/graph_status.hpp"
#include "ggml/host/guard.hpp"
#include "ggml/host/process_end.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"

namespace rknpu2 {
namespace {

ggml_guid kGuid = {0x72, 0x6b, 0x6e, 0x70, 0x75, 0x32, 0x2d, 0x67,
                   0x67, 0x6d, 0x6c, 0x2d, 0x33, 0x35, 0x38, 0x38};

struct Backend;

// The object that the host sees, laid out as the host has it, and where to find ours behind it.
struct Handle {
    ggml_backend object;
    Backend* ours;
};

struct Backend {
    explicit Backend(Host& owner)
        : host(owner),
          cpu(owner, must_stop, this),
          one_thread_cpus(owner),
          flow_tools{owner, cpu, one_thread_cpus} {}

    // A ggml_abort_callback: does the host want us to stop, or does the process end?
    static bool must_stop(void* backend) {
        const Backend& ours = *static_cast<const Backend*>(backend);
        return process_is_ending() || (ours.abort != nullptr && ours.abort(ours.abort_data));
    }

    Host& host;
    ggml_abort_callback abort = nullptr;  // the host's, or null
    void* abort_data = nullptr;
    InnerCpu cpu;
    OneThreadCpus one_thread_cpus;
    FlowTools flow_tools;
    ExpertsMemory experts_memory;
    GraphPlan plan;                          // of the running graph
    bool failed = false;                     // one of its steps has, and the log says which
    uint64_t version = 0;                    // of what the last group has read (Activations::version)
    bool computed = false;                   // an idle backend writes nothing
    const ggml_tensor* one_plane = nullptr;  // a weight whose activations go without their second plane
    Handle handle{};
};

Backend& of(ggml_backend_t backend) {
    return *reinterpret_cast<Handle*>(backend)->ours;
}

void free_backend(ggml_backend_t backend) noexcept {
    Backend* const ours = &of(backend);
    guard(ours->host, "freeing a backend", false, [&] {
        if (ours->computed) write_files();
        const std::shared_ptr<NpuDevice> npu = ours->host.npu;
        delete ours;
        if (npu != nullptr) npu->drop_if_idle();
        return true;
    });
}

// Drops what was derived from bytes that the nodes write.
void note_writes(const Backend& backend, const Step& step) {
    for (int i = step.first; i < step.last; ++i) {
        const ggml_tensor* const node = backend.plan.graph->nodes[i];
        if (!backend.host.ggml.computes(node)) continue;
        for_each_written(backend.host.ggml, node,
                         [&](const ggml_tensor* tensor) { note_write(backend.host, tensor); });
    }
}

// Fails if a node of the step reads a buffer that a failed write has left half written; notes the step's writes.
Status prepare(const Backend& backend, const Step& step) {
    for (int i = step.first; i < step.last; ++i) {
        const ggml_tensor* const node = backend.plan.graph->nodes[i];
        if (!backend.host.ggml.computes(node)) continue;
        for (const ggml_tensor* const source : node->src) {
            const Buffer* const buffer =
                source != nullptr ? our_buffer(backend.host, source->buffer) : nullptr;
            if (buffer == nullptr || !buffer->poisoned) continue;
            return {StatusCode::kInvalidArgument,
                    format("%s: an earlier write to its buffer failed; load the model again", source->name)};
        }
    }
    note_writes(backend, step);
    return {};
}

// A matmul that the CPU computes: the NPU cannot, or it is not worth it.
void count_on_cpu(Host& host, const ggml_tensor* node, const NodeDecision& decision) {
    if (decision.reason != Reason::kSupported) {
        host.counters->add_refusal(decision.reason);
    } else if (host.ggml.op(node) == Op::kMatMul) {
        ++host.counters->matrices_on_cpu;
    } else {
        host.counters->add_choice(decision.choice);
    }
}

Status run_on_cpu(Backend& backend, const Step& step) {
    Host& host = backend.host;
    const PhaseTimer timer(*host.counters, Phase::kCpu);
    ++host.counters->cpu_segments;
    ggml_cgraph* const graph = backend.plan.graph;
    const std::span<const NodeDecision> decisions = backend.plan.decisions_of(step);
    for (size_t i = 0; i < decisions.size(); ++i) {
        const ggml_tensor* const node = graph->nodes[step.first + static_cast<int>(i)];
        const Op op = host.ggml.op(node);
        if (decisions[i].target == Target::kNone) continue;
        ++host.counters->cpu_nodes;
        if (is_matmul(op)) count_on_cpu(host, node, decisions[i]);
        if (op == Op::kFlashAttention) host.counters->add_attention_on_cpu(decisions[i].attention);
    }
    const ggml_status status = backend.cpu.compute(graph, step.first, step.last, decisions);
    // The step may have copied a weight before one of its later nodes wrote it.
    note_writes(backend, step);
    return status_of_cpu(status, graph->nodes[step.first]);
}

void record(const Backend& backend, const Step& step) {
    Checksums* const checksums = backend.host.checksums;
    if (checksums != nullptr && backend.one_plane == nullptr) checksums->add(step.members, step.gate);
}

// Packs what is not packed, and multiplies.
Status multiply(Backend& backend, Nodes matmuls, const Activations& input, Epilogue* epilogue) {
    Host& host = backend.host;
    const auto out_of = [](const ggml_tensor* matmul) { return static_cast<float*>(matmul->data); };
    if (host.config.precision == Precision::kReference)  // one at a time
        return host.npu->multiply_reference(weight_source(host, matmuls[0]), input.data, input.M,
                                            out_of(matmuls[0]));
    // Held for this call only: their buffer may be freed before the next graph comes.
    std::vector<std::shared_ptr<const PackedWeight>> weights;
    Status packed = pack_together(host, matmuls, weights);
    if (packed.ok()) {
        std::vector<NpuDevice::Product> products;
        for (size_t i = 0; i < weights.size(); ++i) {
            const size_t planes = matmuls[i]->src[0] == backend.one_plane ? 1 : 0;
            products.push_back({weights[i].get(), out_of(matmuls[i]), planes});
        }
        return host.npu->multiply(products, input, epilogue);
    }
    if (!host.npu->does_without_packing(packed)) return packed;
    std::vector<NpuDevice::StoredProduct> products;
    for (const ggml_tensor* const matmul : matmuls)
        products.push_back({weight_source(host, matmul), out_of(matmul)});
    return host.npu->multiply_stored(products, {input.data, input.M, 0}, epilogue);
}

Status run_group(Backend& backend, const Step& step) {
    Host& host = backend.host;
    const ggml_tensor* const first = step.members.front();
    if (!step.same_activations) backend.version = host.npu->new_version();
    const Activations input{static_cast<const float*>(first->src[1]->data),
                            static_cast<size_t>(host.ggml.ggml_nrows(first->src[1])),
                            host.config.fuse ? backend.version : 0};
    for (const ggml_tensor* const matmul : step.members) {
        if (host.calibration == nullptr) break;
        host.calibration->add(weight_source(host, matmul), input.data, input.M,
                              gives_output(host.ggml, backend.plan.graph, matmul));
    }
    std::optional<GatedEpilogue> gate;
    if (step.gate != nullptr) gate.emplace(host, backend.one_thread_cpus, step.gate, first);
    RKNPU2_RETURN_IF_ERROR(multiply(backend, step.members, input, gate ? &*gate : nullptr));
    if (gate) {
        ++host.counters->fused_nodes;
        RKNPU2_RETURN_IF_ERROR(gate->status());
    }
    record(backend, step);
    return {};
}

Status run_experts(Backend& backend, const Step& step) {
    for (const NodeDecision& decision : backend.plan.decisions_of(step))
        backend.host.counters->add_choice(decision.choice);
    RKNPU2_RETURN_IF_ERROR(
        multiply_experts(backend.host, backend.experts_memory, step.members, Backend::must_stop, &backend));
    record(backend, step);
    return {};
}

Status run_attention(Backend& backend, const Step& step) {
    Host& host = backend.host;
    if (RKNPU2_TAKE(
            attend_alone(host, backend.one_thread_cpus, step.members.front(), Backend::must_stop, &backend)))
        return {};
    const PhaseTimer timer(*host.counters, Phase::kCpu);
    return status_of_cpu(backend.cpu.compute(backend.plan.graph, step.first, step.last),
                         step.members.front());
}

Status run_steps(Backend& backend, std::span<const Step> steps);

Status run_flow_step(Backend& backend, const Step& step) {
    Status status = run_flow(backend.flow_tools, *step.flow, Backend::must_stop, &backend);
    if (status.code() != StatusCode::kUnsupported) return status;
    return run_steps(backend, steps_without_flow(backend.host, step, backend.plan));
}

Status run_step(Backend& backend, const Step& step) {
    RKNPU2_RETURN_IF_ERROR(prepare(backend, step));
    switch (step.kind) {
        case Step::Kind::kCpu:
            return run_on_cpu(backend, step);
        case Step::Kind::kGroup:
            return run_group(backend, step);
        case Step::Kind::kExperts:
            return run_experts(backend, step);
        case Step::Kind::kAttention:
            return run_attention(backend, step);
        case Step::Kind::kFlow:
            return run_flow_step(backend, step);
    }
    return {StatusCode::kInternal, "a step of no kind"};
}

// One line, with what the step computes. Such as "MUL_MAT with blk.0.attn_q.weight (q4_0) and 2 more by the
// same activations: the NPU did not answer".
void log_failure(const Backend& backend, const Step& step, const Status& status) {
    const GgmlFunctions& ggml = backend.host.ggml;
    const std::string why = status.to_string();
    if (step.members.empty()) {
        log(LogLevel::kError, "%s and the %d operations after it%s: %s",
            backend.plan.graph->nodes[step.first]->name, step.last - step.first - 1,
            step.flow ? ", in chunks of rows" : "", why.c_str());
        return;
    }
    const ggml_tensor* const node = step.members.front();
    const size_t more = step.members.size() - 1;
    log(LogLevel::kError, "%s with %s (%s)%s: %s", ggml.ggml_op_name(node->op), node->src[0]->name,
        ggml.ggml_type_name(node->src[0]->type),
        more == 0 ? "" : format(" and %zu more by the same activations", more).c_str(), why.c_str());
}

Status run_steps(Backend& backend, std::span<const Step> steps) {
    for (const Step& step : steps) {
        if (Backend::must_stop(&backend)) return asked_to_stop();
        Status status = run_step(backend, step);
        if (status.ok()) continue;
        // Not twice for a flow whose nodes are computed one by one: its steps are inside of its own.
        if (status.code() != StatusCode::kAborted && !std::exchange(backend.failed, true)) {
            ++backend.host.counters->failures;
            log_failure(backend, step, status);
        }
        return status;
    }
    return {};
}

ggml_status compute(Backend& backend) {
    Host& host = backend.host;
    ++host.counters->graphs;
    backend.computed = true;
    backend.failed = false;
    host.counters->prompt_matmuls += backend.plan.prompt_products;
    for (const FlowStop& stop : backend.plan.stops) {
        const ggml_tensor* const node = backend.plan.graph->nodes[stop.node];
        host.counters->add_flow_stop(format("%s, %s", host.ggml.ggml_op_name(node->op), stop.text()));
    }
    load_weights_ahead(host, backend.plan, Backend::must_stop, &backend);
    Status status = run_steps(backend, backend.plan.steps);
    if (status.ok() && backend.plan.first_time)
        status = prepare_for_tokens(host, backend.plan.graph, backend.plan.decisions, Backend::must_stop,
                                    &backend);
    return ggml_status_of(status);
}

ggml_status graph_compute(ggml_backend_t backend, ggml_cgraph* graph) noexcept {
    Backend& ours = of(backend);
    Host& host = ours.host;
    const Computing computing;
    if (process_is_ending()) return GGML_STATUS_ABORTED;
    return guard(host, "computing a graph", GGML_STATUS_FAILED, [&] {
        choose_rates_of(host, ours.cpu);
        {
            const PhaseTimer timer(*host.counters, Phase::kPlan);
            plan_graph(host, graph, ours.plan);
        }
        if (host.sensitivity == nullptr) return compute(ours);
        return host.sensitivity->run(host, ours.plan, [&](const ggml_tensor* one_plane) {
            ours.one_plane = one_plane;
            return compute(ours);
        });
    });
}

void graph_optimize(ggml_backend_t backend, ggml_cgraph* graph,
                    ggml_backend_graph_optimize_params*) noexcept {
    Host& host = of(backend).host;
    if (!host.config.fuse || host.config.precision == Precision::kReference) return;
    guard(host, "ordering a graph", false, [&] {
        // An order that does not depend on the number of rows: ggml gives memory to results by it.
        bring_together(host.ggml, graph,
                       [&](const ggml_tensor* node) { return can_multiply_on_npu(host, node); });
        return true;
    });
}

}  // namespace

ggml_backend_t new_backend(Host& host) {
    auto backend = std::make_unique<Backend>(host);
    ggml_backend object{};
    object.guid = &kGuid;
    object.iface.get_name = [](ggml_backend_t) noexcept { return kDeviceName; };
    object.iface.free = free_backend;
    object.iface.graph_compute = graph_compute;
    object.iface.graph_optimize = graph_optimize;
    object.device = &host.device;
    object.context = backend.get();
    host.abi->write_backend(object, &backend->handle.object);
    backend->handle.ours = backend.get();
    host.cpu_layouts();  // before our watch of the end, or at the end the list would be gone before we stop
    watch_the_end();
    return &backend.release()->handle.object;
}

void backend_set_n_threads(ggml_backend_t backend, int n_threads) noexcept {
    of(backend).cpu.set_threads(n_threads);
}

void backend_set_abort_callback(ggml_backend_t backend, ggml_abort_callback callback, void* data) noexcept {
    of(backend).abort = callback;
    of(backend).abort_data = data;
}

}  // namespace rknpu2
