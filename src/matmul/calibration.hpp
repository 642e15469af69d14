// Gathers channel statistics while a model runs: GGML_RKNPU2_CALIBRATE.
//
// Sums are kept in float64. Rows that are not finite are left out. Cost: two additions for each activation,
// and 16 bytes for each input channel of each weight. Thread safe.
#pragma once

#include <mutex>
#include <string>

#include "matmul/channel_statistics.hpp"

namespace rknpu2 {

class Calibration {
  public:
    // a: M rows of K activations that are about to be multiplied by the weight. `output`: the result is the
    // logits.
    void add(const WeightSource& weight, const float* a, size_t M, bool output = false);

    // Of all that was added, weights without a single finite row left out.
    ModelStatistics statistics() const;

  private:
    struct Sums {
        size_t N = 0;
        uint64_t fingerprint = 0;
        uint64_t rows = 0;
        bool output = false;
        std::vector<double> sum;
        std::vector<double> square;
    };

    mutable std::mutex mutex_;
    std::map<std::string, Sums> sums_;
};

}  // namespace rknpu2
