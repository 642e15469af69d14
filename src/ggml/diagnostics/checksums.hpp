// SPDX-License-Identifier: MIT
// Records what went into each multiplication and what came out of it: GGML_RKNPU2_CHECKSUMS, for tests.
//
// A row of a result depends on its weight and on its row of activations alone, whatever other rows a batch
// has, whichever core computed it and however often it was tried again. So a line of the file is about a row:
//
//     INPUT OUTPUT PRECISION KxN WEIGHT
//
// with hash128() of the row's bytes before and after. The same line is written once. Two lines that differ
// in OUTPUT alone are a mistake, in one file or between those of two processes. Multiplications of which only
// a gate's result exists (gated_epilogue.hpp) have a line for that: WEIGHT is `gate & up`, by the gate's
// operands. An expert is `stack[number]`. Names must tell weights apart: one model to a process. What
// GGML_RKNPU2_ON_ERROR=cpu computes, and a measurement of sensitivity, have other outputs by design.
//
// add() may be called from several threads.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>

#include "base/hash.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/decision.hpp"

namespace rknpu2 {

class Checksums {
  public:
    // Null where `config` asks for none. The file is emptied.
    static Result<std::unique_ptr<Checksums>> open(const Config& config);
    ~Checksums();
    Checksums(const Checksums&) = delete;
    Checksums& operator=(const Checksums&) = delete;

    // Multiplications that have been computed together, and the gate that took the place of their results, or
    // null. A file that cannot be written is an error in the log, once, and nothing is recorded any more.
    void add(std::span<const PlannedMatmul> matmuls, const ggml_tensor* gate);

  private:
    Checksums(std::string path, Precision precision);
    void add_plain(const ggml_tensor* node);
    void add_experts(const ggml_tensor* node);
    void add_row(const std::string& weight, const ggml_tensor* node, const float* in, const float* out);

    const std::string path_;
    const Precision precision_;
    std::mutex mutex_;       // guards what follows
    std::FILE* file_;        // null: it could not be written
    std::set<Digest> seen_;  // of lines
};

}  // namespace rknpu2
