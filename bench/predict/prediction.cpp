// SPDX-License-Identifier: MIT
#include "predict/prediction.hpp"

#include <algorithm>
#include <map>
#include <string_view>

#include "predict/attention.hpp"
#include "predict/matrices.hpp"

namespace rknpu2 {
namespace {

// Makes the operations of a graph, with what each waits for: stages times chunks of rows.
//
//   kPlain        every stage waits for the one before it; within a block, chunk after chunk
//   kTogether     a chunk's stage waits for its stage before; a block waits for all of the block before
//   kFlow         a chunk's stage waits for its stage before, and attention for keys and values of all earlier
//                 chunks as well
//
// A block begins where chunks that do not flow have to wait for each other: at every multiplication and every
// pass of its own. Ready operations of the CPU run in the order of layer and stage. Each chunk counts as the
// design's skew of stages behind the one before it, so that one chunk's attention meets another's
// multiplications. Jobs for the NPU are submitted in the order of their chunks.
class Builder {
  public:
    Builder(const Setting& setting, const Rows& rows)
        : setting_(setting),
          way_(setting.matrices == MatricesOn::kCpu ? Way::kTogether : way_of(setting.design, rows.count)),
          graph_(rows),
          positions_(static_cast<int64_t>(positions_of(setting, kFullLayer, rows))),
          places_(places_of(setting, rows)) {
        cut();
        skew_ = setting.chunk_skew(rows.count, positions_, chunks_.size());
        done_.resize(chunks_.size());
        if (way_ == Way::kFlow) counts_ = {.flows = 1, .flow_chunks = chunks_.size()};
        attend();
    }

    void add(int64_t layer) {
        // By chunk; those of all chunks are alike but for their costs.
        std::vector<std::vector<Stage>> stages;
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            Stage attention;
            const bool on_npu = layer >= 0 && layer < setting_.model.layers && attends_on_npu(layer);
            if (on_npu) {
                attention = npu_attention(setting_, layer, chunks_[chunk], graph_,
                                          packed_[static_cast<size_t>(layer) * chunks_.size() + chunk]);
            }
            stages.push_back(
                stages_of(setting_, way_, layer, chunks_[chunk], on_npu ? &attention : nullptr, places_));
        }
        const size_t count = stages.front().size();
        for (size_t begin = 0; begin < count;) {
            size_t end = begin + 1;
            while (end < count && !stages.front()[end].block_begins)
                ++end;
            add_block(stages, begin, end);
            begin = end;
        }
        stage_ += static_cast<int64_t>(count);
    }

    // The head: of the last rows, after everything.
    void add_head(int64_t rows) {
        done_ = {everything_so_far()};
        chunks_ = {{graph_.first + graph_.count - rows, rows}};
        way_ = setting_.design == Design::kPlain ? Way::kPlain : Way::kTogether;
        add(setting_.model.layers);
    }

    std::vector<Operation> take() {
        operations_.front().counts += counts_;
        return std::move(operations_);
    }

  private:
    static constexpr int64_t kFullLayer = -1;

    void cut() {
        const int64_t most =
            way_ == Way::kTogether ? graph_.count : setting_.chunk_rows(graph_.count, positions_);
        for (int64_t row = 0; row < graph_.count;) {
            const int64_t left = graph_.count - row;
            const int64_t count = way_ == Way::kFlow ? next_chunk_rows(left, most) : std::min(left, most);
            chunks_.push_back({graph_.first + row, count});
            row += count;
        }
    }

    // Layers of a window see fewer positions than others.
    bool attends_on_npu(int64_t layer) const {
        return setting_.attends_on_npu(graph_.count,
                                       static_cast<int64_t>(positions_of(setting_, layer, graph_)));
    }

    // What each attention of the NPU has to pack, in the order in which they are to come.
    void attend() {
        const auto chunks = static_cast<int64_t>(chunks_.size());
        const int64_t stages_of_layer = static_cast<int64_t>(stages_of(setting_, way_, 0, graph_).size());
        std::vector<std::pair<int64_t, int64_t>> order;
        for (int64_t i = 0; i < setting_.model.layers * chunks; ++i)
            if (attends_on_npu(i / chunks))
                order.emplace_back(i / chunks * stages_of_layer + i % chunks * skew_, i);
        std::ranges::sort(order);
        packed_.resize(static_cast<size_t>(setting_.model.layers * chunks));
        counts_.attentions = order.size() / chunks_.size();
        KvBlocks blocks(setting_.model, setting_.engine);
        for (const auto& [at, i] : order) {
            const Rows& rows = chunks_[static_cast<size_t>(i % chunks)];
            packed_[static_cast<size_t>(i)] =
                blocks.pack(i / chunks, seen_parts(setting_, i / chunks, rows, graph_),
                            static_cast<size_t>(i % setting_.engine.attentions));
        }
    }

    std::vector<size_t> everything_so_far() const {
        std::vector<size_t> all;
        for (const std::vector<size_t>& chunk : done_)
            all.insert(all.end(), chunk.begin(), chunk.end());
        std::sort(all.begin(), all.end());
        all.erase(std::unique(all.begin(), all.end()), all.end());
        return all;
    }

    void add_block(std::vector<std::vector<Stage>>& stages, size_t begin, size_t end) {
        if (way_ != Way::kFlow) std::fill(done_.begin(), done_.end(), everything_so_far());
        const std::vector<std::vector<size_t>> before = done_;
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            for (size_t earlier = 0; stages[chunk][begin].causal && earlier < chunk; ++earlier)
                done_[chunk].insert(done_[chunk].end(), before[earlier].begin(), before[earlier].end());
            for (size_t stage = begin; stage < end; ++stage)
                add_stage(stages[chunk][stage], chunk, stage_ + static_cast<int64_t>(stage));
        }
    }

    void add_stage(Stage& stage, size_t chunk, int64_t number) {
        std::vector<size_t> after = done_[chunk];
        if (way_ == Way::kPlain && !last_.empty()) after = last_;
        const size_t first = operations_.size();
        std::vector<bool> waited_for(stage.operations.size(), false);
        const bool job = way_ == Way::kFlow && stage.operations.front().on_npu();
        for (Operation& operation : stage.operations) {
            for (size_t& earlier : operation.after) {
                waited_for[earlier] = true;
                earlier += first;
            }
            if (operation.after.empty()) operation.after = after;
            if (*operation.phase == 0) operation.phase = stage.phase;
            if (job) operation.job = jobs_;
            if (way_ == Way::kFlow && stage.takes_results) operation.job = job_of_chunk_[chunk];
            if (operation.order == 0) {
                operation.order = operation.on_npu() ? static_cast<int64_t>(chunk)
                                                     : number + skew_ * static_cast<int64_t>(chunk);
            }
            operations_.push_back(std::move(operation));
        }
        if (job) job_of_chunk_[chunk] = jobs_++;
        last_.clear();
        for (size_t i = 0; i < waited_for.size(); ++i)
            if (!waited_for[i]) last_.push_back(first + i);
        done_[chunk] = last_;
    }

    const Setting& setting_;
    Way way_;
    const Rows graph_;
    const int64_t positions_;
    int64_t skew_ = 0;
    const Places places_;
    std::vector<Rows> chunks_;
    std::vector<PackedBlocks> packed_;       // by layer and chunk
    std::vector<std::vector<size_t>> done_;  // by chunk: what its next stage waits for
    std::vector<size_t> last_;               // likewise, of the stage that was added last
    std::map<size_t, int64_t> job_of_chunk_;
    int64_t jobs_ = 0;
    int64_t stage_ = 0;
    Counts counts_;  // of the graph
    std::vector<Operation> operations_;
};

// `head_rows`: the last ones, of which the output head is computed.
std::vector<Operation> operations_of(const Setting& setting, const Rows& rows, int64_t head_rows) {
    Builder builder(setting, rows);
    for (int64_t layer = -1; layer < setting.model.layers; ++layer)
        builder.add(layer);
    if (head_rows > 0) builder.add_head(head_rows);
    return builder.take();
}

// Adds graphs up, one after the other.
class Pass {
  public:
    explicit Pass(const Setting& setting)
        : setting_(setting), machine_{setting.board.dram_gbps,        setting.board.cpu_threads,
                                      setting.board.cpu_beside_npu,   setting.engine.jobs_in_lane,
                                      setting.engine.slots,           setting.engine.attentions,
                                      setting.engine.passes_meanwhile} {}

    void add(const Rows& rows, int64_t head_rows) {
        const std::vector<Operation> operations = operations_of(setting_, rows, head_rows);
        const Schedule schedule = make_schedule(operations, machine_);
        for (size_t i = 0; i < operations.size(); ++i) {
            account(operations[i], schedule.spans[i], &PhaseTime::busy_ns);
            result_.counts += operations[i].counts;
        }
        for (const size_t i : critical_path(schedule))
            account(operations[i], schedule.spans[i], &PhaseTime::critical_ns);
        const double slice = schedule.elapsed_ns / kSlices;
        for (int i = 0; i < kSlices; ++i) {
            slices_.push_back({elapsed_, elapsed_ + slice,
                               utilisation(operations, schedule, machine_, slice * i, slice * (i + 1))});
            elapsed_ += slice;
        }
        rows_ += rows.count;
    }

    PassResult take() {
        result_.seconds = elapsed_ * 1e-9;
        result_.tokens_per_second = static_cast<double>(rows_) / result_.seconds;
        result_.whole = between(0, elapsed_);
        result_.steady = between(elapsed_ / 4, elapsed_ * 3 / 4);
        return std::move(result_);
    }

  private:
    static constexpr int kSlices = 16;  // of a graph
    struct Slice {
        double from_ns, to_ns;
        Utilisation busy;
    };

    void account(const Operation& operation, const Span& span, double PhaseTime::*sum) {
        // Cores work side by side; on the critical path there is one of them.
        const double share = operation.on_npu() && sum == &PhaseTime::busy_ns ? 1.0 / kNpuCores : 1;
        if (operation.on_npu()) add("run calls", sum, (span.body_ns - span.start_ns) * share);
        add(operation.phase, sum,
            (span.end_ns - (operation.on_npu() ? span.body_ns : span.start_ns)) * share);
    }

    void add(const char* phase, double PhaseTime::*sum, double ns) {
        auto at = std::ranges::find(result_.phases, std::string_view(phase), &PhaseTime::phase);
        if (at == result_.phases.end()) at = result_.phases.insert(at, {phase});
        (*at).*sum += ns;
    }

    Utilisation between(double from, double to) const {
        Utilisation sum;
        for (const Slice& slice : slices_) {
            const double ns = std::min(slice.to_ns, to) - std::max(slice.from_ns, from);
            if (ns > 0) sum.add(slice.busy, ns / (to - from));
        }
        return sum;
    }

    const Setting& setting_;
    const Machine machine_;
    double elapsed_ = 0;
    int64_t rows_ = 0;
    std::vector<Slice> slices_;
    PassResult result_;
};

}  // namespace

Prediction predict(const Setting& setting, const Goal& goal) {
    Prediction prediction{.setting = setting, .goal = goal};
    const ModelShape& model = setting.model;
    Pass prefill(setting);
    for (int64_t first = 0; first < goal.prompt; first += setting.ubatch) {
        const int64_t count = std::min(setting.ubatch, goal.prompt - first);
        prefill.add({first, count}, first + count == goal.prompt ? 1 : 0);
    }
    prediction.prefill = prefill.take();
    Pass decode(setting);
    decode.add({.first = goal.context, .count = goal.rows}, goal.rows);
    prediction.decode = decode.take();

    const double operations = 2.0 * static_cast<double>(model.layers * model.layer_weights());
    prediction.peak_share = operations * prediction.prefill.tokens_per_second / setting.board.int8_peak(3);
    const auto weights = static_cast<double>(model.token_weights());  // a byte each
    double cache = 0;
    for (int64_t layer = 0; layer < model.layers; ++layer) {
        const int64_t window = model.window_of(layer);
        const int64_t seen = window == 0 ? goal.context : std::min(window, goal.context);
        cache += 4.0 * static_cast<double>(seen * model.kv_size());
    }
    const double reference = kDecodeReferenceGbps * 1e9 * prediction.decode.seconds;
    prediction.weights_share = weights / reference;
    prediction.needed_share = (weights + cache) / reference;
    return prediction;
}

}  // namespace rknpu2
