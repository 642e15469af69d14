// SPDX-License-Identifier: MIT
// The activations of a multiplication in the form the NPU reads: rotated, rounded, packed, and kept for the
// next multiplication that reads the same matrix.
//
// The matmuls for Q, K and V have one input, as have those for gate and up. Quantising it once is a third to
// a half of the CPU's work for them. What was quantised last serves again when the caller says that it is the
// same matrix (Activations::version) and the weight wants it in the same form.
//
// get() makes room and says what is to do. The caller then quantises the parts, from as many threads as it
// likes, and calls keep() when all went well. A matrix of more rows than kMostRowChunks chunks is worked on
// piece by piece, and kept for nobody. Memory grows to the largest matrix and stays. Not thread safe, but for
// quantise_part(): the device's lock guards it.
#pragma once

#include <cstdint>
#include <vector>

#include "runs/bound_run.hpp"
#include "runs/cube_rows.hpp"

namespace rknpu2 {

// A matrix of M rows of K floats as the caller has it.
struct Activations {
    const float* data = nullptr;
    size_t M = 0;
    // Two calls with the same data, M, K and version see the same numbers. 0: promises nothing.
    uint64_t version = 0;

    friend bool operator==(const Activations&, const Activations&) = default;
};

// Rows that were quantised for a segment of a weight: those that were cut into pieces are counted, once.
void count_split_rows(const PackedWeight& weight, size_t segment, size_t planes, size_t rows,
                      Counters& counters);

class ActivationStore {
  public:
    // Some rows of a matrix. Chunk c and segment s have cube c * segments + s, of which the first chunk.count
    // rows are the first plane and the next chunk.count the second one, if there are two.
    struct Cubes {
        size_t rows = 0;                  // of the input: those asked for, or all of it when it is there
        std::vector<RowChunk> chunks;     // chunk.m0 counts from the first of these rows
        std::vector<size_t> chunk_parts;  // to quantise, of each chunk
        bool quantised = false;           // all is there, from an earlier multiplication
        std::vector<Slice> slices;
        CubeSync synced;            // kept up to date by the Pipeline
        std::vector<float> scales;  // [cube][kMaxRows]: rows of the cube
        std::vector<float> sums;    // [cube][kMaxRows]: rows of the chunk, of the rounded activations
    };
    struct Form {
        size_t planes = 1;
        size_t chunk_rows = 0;   // rows of a cube, at most
        size_t most_rows = 0;    // and of one that is there already; otherwise it is cut anew
        float tensor_scale = 0;  // the one scale of the naive precision
    };

    // `threads`: how many may quantise at the same time.
    ActivationStore(WorkAreas& areas, Counters& counters, size_t threads)
        : areas_(areas), counters_(counters), rotated_(threads) {}

    // Room for rows m0 .. m0+M-1 (at most kMostRowChunks chunks) in the form that `weight` wants. The cubes
    // stay as they are until the next call; weight and input must, too. What is there already keeps its
    // chunks, and is always the whole input (Cubes::rows), whatever M is.
    Result<Cubes*> get(const PackedWeight& weight, const Activations& input, size_t m0, size_t M,
                       const Form& form);
    // A part of what get() asked for; each once, from any thread.
    void quantise_part(size_t chunk, size_t part);
    // All parts are done; whoever reads the same matrix next may have them.
    void keep();
    // What is kept is not to be used again; the areas went away or hold something else.
    void forget() { kept_.input.version = 0; }
    // Gives the scratch memory back, too.
    void clear();

    // For flows, which quantise while nothing of this store is quantised.
    RotatedRows& rotated_rows() { return rotated_; }

    static bool same_form(const PackedWeight& a, const PackedWeight& b);

  private:
    bool serves(const PackedWeight& weight, const Activations& input, const Form& form) const;
    Status make_room(const PackedWeight& weight);

    WorkAreas& areas_;
    Counters& counters_;
    Cubes cubes_;
    RotatedRows rotated_;

    // What is being quantised.
    const PackedWeight* weight_ = nullptr;
    Activations input_;
    size_t m0_ = 0;
    Form form_;

    // What cubes_ was made of.
    struct Kept {
        Activations input;  // version 0: nothing is kept
        WeightPlan plan;
        int domain = 0;
        std::vector<float> factors;
        size_t planes = 0;
    };
    Kept kept_;
};

}  // namespace rknpu2
