// SPDX-License-Identifier: MIT
#include "predict/graph.hpp"

#include <algorithm>

namespace rknpu2 {
namespace {

class Builder {
  public:
    Builder(const Setting& setting, const Pass& pass)
        : design_(setting.design), skew_(setting.plan.skew), pass_(pass) {
        for (int64_t row = 0; row < pass.rows; row += setting.plan.chunk)
            chunks_.push_back({pass.first_row + row, std::min(setting.plan.chunk, pass.rows - row)});
        done_.resize(chunks_.size());
    }

    void add(const std::vector<Stage>& stages, int64_t layer) {
        layer_ = layer;
        for (size_t begin = 0; begin < stages.size();) {
            size_t end = begin + 1;
            while (end < stages.size() && !stages[end].block_begins)
                ++end;
            add_block({stages.begin() + static_cast<std::ptrdiff_t>(begin),
                       stages.begin() + static_cast<std::ptrdiff_t>(end)});
            begin = end;
        }
    }

    // The head: one row, after everything.
    void add_head(const std::vector<Stage>& stages) {
        const std::vector<size_t> all = everything_so_far();
        chunks_ = {{pass_.first_row + pass_.rows - 1, 1}};
        done_ = {all};
        add(stages, pass_.layers);
    }

    Graph take() { return std::move(graph_); }

  private:
    struct Rows {
        int64_t first, count;
    };

    std::vector<size_t> everything_so_far() const {
        std::vector<size_t> all;
        for (const std::vector<size_t>& chunk : done_)
            all.insert(all.end(), chunk.begin(), chunk.end());
        std::sort(all.begin(), all.end());
        all.erase(std::unique(all.begin(), all.end()), all.end());
        return all;
    }

    void add_block(const std::vector<Stage>& stages) {
        if (!design_.wave) {
            const std::vector<size_t> all = everything_so_far();
            std::fill(done_.begin(), done_.end(), all);
        }
        for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
            for (size_t stage = 0; stage < stages.size(); ++stage) {
                add_stage(stages[stage], chunk, stage_ + static_cast<int64_t>(stage));
            }
        }
        stage_ += static_cast<int64_t>(stages.size());
    }

    void add_stage(const Stage& stage, size_t chunk, int64_t number) {
        std::vector<size_t> after = done_[chunk];
        if (stage.causal &&
            chunk > 0) {  // attention of the chunk before, which waited for K and V of all before it
            after.insert(after.end(), done_[chunk - 1].begin(), done_[chunk - 1].end());
        }
        for (Operation& operation : stage.cost(chunks_[chunk].first, chunks_[chunk].count)) {
            if (!design_.overlapped && !graph_.operations.empty()) {
                after = {graph_.operations.size() - 1};
            }
            operation.phase = stage.phase;
            operation.what = stage.what;
            operation.after = after;
            operation.order = number + skew_ * static_cast<int64_t>(chunk);
            after = {graph_.operations.size()};
            graph_.operations.push_back(std::move(operation));
            graph_.layer.push_back(layer_);
            graph_.chunk.push_back(static_cast<int64_t>(chunk));
        }
        done_[chunk] = after;
    }

    const Design& design_;
    const int64_t skew_;
    const Pass pass_;
    std::vector<Rows> chunks_;
    std::vector<std::vector<size_t>> done_;  // by chunk: what its next stage waits for
    int64_t layer_ = 0, stage_ = 0;
    Graph graph_;
};

}  // namespace

Graph build_graph(const Setting& given, const Pass& pass) {
    Setting setting = given;
    setting.design = for_rows(given.design, pass.rows);
    Builder builder(setting, pass);
    builder.add(first_stages(setting), -1);
    for (int64_t layer = 0; layer < pass.layers; ++layer)
        builder.add(layer_stages(setting, layer), layer);
    if (pass.head) builder.add_head(head_stages(setting));
    return builder.take();
}

}  // namespace rknpu2
