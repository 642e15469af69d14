// SPDX-License-Identifier: MIT
#include "predict/graph.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

class Builder {
  public:
    Builder(const Setting& setting, const Rows& rows)
        : setting_(setting), way_(way_of(setting.design, rows.count)) {
        for (int64_t row = 0; row < rows.count; row += setting.chunk_rows())
            chunks_.push_back({rows.first + row, std::min(setting.chunk_rows(), rows.count - row)});
        done_.resize(chunks_.size());
    }

    void add(int64_t layer) {
        layer_ = layer;
        std::vector<std::vector<Stage>>
            stages;  // by chunk; those of all chunks are alike but for their costs
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

    Graph take() { return std::move(graph_); }

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
            if (way_ == Way::kPlain && !graph_.operations.empty()) after = {graph_.operations.size() - 1};
            operation.phase = stage.phase;
            operation.what = stage.what;
            operation.after = after;
            operation.order = number + setting_.chunk_skew() * static_cast<int64_t>(chunk);
            after = {graph_.operations.size()};
            graph_.operations.push_back(std::move(operation));
            graph_.layer.push_back(layer_);
            graph_.chunk.push_back(static_cast<int64_t>(chunk));
        }
        done_[chunk] = after;
    }

    const Setting& setting_;
    const Way way_;
    std::vector<Rows> chunks_;
    std::vector<std::vector<size_t>> done_;  // by chunk: what its next stage waits for
    int64_t layer_ = 0, stage_ = 0;
    Graph graph_;
};

}  // namespace

Graph build_graph(const Setting& setting, const Rows& rows) {
    Builder builder(setting, rows);
    for (int64_t layer = -1; layer < setting.model.layers; ++layer)
        builder.add(layer);
    builder.add_head();
    return builder.take();
}

}  // namespace rknpu2
