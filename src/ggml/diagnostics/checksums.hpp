// SPDX-License-Identifier: MIT
// Records what went into each multiplication and what came out of it: GGML_RKNPU2_CHECKSUMS, for tests.
//
// A row of a result depends on its weight and on its row of activations alone: not on other rows, cores or
// attempts. So a line of the file is about a row:
//
//     INPUT OUTPUT PRECISION KxN WEIGHT
//
// with hash128() of the row's bytes before and after. Equal lines are written once. Two lines that differ in
// OUTPUT alone are a mistake, in one file or between those of two processes. Where only a gate's result
// exists (gated_epilogue.hpp), the line is about that: WEIGHT is `gate & up`, by the gate's operands. An
// expert is `stack[number]`. Names must tell weights apart: one model to a process. What
// GGML_RKNPU2_ON_ERROR=cpu computes, and a measurement of sensitivity, have other outputs by design.
//
// add() may be called from several threads.
#pragma once

#include <cstdio>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "base/hash.hpp"
#include "ggml/host/host.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

class Checksums {
  public:
    // Null where `config` asks for none. The file is emptied.
    static Result<std::unique_ptr<Checksums>> open(const Config& config);

    // Records multiplications that have been computed together; `gate`: what took the place of their results,
    // or null. A file that cannot be written is an error in the log, once; from then on nothing is recorded.
    void add(Nodes matmuls, const ggml_tensor* gate);

  private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    Checksums(std::string path, Precision precision);
    void add_rows(const std::string& weight, const ggml_tensor* matmul, const ggml_tensor* result);

    const std::string path_;
    const Precision precision_;
    std::mutex mutex_;                        // guards what follows
    std::unique_ptr<std::FILE, Close> file_;  // null: it could not be written
    std::set<Digest> seen_;                   // of lines
};

}  // namespace rknpu2
