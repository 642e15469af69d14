// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_execution.hpp"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/log.hpp"
#include "ggml/buffer/pack_together.hpp"
#include "ggml/flow/cache_cells.hpp"
#include "ggml/host/graph_status.hpp"
#include "kernels/quantise.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

using Kind = FlowStage::Kind;
using PackedWeights = std::vector<std::shared_ptr<const PackedWeight>>;

// What a thread works on at a time stays in its second-level cache, of which a Cortex-A76 has 512 KiB.
constexpr size_t kBlockBytes = 384 * 1024;
constexpr size_t kMostBlockRows = 16;

size_t block_rows(size_t bytes_a_row) {
    const size_t fitting = kBlockBytes / std::max<size_t>(bytes_a_row, 1) / kRowGroup * kRowGroup;
    return std::clamp(fitting, kRowGroup, kMostBlockRows);
}

static_assert(2 * kFlowChunkRows - 1 <= static_cast<int64_t>(kMaxFlowRows));

// All of kFlowChunkRows, and what is left with the last one.
std::vector<FlowChunk> cut_rows(int64_t rows) {
    const auto size = static_cast<size_t>(kFlowChunkRows);
    std::vector<FlowChunk> chunks(static_cast<size_t>(rows) / size);
    for (size_t c = 0; c < chunks.size(); ++c)
        chunks[c] = {c * size, size};
    chunks.back().count = static_cast<size_t>(rows) - chunks.back().m0;
    return chunks;
}

// A thread's own; null if there is no memory.
std::byte* block_memory(size_t bytes) {
    thread_local AlignedBuffer memory;
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that the buffer outlives the call
    return memory.grow(std::max<size_t>(bytes, 1)).ok() ? memory.data() : nullptr;
}

}  // namespace

Status FlowExecution::run(const FlowPlan& plan, ggml_abort_callback abort, void* abort_data) {
    plan_ = &plan;
    Status status;
    try {
        status = begin_and_lead(abort, abort_data);
    } catch (const std::bad_alloc&) {
        status = {StatusCode::kOutOfMemory, "no memory for the rows of a flow"};
    }
    if (status.ok()) {
        host_.counters->flow_nodes += static_cast<uint64_t>(plan.nodes());
        ++host_.counters->flows;
    }
    const bool without =
        status.code() == StatusCode::kOutOfMemory || status.code() == StatusCode::kUnsupported;
    return without ? do_without(status) : status;
}

Status FlowExecution::begin_and_lead(ggml_abort_callback abort, void* abort_data) {
    chunks_ = cut_rows(plan_->rows);
    chunk_room_ = chunks_.back().count;
    progress_.assign(chunks_.size(), {});
    begun_.assign(plan_->stages.size(), 0);
    failure_ = Failure::kNone;
    RKNPU2_RETURN_IF_ERROR(memory_.grow(plan_->chunk_bytes * chunk_room_ * chunks_.size()));
    // Held no longer than the call, since their buffer may be freed before the next graph comes, and let go
    // after the flow, since giving one back takes the device.
    std::vector<PackedWeights> packed(plan_->products.size());
    for (size_t i = 0; i < packed.size(); ++i)
        RKNPU2_RETURN_IF_ERROR(pack_together(host_, plan_->products[i], packed[i]));
    NpuFlow flow(host_.npu->resources());
    flow_ = &flow;
    for (const PackedWeights& product : packed) {
        std::vector<const PackedWeight*> weights;
        for (const auto& weight : product)
            weights.push_back(weight.get());
        flow.add_product(weights);
    }
    RKNPU2_RETURN_IF_ERROR(flow.begin(chunks_));
    FlowWaits waits(chunks_);
    waits_ = &waits;
    RKNPU2_RETURN_IF_ERROR(lead(abort, abort_data));
    copy_out();
    return {};
}

// Multiplications one by one need fewer work areas and contexts. Counted, and one line for each kind of want.
Status FlowExecution::do_without(const Status& failure) {
    const bool memory = failure.code() == StatusCode::kOutOfMemory;
    std::atomic<uint64_t>& counter =
        memory ? host_.counters->flows_without_memory : host_.counters->flows_without_contexts;
    if (counter++ == 0) {
        log(LogLevel::kWarning,
            "prompts do not flow through layers: %s; they are computed one operation after the other, which "
            "is slower%s",
            failure.to_string().c_str(), memory ? "; a smaller -ub may help" : "");
    }
    return {StatusCode::kUnsupported, "not enough to flow"};
}

FlowBlock FlowExecution::rows_of(size_t chunk) const {
    FlowBlock rows;
    rows.first = rows.chunk_first = static_cast<int64_t>(chunks_[chunk].m0);
    rows.count = static_cast<int64_t>(chunks_[chunk].count);
    rows.chunk = memory_.data() + chunk * chunk_room_ * plan_->chunk_bytes;
    rows.chunk_room = static_cast<int64_t>(chunk_room_);
    return rows;
}

Status FlowExecution::lead(ggml_abort_callback abort, void* abort_data) {
    while (true) {
        if (abort != nullptr && abort(abort_data)) return {StatusCode::kAborted, "the host asked to stop"};
        RKNPU2_RETURN_IF_ERROR(submit_ready());
        const size_t chunk = next_for_cpu();
        const bool wait = chunk == SIZE_MAX;
        if (wait && !flow_->is_waiting()) return all_done();
        // Chunks that have come back are looked at before the CPU is given something else.
        const Result<size_t> done = flow_->next_done(wait);
        RKNPU2_RETURN_IF_ERROR(done.status());
        if (done.value() != SIZE_MAX) {
            Progress& progress = progress_[done.value()];
            progress.in_lane = false;
            ++progress.stage;
        } else if (!wait) {
            RKNPU2_RETURN_IF_ERROR(compute(chunk));
        }
    }
}

Status FlowExecution::all_done() const {
    const bool done = std::all_of(progress_.begin(), progress_.end(), [&](const Progress& progress) {
        return progress.stage == plan_->stages.size();
    });
    if (done) return {};
    return {StatusCode::kInternal, "chunks of rows wait for each other; please report the model"};
}

// Chunks that wait for the NPU, as far as there is room; those ahead first.
Status FlowExecution::submit_ready() {
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
        Progress& progress = progress_[chunk];
        const bool waits = !progress.in_lane && progress.stage < plan_->stages.size() &&
                           plan_->stages[progress.stage].kind == Kind::kProduct;
        if (!waits) continue;
        if (!flow_->has_room()) return {};
        const int product = plan_->stages[progress.stage - 1].product_after;
        RKNPU2_RETURN_IF_ERROR(flow_->submit(static_cast<size_t>(product), chunk));
        progress.in_lane = true;
    }
    return {};
}

// Have all chunks that its attention sees written their keys and values?
bool FlowExecution::may_begin(size_t chunk, const FlowStage& stage) {
    if (stage.after < 0) return true;
    const size_t last = waits_->last_seen(stage)[chunk];
    return std::all_of(progress_.begin(), progress_.begin() + static_cast<std::ptrdiff_t>(last) + 1,
                       [&](const Progress& other) { return other.stage > static_cast<size_t>(stage.after); });
}

// The chunk whose next stage is the CPU's turn; SIZE_MAX: none.
size_t FlowExecution::next_for_cpu() {
    size_t best = SIZE_MAX;
    size_t best_order = SIZE_MAX;
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
        const size_t at = progress_[chunk].stage;
        const size_t order = at + static_cast<size_t>(kFlowSkew) * chunk;
        if (order >= best_order || at >= plan_->stages.size()) continue;
        const FlowStage& stage = plan_->stages[at];
        if (stage.kind == Kind::kProduct || !may_begin(chunk, stage)) continue;
        best = chunk;
        best_order = order;
    }
    return best;
}

Status FlowExecution::compute(size_t chunk) {
    const FlowStage& stage = plan_->stages[progress_[chunk].stage];
    RKNPU2_RETURN_IF_ERROR(stage.kind == Kind::kAttention ? attention(stage, chunk) : pass(stage, chunk));
    ++progress_[chunk].stage;
    return {};
}

Status FlowExecution::attention(const FlowStage& stage, size_t chunk) {
    const PhaseTimer timer(*host_.counters, Phase::kCpu);
    RowsGraph graph(*plan_, stage);
    ggml_cgraph* const shown = graph.show(rows_of(chunk));
    return status_of_cpu(cpu_.compute(shown, 0, shown->n_nodes), stage.nodes[0].node);
}

// Before the first chunk writes there, all rows that any chunk will write.
void FlowExecution::clear_cells_of(const FlowStage& stage) {
    for (const ggml_tensor* const writer : stage.cache_writers) {
        const auto clear = [&](size_t chunk) {
            clear_cache_cells(host_.ggml, writer, static_cast<int64_t>(chunks_[chunk].m0),
                              static_cast<int64_t>(chunks_[chunk].count));
        };
        host_.npu->resources().pool.parallel_for(chunks_.size(), clear);
    }
}

Status FlowExecution::pass(const FlowStage& stage, size_t chunk) {
    char& begun = begun_[progress_[chunk].stage];
    if (begun == 0) clear_cells_of(stage);
    begun = 1;
    if (stage.product_after >= 0) flow_->prepare(static_cast<size_t>(stage.product_after), chunk);
    std::atomic<size_t> next{0};
    NpuResources& npu = host_.npu->resources();
    npu.pool.parallel_for(npu.cpu_team(), [&](size_t) { pass_blocks(stage, chunk, next); });
    if (stage.product_before >= 0) flow_->used(chunk);
    if (failure_ == Failure::kNone) return {};
    if (failure_ == Failure::kMemory)
        return {StatusCode::kOutOfMemory, "no memory for the rows that a thread computes at a time"};
    return status_of_cpu(GGML_STATUS_FAILED, stage.nodes[0].node);
}

// What one thread does of a pass.
void FlowExecution::pass_blocks(const FlowStage& stage, size_t chunk, std::atomic<size_t>& next) {
    const size_t room = block_rows(stage.block_bytes);
    FlowBlock block = rows_of(chunk);
    block.block = block_memory(room * stage.block_bytes);
    block.block_room = static_cast<int64_t>(room);
    const bool computes = block.block != nullptr && !stage.nodes.empty();
    const ggml_backend_t backend = computes ? one_thread_cpus_.take() : nullptr;
    if (block.block == nullptr || (computes && backend == nullptr)) {
        failure_ = Failure::kMemory;
        return;
    }
    RowsGraph graph(*plan_, stage);
    const size_t rows = chunks_[chunk].count;
    for (size_t first = room * next++; first < rows && failure_ == Failure::kNone; first = room * next++) {
        block.first = static_cast<int64_t>(chunks_[chunk].m0 + first);
        block.count = static_cast<int64_t>(std::min(room, rows - first));
        pass_block(stage, chunk, block, graph, backend);
    }
    if (backend != nullptr) one_thread_cpus_.give_back(backend);
}

void FlowExecution::pass_block(const FlowStage& stage, size_t chunk, const FlowBlock& block, RowsGraph& graph,
                               ggml_backend_t backend) {
    const auto first = static_cast<size_t>(block.first) - chunks_[chunk].m0;
    const auto count = static_cast<size_t>(block.count);
    const auto floats_of = [&](const ggml_tensor* tensor) {
        return reinterpret_cast<float*>(rows_at(*plan_, tensor, 1, block));
    };
    if (stage.product_before >= 0) {
        const auto product = static_cast<size_t>(stage.product_before);
        thread_local std::vector<FloatRows> outputs;
        outputs.clear();
        for (const PlannedMatmul& matmul : plan_->products[product])
            outputs.push_back({floats_of(matmul.node), static_cast<size_t>(matmul.node->ne[0])});
        flow_->results(product, chunk, first, count, outputs);
    }
    if (ggml_cgraph* const shown = graph.show(block); shown != nullptr) {
        const PhaseTimer timer(*host_.counters, Phase::kCpu);
        if (host_.ggml.ggml_backend_graph_compute(backend, shown) != GGML_STATUS_SUCCESS)
            failure_ = Failure::kCpuBackend;
    }
    if (stage.product_after >= 0) {
        const auto product = static_cast<size_t>(stage.product_after);
        const ggml_tensor* const activations = plan_->activations_of(stage.product_after);
        flow_->quantise(product, chunk, first, count, floats_of(activations),
                        static_cast<size_t>(activations->ne[0]));
    }
}

// Results that could not be written to the graph's memory while other chunks were on their way.
void FlowExecution::copy_out() {
    for (const ggml_tensor* const tensor : plan_->copied_out) {
        const FlowTensor& at = plan_->tensors.at(tensor);
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            const FlowBlock rows = rows_of(chunk);
            std::byte* const to =
                static_cast<std::byte*>(tensor->data) + static_cast<size_t>(rows.first) * at.row_bytes;
            std::memcpy(to, rows_at(*plan_, tensor, at.dim, rows),
                        static_cast<size_t>(rows.count) * at.row_bytes);
        }
    }
}

}  // namespace rknpu2
