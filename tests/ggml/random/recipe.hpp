// SPDX-License-Identifier: MIT
// A graph as plain data: a list of steps, each a leaf or one operation of ggml on steps before it, and how
// the graph is computed. Made from a seed, printed as one line, read back from it, and shortened step by
// step.
//
// A line is `key=value ... ; step ; step ...`, a step
// `op[.variant][:type](parameters)[%sources]["name"][#data][!]`:
//
//     on=GGML_RKNPU2_PRECISION=exact alloc=sched ; input(64,200)#5 ; weight:q8_0(64,96)"wq"#6 ; mul_mat%1,0!
//
// `#` is the seed of a leaf's data, `!` marks an output. What steps mean is in operations.cpp and leaves.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rknpu2::test {

struct Step {
    std::string op;    // with its variant: "mul_mat", "unary.silu"
    std::string type;  // of a leaf or a conversion, as ggml names it; else empty
    std::vector<double> parameters;
    std::vector<size_t> sources;  // steps before
    std::string name;             // of the tensor
    uint64_t data = 0;            // seed of a leaf's data
    bool output = false;
};

// Where tensors get their memory from.
enum class Allocation {
    kScheduler,  // ggml_backend_sched with the device and the CPU, which lets the device order the graph
    kAllocator,  // ggml_gallocr: one piece of memory for several results
    kOwn,        // each tensor its own
    kDense,      // at random where nothing is alive; what nobody reads is not
};

// The environment of the process that computes: read once, when the plug-in is loaded.
using Environment = std::vector<std::pair<std::string, std::string>>;
// "" where the variable is not set.
std::string setting(const Environment& environment, const std::string& name);

struct Recipe {
    Environment environment;
    Allocation allocation = Allocation::kOwn;
    bool use_counts = true;  // false: the backend sees a graph without its table of uses
    int threads = 1;         // of the backend's CPU part
    int rounds = 1;          // computed so often, with other inputs; states and written weights stay
    int pieces = 1;          // the graph is computed in so many parts; not with the scheduler
    bool watched = false;    // the scheduler's callback looks at every third node and at what it reads
    int stop = 0;            // first computed with a request to stop at this question; 0: none
    std::vector<Step> steps;
};

std::string text_of(const Step& step);
std::string text_of(const Recipe& recipe);
// The same with a line for each step and its number, for people.
std::string listing_of(const Recipe& recipe);

// Throws std::invalid_argument with what is wrong.
Recipe parse_recipe(const std::string& text);

}  // namespace rknpu2::test
