// SPDX-License-Identifier: MIT
// Gathers statistics of activations while a model runs: GGML_RKNPU2_CALIBRATE.
//
// Sums of channels are kept in float64, second moments in float. Rows that are not finite are left out. So is a
// warm-up: before they read any text, hosts let a model compute one or two tokens that stand for nothing (llama.cpp:
// BOS and EOS). Cost: two additions for each activation, and 16 bytes for each input channel of each weight; for
// second moments 128 multiplications and 1 KB, once for weights whose activations were all the same. Experts have no
// statistics. Thread safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "base/hash.hpp"
#include "calibration/activation_stats.hpp"

namespace rknpu2 {

class Calibration {
  public:
    // Rows of a weight's first multiplication, at most, that count as a warm-up.
    static constexpr size_t kMostWarmUpRows = 4;

    // a: M rows of K activations that are about to be multiplied by the weight. `output`: the result is the
    // logits.
    void add(const WeightSource& weight, const float* a, size_t M, bool output = false);

    // Returns what was added. Weights without a single finite row are left out.
    ModelStats statistics() const;

  private:
    struct Sums {
        ActivationStats entry;  // without the means
        bool begun = false;     // something was multiplied before
        std::vector<double> sum;
        std::vector<double> square;
        Digest seen;  // a chain over all activations
        std::shared_ptr<MomentSums> moments;
    };
    void add_moments(Sums& sums, const float* a, size_t M);

    mutable std::mutex mutex_;
    std::map<Digest, std::weak_ptr<MomentSums>> moments_;  // by what was seen
    std::map<std::string, Sums> sums_;
};

// Ok, or one line: why the statistics must not be used as they are, and what to do.
Status enough_rows(const ModelStats& gathered);

}  // namespace rknpu2
