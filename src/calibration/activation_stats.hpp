// SPDX-License-Identifier: MIT
// What the activations of a weight are like: mean and mean square of every input channel, and the file that
// holds them for a model.
//
// Gathered once while some text runs through the model (calibration.hpp), read when weights are packed. An
// entry belongs to one tensor by name, shape and a fingerprint of its bytes, so statistics of another model or
// quantisation are never taken for this one's.
//
// The file, little endian: "RKNPUCAL", version (u32, 4), number of entries (u32); bytes to the end of the first
// checksum (u64); for each entry the length of its name (u32, 1 to 255) and the name, N, K, fingerprint and rows
// (u64 each), output (u32, 0 or 1), one_plane_divergence (f32) and the number of its second moments (u32, from 1; 0:
// none), K means and K mean squares (f32); a checksum of all before it (u64). Then the second moments, which are
// most of the file and shared by weights with the same activations: how many (u32), for each K and the K of a whole
// segment (u64 each), the mean squares (f32) and the correlations (i8); a checksum of this part (u64). The second
// part of version 3 is of smaller blocks, and not read. In version 2 there are no bytes, no number and no second part.
// Reading checks everything and trusts nothing.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/status.hpp"
#include "calibration/second_moments.hpp"
#include "plan/weight_source.hpp"

namespace rknpu2 {

struct ActivationStats {
    size_t N = 0;
    size_t K = 0;
    uint64_t fingerprint = kAnyWeight;             // weight_fingerprint()
    uint64_t rows = 0;                             // activation rows that were seen, 1 or more
    std::vector<float> mean;                       // [K], finite
    std::vector<float> mean_square;                // [K], finite, not negative
    bool output = false;                           // its results are the logits
    std::shared_ptr<const SecondMoments> moments;  // of this K; null: not gathered, or not read
    // Nats, 0 or more: how far the next-token distribution moves when the activations of this weight alone
    // lose their second plane. Measured by a second run (ggml/diagnostics/sensitivity.hpp).
    float one_plane_divergence = kNotMeasured;
    bool measured() const { return one_plane_divergence >= 0; }
    static constexpr float kNotMeasured = -1.0F;
    static constexpr uint64_t kAnyWeight = 0;  // N and the bytes are not known: from another program's file
};

// Statistics of fewer rows, such as a host's warm-up of two, make results worse than none do
// (docs/quality.md), and are not used.
inline constexpr uint64_t kFewestRows = 32;

// By tensor name.
using ModelStats = std::map<std::string, ActivationStats>;

// Returns a hash of a weight's type, its shape and some of its bytes, the first and the last included: enough
// to tell models apart, cheap for any size.
uint64_t weight_fingerprint(const WeightSource& weight);

std::string encode_stats(const ModelStats& statistics);

// kInvalidArgument with one line that says what is wrong with the content. Without moments, what follows the first
// checksum need not be there.
enum class Moments { kRead, kLeaveOut };
Result<ModelStats> decode_stats(const std::string& content, Moments moments = Moments::kRead);

// decode_stats() of a file; kIo when it cannot be read. The message names the file. What is left out is not read.
Result<ModelStats> read_stats(const std::string& path, Moments moments = Moments::kRead);

// Smoothing: a channel of large activations is made smaller before it is rounded, and its weights larger, by
// factors that cancel in the product. The factor is the root of the channel's root mean square, so activations
// and weights share what one of them would have to bear. Weights that read the same activations have equal
// statistics, hence equal factors. Returns what activations are multiplied by and weights are divided by: [K],
// positive, finite, with a geometric mean of about 1. Channels that were (almost) never active count as
// kQuietest times the loudest.
inline constexpr float kQuietest = 1e-5F;
std::vector<float> smoothing_factors(const ActivationStats& statistics);

}  // namespace rknpu2
