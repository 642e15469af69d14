// SPDX-License-Identifier: MIT
#include "predict/prediction.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

// Makes the operations of a pass, with what each waits for: stages times chunks of rows.
//
//   kPlain        every operation waits for the one before it; within a block, chunk after chunk
//   kTogether     a chunk's stage waits for its stage before; a block waits for all of the block before
//   kFlow         a chunk's stage waits for its stage before, and attention for all earlier chunks as well
//
// A block begins where chunks that do not flow have to wait for each other: at every multiplication and every
// pass of its own. Ready operations run in the order of layer and stage. Each chunk counts as the design's
// skew of stages behind the one before it, so that one chunk's attention meets another's multiplications.
class Builder {
  public:
    Builder(const Setting& setting, const Rows& rows)
        : setting_(setting), way_(way_of(setting.design, rows.count)) {
        for (int64_t row = 0; row < rows.count; row += setting.chunk_rows())
            chunks_.push_back({rows.first + row, std::min(setting.chunk_rows(), rows.count - row)});
        done_.resize(chunks_.size());
    }

    void add(int64_t layer) {
        // By chunk; those of all chunks are alike but for their costs.
        std::vector<std::vector<Stage>> stages;
        for (const Rows& chunk : chunks_)
            stages.push_back(stages_of(setting_, way_, layer, chunk));
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

    // The head: one row, after everything.
    void add_head() {
        done_ = {everything_so_far()};
        chunks_ = {{chunks_.back().first + chunks_.back().count - 1, 1}};
        add(setting_.model.layers);
    }

    std::vector<Operation> take() { return std::move(operations_); }

  private:
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
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            for (size_t stage = begin; stage < end; ++stage)
                add_stage(stages[chunk][stage], chunk, stage_ + static_cast<int64_t>(stage));
        }
    }

    void add_stage(Stage& stage, size_t chunk, int64_t number) {
        std::vector<size_t> after = done_[chunk];
        // Attention of the chunk before, which waited for K and V of all before it.
        if (stage.causal && chunk > 0)
            after.insert(after.end(), done_[chunk - 1].begin(), done_[chunk - 1].end());
        for (Operation& operation : stage.operations) {
            if (way_ == Way::kPlain && !operations_.empty()) after = {operations_.size() - 1};
            operation.phase = stage.phase;
            operation.after = after;
            operation.order = number + setting_.chunk_skew() * static_cast<int64_t>(chunk);
            after = {operations_.size()};
            operations_.push_back(std::move(operation));
        }
        done_[chunk] = after;
    }

    const Setting& setting_;
    const Way way_;
    std::vector<Rows> chunks_;
    std::vector<std::vector<size_t>> done_;  // by chunk: what its next stage waits for
    int64_t stage_ = 0;
    std::vector<Operation> operations_;
};

// The output head is computed of the last row alone.
std::vector<Operation> operations_of(const Setting& setting, const Rows& rows) {
    Builder builder(setting, rows);
    for (int64_t layer = -1; layer < setting.model.layers; ++layer)
        builder.add(layer);
    builder.add_head();
    return builder.take();
}

PassResult run_pass(const Setting& setting, const Rows& rows) {
    PassResult result;
    const Machine machine{setting.board.dram_gbps, setting.board.cpu_threads, setting.board.cpu_beside_npu};
    const std::vector<Operation> operations = operations_of(setting, rows);
    const Schedule schedule = make_schedule(operations, machine);
    const double elapsed = schedule.elapsed_ns;
    result.seconds = elapsed * 1e-9;
    result.tokens_per_second = static_cast<double>(rows.count) / result.seconds;
    const auto add = [&](const char* phase, double PhaseTime::*sum, double ns) {
        auto at = std::ranges::find(result.phases, phase, &PhaseTime::phase);
        if (at == result.phases.end()) at = result.phases.insert(at, {phase});
        (*at).*sum += ns;
    };
    const auto account = [&](size_t i, double PhaseTime::*sum) {
        const Span& span = schedule.spans[i];
        const bool npu = operations[i].server == Server::kNpu;
        if (npu) add("run calls", sum, span.body_ns - span.start_ns);
        add(operations[i].phase, sum, span.end_ns - (npu ? span.body_ns : span.start_ns));
    };
    for (size_t i = 0; i < operations.size(); ++i)
        account(i, &PhaseTime::busy_ns);
    for (const size_t i : critical_path(schedule))
        account(i, &PhaseTime::critical_ns);
    result.whole = utilisation(operations, schedule, machine, 0, elapsed);
    result.steady = utilisation(operations, schedule, machine, elapsed / 4, elapsed * 3 / 4);
    return result;
}

}  // namespace

Prediction predict(const Setting& setting, const Goal& goal) {
    Prediction prediction{.setting = setting, .goal = goal};
    const ModelShape& model = setting.model;
    prediction.prefill = run_pass(setting, {.first = 0, .count = goal.prompt});
    prediction.decode = run_pass(setting, {.first = goal.context, .count = 1});

    const double operations = 2.0 * static_cast<double>(model.layers * model.layer_weights());
    prediction.peak_share = operations * prediction.prefill.tokens_per_second / setting.board.int8_peak(3);
    const auto weights = static_cast<double>(model.token_weights());  // a byte each
    const double cache = 4.0 * static_cast<double>(model.layers * goal.context * model.kv_size());
    const double reference = kDecodeReferenceGbps * 1e9 * prediction.decode.seconds;
    prediction.weights_share = weights / reference;
    prediction.needed_share = (weights + cache) / reference;
    return prediction;
}

}  // namespace rknpu2
