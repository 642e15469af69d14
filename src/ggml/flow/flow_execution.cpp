// SPDX-License-Identifier: MIT
#include "ggml/flow/flow_execution.hpp"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <utility>

#include "ggml/buffer/buffer.hpp"
#include "ggml/flow/cache_cells.hpp"
#include "ggml/flow/flow_attention.hpp"
#include "ggml/flow/flow_chunks.hpp"
#include "ggml/flow/rows_graph.hpp"
#include "ggml/host/graph_status.hpp"
#include "kernels/quantise.hpp"
#include "matmul/npu_device.hpp"
#include "plan/cost_model.hpp"

namespace rknpu2 {
namespace {

using Kind = FlowStage::Kind;

// What a thread works on at a time must stay in its second-level cache, of which a Cortex-A76 has 512 KiB.
constexpr size_t kBlockBytes = 384 * 1024;
constexpr size_t kMostBlockRows = 16;

size_t block_rows(size_t bytes_a_row) {
    const size_t fitting = kBlockBytes / std::max<size_t>(bytes_a_row, 1) / kRowGroup * kRowGroup;
    return std::clamp(fitting, kRowGroup, kMostBlockRows);
}

// A thread's own; null if there is no memory.
std::byte* block_memory(size_t bytes) {
    thread_local AlignedBuffer memory;
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): it does not see that the buffer outlives the call
    return memory.grow(std::max<size_t>(bytes, 1)).ok() ? memory.data() : nullptr;
}

// A flow that is computed.
class FlowExecution {
  public:
    FlowExecution(FlowTools& tools, const FlowPlan& plan, int64_t chunk_rows)
        : host_(tools.host),
          tools_(tools),
          plan_(plan),
          chunks_(cut_rows(plan, chunk_rows)),
          chunk_room_(std::ranges::max(chunks_, {}, &FlowChunk::count).count),
          skew_(static_cast<size_t>(skew_of_chunks(plan, chunks_.size()))),
          progress_(chunks_.size()),
          begun_(plan.stages.size()),
          packed_(plan.groups.size()),
          npu_(host_.npu->resources()),
          flow_(npu_),
          attention_(npu_, [this] { flow_.drop_failed(); }),
          waits_(chunks_, plan.stream_rows) {
        for (size_t place = 0; place < kPlaces; ++place)
            attentions_.emplace_back(host_, tools.one_thread_cpus, plan, flow_, attention_, place);
    }

    Status run(ggml_abort_callback abort, void* abort_data) {
        RKNPU2_RETURN_IF_ERROR(tools_.chunk_memory.grow(plan_.chunk_bytes * chunk_room_ * chunks_.size()));
        for (size_t i = 0; i < packed_.size(); ++i) {
            if (abort(abort_data)) return asked_to_stop();  // a first prompt packs the whole model here
            Status packed = pack_together(host_, plan_.groups[i], packed_[i]);
            // A weight that cannot be packed cannot be multiplied by one by one either: no want of the flow's.
            if (packed.code() == StatusCode::kUnsupported)
                packed = Status(StatusCode::kInvalidArgument, packed.message());
            RKNPU2_RETURN_IF_ERROR(packed);
        }
        for (const auto& group : packed_) {
            std::vector<const PackedWeight*> weights(group.size());
            std::ranges::transform(group, weights.begin(), [](const auto& weight) { return weight.get(); });
            flow_.add_group(weights);
        }
        flow_.add_contexts_of_others(contexts_of_attention(plan_, npu_.config));
        RKNPU2_RETURN_IF_ERROR(flow_.begin(chunks_));
        RKNPU2_RETURN_IF_ERROR(lead(abort, abort_data));
        copy_out();
        npu_.counters.flow_chunks += chunks_.size();
        return {};
    }

  private:
    struct Progress {
        size_t stage = 0;   // the next one
        bool busy = false;  // its group was submitted, or its attention begun
    };
    // A piece of the CPU's work: the next stage of a chunk, or a step of an attention that has begun.
    struct Turn {
        size_t chunk = SIZE_MAX;  // SIZE_MAX: there is none
        FlowAttention* attention = nullptr;
    };

    FlowBlock rows_of(size_t chunk) const {
        const auto first = static_cast<int64_t>(chunks_[chunk].m0);
        std::byte* const memory = tools_.chunk_memory.data() + chunk * chunk_room_ * plan_.chunk_bytes;
        return {first, static_cast<int64_t>(chunks_[chunk].count), memory, first,
                static_cast<int64_t>(chunk_room_)};
    }

    Status lead(ggml_abort_callback abort, void* abort_data) {
        while (true) {
            if (abort(abort_data)) return asked_to_stop();
            for (size_t done = RKNPU2_TAKE(flow_.next_done(false)); done != SIZE_MAX;
                 done = RKNPU2_TAKE(flow_.next_done(false)))
                came_back(done);
            RKNPU2_RETURN_IF_ERROR(submit_ready());
            const Turn turn = next_turn();
            if (turn.chunk != SIZE_MAX) {
                RKNPU2_RETURN_IF_ERROR(do_turn(turn));
            } else if (flow_.is_waiting() || std::ranges::any_of(attentions_, &FlowAttention::is_open)) {
                flow_.wait_for_any();
            } else {
                break;
            }
        }
        for (const Progress& progress : progress_)
            if (progress.stage != plan_.stages.size())
                return {StatusCode::kInternal, "chunks of rows wait for each other; please report the model"};
        return {};
    }

    void came_back(size_t chunk) {
        progress_[chunk].busy = false;
        ++progress_[chunk].stage;
    }

    // Chunks that wait for the NPU, as far as there is room; those ahead first.
    Status submit_ready() {
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            Progress& progress = progress_[chunk];
            const bool waits = !progress.busy && progress.stage < plan_.stages.size() &&
                               plan_.stages[progress.stage].kind == Kind::kGroup;
            if (!waits) continue;
            if (!flow_.has_room()) return {};
            const int group = plan_.stages[progress.stage - 1].group_after;
            RKNPU2_RETURN_IF_ERROR(flow_.submit(static_cast<size_t>(group), chunk));
            progress.busy = true;
        }
        return {};
    }

    // Have all chunks that its attention sees written their keys and values?
    bool may_begin(size_t chunk, const FlowStage& stage) {
        if (stage.after < 0) return true;
        const size_t last = waits_.last_seen(stage, chunk);
        return std::all_of(
            progress_.begin(), progress_.begin() + static_cast<std::ptrdiff_t>(last) + 1,
            [&](const Progress& other) { return other.stage > static_cast<size_t>(stage.after); });
    }

    // Stages are done in ascending order of this.
    size_t order_of(size_t chunk) const { return progress_[chunk].stage + skew_ * chunk; }

    // Where the attention of a chunk is computed: neighbours, and the last chunk of a layer and the first of the next,
    // have different places, whatever the time.
    size_t place_of(size_t chunk) const {
        const std::span before = std::span(plan_.stages).first(progress_[chunk].stage);
        const auto layers = static_cast<size_t>(std::ranges::count_if(before, &FlowStage::on_npu));
        return (layers * chunks_.size() + chunk) % kPlaces;
    }

    bool may_do(size_t chunk, const FlowStage& stage) {
        if (stage.kind == Kind::kGroup || progress_[chunk].busy || !may_begin(chunk, stage)) return false;
        if (!stage.on_npu()) return true;
        // In the order of the chunks, so that what is packed does not depend on the time.
        const auto begun = [&](const Progress& other) {
            return other.stage + (other.busy ? 1 : 0) > progress_[chunk].stage;
        };
        return (chunk == 0 || begun(progress_[chunk - 1])) && !attentions_[place_of(chunk)].is_open() &&
               flow_.may_begin_other_runs();
    }

    // The first in their order that need not wait.
    Turn next_turn() {
        Turn turn;
        const auto before = [&](size_t chunk) {
            return turn.chunk == SIZE_MAX || order_of(chunk) < order_of(turn.chunk);
        };
        for (FlowAttention& attention : attentions_)
            if (attention.may_step() && before(attention.chunk())) turn = {attention.chunk(), &attention};
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            const size_t at = progress_[chunk].stage;
            if (at < plan_.stages.size() && before(chunk) && may_do(chunk, plan_.stages[at])) turn = {chunk};
        }
        return turn;
    }

    Status do_turn(const Turn& turn) {
        Progress& progress = progress_[turn.chunk];
        const FlowStage& stage = plan_.stages[progress.stage];
        if (turn.attention != nullptr) {
            if (!RKNPU2_TAKE(turn.attention->step())) came_back(turn.chunk);
            return {};
        }
        if (stage.on_npu()) {
            progress.busy = true;
            return attentions_[place_of(turn.chunk)].begin(progress.stage, turn.chunk, rows_of(turn.chunk),
                                                           packed_.front().front()->domain());
        }
        RKNPU2_RETURN_IF_ERROR(stage.kind == Kind::kAttention ? attend_by_cpu(stage, turn.chunk)
                                                              : pass(stage, turn.chunk));
        ++progress.stage;
        return {};
    }

    Status attend_by_cpu(const FlowStage& stage, size_t chunk) {
        RowsGraph graph(host_.ggml, plan_, stage);
        FlowBlock rows = rows_of(chunk);
        const int64_t end = rows.first + rows.count;
        for (; rows.first < end; rows.first += rows.count) {
            const int64_t left_of_stream = plan_.stream_rows - rows.first % plan_.stream_rows;
            rows.count = std::min(end - rows.first, left_of_stream);
            ggml_cgraph* const shown = graph.show(rows);
            const PhaseTimer timer(*host_.counters, Phase::kCpu);
            const NodeDecision decision{.attention = stage.attention};
            RKNPU2_RETURN_IF_ERROR(status_of_cpu(tools_.cpu.compute(shown, 0, shown->n_nodes, {&decision, 1}),
                                                 stage.nodes[0].node));
        }
        return {};
    }

    // Clears what all chunks will write, before the first one does.
    void clear_cells(const FlowStage& stage) {
        for (const ggml_tensor* const writer : stage.cache_writers) {
            npu_.pool.parallel_for(chunks_.size(), [&](size_t chunk) {
                clear_cache_cells(host_.ggml, writer, static_cast<int64_t>(chunks_[chunk].m0),
                                  static_cast<int64_t>(chunks_[chunk].count));
            });
        }
    }

    Status pass(const FlowStage& stage, size_t chunk) {
        const bool first = std::exchange(begun_[progress_[chunk].stage], 1) == 0;
        if (first) clear_cells(stage);
        if (stage.group_after >= 0) flow_.prepare(static_cast<size_t>(stage.group_after), chunk);
        std::atomic<size_t> next{0};
        npu_.pool.parallel_for(npu_.cpu_team(), [&](size_t) { pass_blocks(stage, chunk, next); });
        if (stage.group_before >= 0) flow_.used(chunk);
        if (failure_ == StatusCode::kOutOfMemory)
            return {StatusCode::kOutOfMemory, "no memory for the rows that a thread computes at a time"};
        return failure_ == StatusCode::kOk ? Status()
                                           : status_of_cpu(GGML_STATUS_FAILED, stage.nodes[0].node);
    }

    // What one thread does of a pass.
    void pass_blocks(const FlowStage& stage, size_t chunk, std::atomic<size_t>& next) {
        const size_t room = block_rows(stage.block_bytes);
        FlowBlock block = rows_of(chunk);
        block.block = block_memory(room * stage.block_bytes);
        block.block_room = static_cast<int64_t>(room);
        const bool computes = block.block != nullptr && !stage.nodes.empty();
        const ggml_backend_t backend = computes ? tools_.one_thread_cpus.take() : nullptr;
        if (block.block == nullptr || (computes && backend == nullptr)) {
            failure_ = StatusCode::kOutOfMemory;
            return;
        }
        RowsGraph graph(host_.ggml, plan_, stage);
        const FlowChunk& rows = chunks_[chunk];
        for (size_t first = room * next++; first < rows.count && failure_ == StatusCode::kOk;
             first = room * next++) {
            block.first = static_cast<int64_t>(rows.m0 + first);
            block.count = static_cast<int64_t>(std::min(room, rows.count - first));
            pass_block(stage, chunk, block, graph, backend);
        }
        if (backend != nullptr) tools_.one_thread_cpus.give_back(backend);
    }

    void pass_block(const FlowStage& stage, size_t chunk, const FlowBlock& block, RowsGraph& graph,
                    ggml_backend_t backend) {
        const auto first = static_cast<size_t>(block.first) - chunks_[chunk].m0;
        const auto count = static_cast<size_t>(block.count);
        const auto floats_of = [&](const ggml_tensor* tensor) {
            return reinterpret_cast<float*>(rows_at(plan_, tensor, 1, block));
        };
        if (stage.group_before >= 0) {
            const auto group = static_cast<size_t>(stage.group_before);
            thread_local std::vector<FloatRows> outputs;
            outputs.clear();
            for (const ggml_tensor* const matmul : plan_.groups[group])
                outputs.push_back({floats_of(matmul), static_cast<size_t>(matmul->ne[0])});
            flow_.results(group, chunk, first, count, outputs);
        }
        if (ggml_cgraph* const shown = graph.show(block); shown != nullptr) {
            const PhaseTimer timer(*host_.counters, Phase::kCpu);
            if (host_.ggml.ggml_backend_graph_compute(backend, shown) != GGML_STATUS_SUCCESS)
                failure_ = StatusCode::kInternal;
        }
        if (stage.group_after >= 0) {
            const ggml_tensor* const activations = plan_.activations_of(stage.group_after);
            flow_.quantise(static_cast<size_t>(stage.group_after), chunk, first, count,
                           floats_of(activations), static_cast<size_t>(activations->ne[0]));
        }
    }

    // Results that could not be written to the graph's memory while other chunks were on their way.
    void copy_out() {
        for (const ggml_tensor* const tensor : plan_.copied_out) {
            const FlowTensor& at = plan_.tensors.at(tensor);
            for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
                const FlowBlock rows = rows_of(chunk);
                std::memcpy(
                    static_cast<std::byte*>(tensor->data) + static_cast<size_t>(rows.first) * at.row_bytes,
                    rows_at(plan_, tensor, at.dim, rows), static_cast<size_t>(rows.count) * at.row_bytes);
            }
        }
    }

    Host& host_;
    FlowTools& tools_;
    const FlowPlan& plan_;
    const std::vector<FlowChunk> chunks_;
    const size_t chunk_room_;  // rows that each chunk's memory is for
    const size_t skew_;        // stages that a chunk is to be ahead of the next
    std::vector<Progress> progress_;
    std::vector<char> begun_;  // by stage: some chunk has begun it
    // Held for this run only, since their buffer may be freed before the next graph comes. Let go after the
    // flow, since giving one back takes the device.
    std::vector<std::vector<std::shared_ptr<const PackedWeight>>> packed_;
    NpuResources& npu_;
    NpuFlow flow_;
    NpuAttention attention_;
    std::deque<FlowAttention> attentions_;  // by place
    FlowWaits waits_;
    std::atomic<StatusCode> failure_{StatusCode::kOk};  // of a pass
};

void note_short_chunks(FlowTools& tools, const Status& failure) {
    tools.has_short_chunks = true;
    if (tools.host.counters->flows_shortened++ == 0)
        log(LogLevel::kWarning, "prompts flow through layers in short chunks, which is slower: %s",
            failure.to_string().c_str());
}

// Multiplications one by one need fewer work areas and contexts, and so does attention. Counted, and one line for each
// kind of want.
Status do_without(Counters& counters, const Status& failure) {
    const bool memory = failure.code() == StatusCode::kOutOfMemory;
    if ((memory ? counters.flows_without_memory : counters.flows_without_contexts)++ == 0) {
        log(LogLevel::kWarning,
            "some prompts do not flow through layers: %s; they are computed one operation after the other, "
            "which "
            "is slower%s",
            failure.to_string().c_str(), memory ? "; a smaller -ub may help" : "");
    }
    return {StatusCode::kUnsupported, "not enough to flow"};
}

}  // namespace

Status run_flow(FlowTools& tools, const FlowPlan& plan, ggml_abort_callback abort, void* abort_data) {
    Counters& counters = *tools.host.counters;
    const auto run = [&](int64_t chunk_rows) -> Status {
        try {
            return FlowExecution(tools, plan, chunk_rows).run(abort, abort_data);
        } catch (const std::bad_alloc&) {
            return {StatusCode::kOutOfMemory, "no memory for the rows of a flow"};
        }
    };
    const int64_t wished = tools.has_short_chunks ? kFlowChunkRows : best_chunk_rows(tools.host, plan);
    Status status = run(wished);
    if (status.code() == StatusCode::kOutOfMemory && wished > kFlowChunkRows) {
        const Status failure = std::move(status);
        {
            NpuResources& npu = tools.host.npu->resources();
            const std::lock_guard owns(npu.mutex);
            npu.drop_all();  // the long chunks' areas
        }
        status = run(kFlowChunkRows);
        if (status.ok()) note_short_chunks(tools, failure);
    }
    if (status.code() == StatusCode::kOutOfMemory || status.code() == StatusCode::kUnsupported)
        return do_without(counters, status);
    if (!status.ok()) return status;
    for (const FlowStage& stage : plan.stages) {
        if (stage.on_npu()) {
            note_computed(tools.host, stage.nodes[0].node);
            ++counters.attention.nodes;
            ++counters.attention.nodes_of_flows;
        } else if (stage.kind == Kind::kAttention) {
            counters.add_attention_on_cpu(stage.attention);
        }
    }
    counters.flow_nodes += static_cast<uint64_t>(plan.last - plan.first);
    for (const auto& group : plan.groups)
        counters.flow_matmuls += group.size();
    ++counters.flows;
    return {};
}

}  // namespace rknpu2
