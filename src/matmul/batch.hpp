// SPDX-License-Identifier: MIT
// Weights that are multiplied by the same activations, grouped by the form in which they read them.
//
// Weights of a batch share the quantised activations (ActivationStore::same_form), and runs. Multiplications
// do one batch after the other, flows all at once. A list that is filled again with nothing larger allocates
// nothing.
#pragma once

#include "runs/run_list.hpp"

namespace rknpu2 {

struct Batch {
    std::vector<const PackedWeight*> weights;
    std::vector<size_t> positions;  // of each, among all weights of the list
    size_t planes = 1;              // rows of the cube for each row of activations
    RunList strips;
    std::vector<const Run*> runs;  // of all strips, one after the other
    size_t first_cube = 0;         // of the list's cubes, one for each segment of each batch
    size_t first_result = 0;       // of the list's results, one for each run of each batch

    const WeightPlan& plan() const { return weights[0]->plan; }
    size_t columns() const;  // of all weights
    std::string name() const;
};

void count_matmuls(const Batch& batch, Counters& counters);

class BatchList {
  public:
    void clear();
    // `planes`: how many of the weight's planes to use; 0: as packed.
    void add(const PackedWeight& weight, size_t planes = 0);
    // After the last add(): the batches' runs, and the numbers of their cubes and results.
    void lay_out();

    size_t size() const { return size_; }
    const Batch* begin() const { return batches_.data(); }
    const Batch* end() const { return batches_.data() + size_; }
    size_t cubes() const { return cubes_; }
    size_t results() const { return results_; }
    // Such as "blk.0.attn_q.weight and 2 more".
    std::string name() const;

  private:
    std::vector<Batch> batches_;  // those beyond size_ keep their memory
    size_t size_ = 0;
    size_t weights_ = 0;
    size_t cubes_ = 0;
    size_t results_ = 0;
};

}  // namespace rknpu2
