// SPDX-License-Identifier: MIT
// Draws graphs. A graph grows block by block: each takes values that are there and leaves new ones, all of
// them matrices of floats with a row for each token. Blocks are what models are made of (blocks.hpp), wired
// as no model does.
//
// Numbers stay tame: weights are normal over the root of K, what could grow is scaled or normalised, divisors
// and operands of roots are positive, so that an error of rounding stays one and the comparison with the CPU
// backend is sharp. Only what a mask hides may be infinite.
#pragma once

#include <string>
#include <vector>

#include "ggml/random/recipe.hpp"
#include "sim/random/rng.hpp"

namespace rknpu2::test {

struct Value {
    size_t step = 0;
    int64_t width = 0;
};

class Draw {
  public:
    explicit Draw(uint64_t seed) : random(seed) {}

    size_t add(const std::string& op, std::vector<size_t> sources, std::vector<double> parameters = {},
               const std::string& type = "");
    // With data of its own.
    size_t leaf(const std::string& op, std::vector<double> parameters, const std::string& type = "",
                const std::string& name = "");
    size_t weight(int64_t K, int64_t N, const std::string& name = "");
    size_t input(int64_t width) { return leaf("input", {double(width), double(rows)}); }
    size_t vector(int64_t width) { return leaf("vector", {double(width)}); }

    void keep(size_t step, int64_t width) { values.push_back({step, width}); }
    // One of the values, late ones more often.
    Value any();
    // One of this width, made if there is none.
    size_t any_of(int64_t width);
    // Brought to about 1 a number.
    size_t normalised(size_t step, int64_t width);
    // Kept from growing any further.
    size_t bounded(size_t step, int64_t width);
    int64_t width();  // of a new value
    // A type of weight whose blocks fit K.
    std::string weight_type(int64_t K);
    // One that the CPU backend converts to, for what is written.
    std::string written_type(int64_t K);
    std::string name();  // as llama.cpp names weights, or none
    bool chance(int percent) { return random.range(1, 100) <= percent; }
    // Multiply-adds so far; large graphs are slow to compute.
    bool may_multiply(int64_t K, int64_t N, int64_t times = 1);

    rknnsim_random::Rng random;
    Recipe recipe;
    int64_t rows = 1;
    std::vector<Value> values;
    double macs = 0;
};

// Bytes of a row of a type that caches have.
int64_t row_bytes(const std::string& type, int64_t elements);

// The same recipe each time for a seed and the number of a graph.
Recipe draw_recipe(uint64_t seed, uint64_t graph);

// Graphs of one group have one environment, so that one process computes them.
inline constexpr uint64_t kGroup = 50;
Environment draw_environment(uint64_t seed, uint64_t group);

}  // namespace rknpu2::test
