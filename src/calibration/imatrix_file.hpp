// SPDX-License-Identifier: MIT
// Statistics of activations out of a file of llama.cpp's importance matrices (llama-imatrix, GGUF format).
//
// A substitute for our own statistics. It has mean squares, which smoothing needs, but no means, so nothing is
// corrected by them. It does not say which weights it was made from: only a weight's name and K are compared.
//
// Source of the format: tools/imatrix/imatrix.cpp of llama.cpp with ggml 0.25.3: general.type "imatrix", and
// for each weight NAME the tensors NAME.in_sum2 [K, matrices] and NAME.counts [1, matrices], both F32.
#pragma once

#include <string>

#include "calibration/activation_stats.hpp"

namespace rknpu2 {

// Entries of single matrices that have seen any activations; those of expert stacks are left out. The message
// of a failure names the file.
Result<ModelStats> read_imatrix(const std::string& path);

// Either kind of file, told apart by how it begins.
Result<ModelStats> read_stats_of_any_kind(const std::string& path);

}  // namespace rknpu2
