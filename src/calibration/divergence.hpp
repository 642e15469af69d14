// SPDX-License-Identifier: MIT
// How far one set of logits is from another.
#pragma once

#include <cstddef>

namespace rknpu2 {

// The Kullback-Leibler divergence of softmax(other) from softmax(base), in nats, averaged over `rows` rows of
// N logits; 0 when they are equal, never negative. NaN when a logit is NaN. Sums are float64.
double mean_divergence(const float* base, const float* other, size_t rows, size_t N);

}  // namespace rknpu2
