// SPDX-License-Identifier: MIT
// Whether the plug-in computed a recipe's graph as it should: the same bits as with every operation by
// itself, and near the CPU backend's numbers.
#pragma once

#include <memory>
#include <string>

#include "ggml/random/worker.hpp"

namespace rknpu2::test {

struct Verdict {
    // Empty: all as it should be. Else what kind of failure, in a word or two: shrinking keeps it.
    std::string kind;
    std::string detail;      // one line
    std::string said;        // the end of a dead process's stderr
    Outcome on;              // without observations
    bool sensitive = false;  // errors of products grow on their way, so that more was allowed
    bool judged = false;     // a comparison with the CPU backend said something
    double farthest = 0;     // NMSE from it
    double nearness = 0;     // that over what is allowed
    uint64_t observations = 0;
    std::string values;  // the first of each result, three ways, for people
    bool failed() const { return !kind.empty(); }
};

// Two processes of one environment, with the plug-in as it is and with GGML_RKNPU2_FUSE=0, made when they are
// first needed and again when they die or another environment comes.
class Judge {
  public:
    explicit Judge(int seconds) : seconds_(seconds) {}
    // With two new processes if `fresh`.
    Verdict judge(const Recipe& recipe, bool fresh = false);
    // Ends the processes; empty, or what they left behind.
    std::string end();

  private:
    bool is_sensitive(const Recipe& recipe, const Outcome& on, const Outcome& reference);
    void prepare(const Environment& environment, bool fresh);

    const int seconds_;
    Environment environment_;
    std::unique_ptr<Worker> on_, off_;
};

// How far from the CPU backend's numbers results may be (NMSE), all on the NPU; docs/quality.md has what the
// precisions promise. Negative: any distance.
double tolerance(const Environment& environment, bool coarse);

// What stands on the way to the numbers of a step.
struct Path {
    bool jumps = false;   // a choice by size: a last bit can become a whole number
    int products = 0;     // one after the other
    bool coarse = false;  // numbers stored in few bits, where a last bit can become one of those
};
std::vector<Path> paths_of(const Recipe& recipe);

}  // namespace rknpu2::test
