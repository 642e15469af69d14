// SPDX-License-Identifier: MIT
// The activations of a multiplication in the form the NPU reads: rotated, rounded, packed, and kept for the
// next multiplication that reads the same matrix.
//
// The matmuls for Q, K and V have one input, as have those for gate and up; quantising it once is a third to
// a half of the CPU's work for them. What was quantised last is kept, and serves again when the caller says
// that it is the same matrix (Activations::version) and the weight wants it in the same form (arithmetic,
// rotation, smoothing, planes, segments, domain).
//
// get() makes room and says what is to do; the caller then quantises the parts, from as many threads as it
// likes, and calls keep() when all went well. A matrix of more rows than kMostRowChunks chunks is worked on
// piece by piece, and then kept for nobody. Steady state allocates nothing: areas, scales and scratch grow to
// the largest matrix and stay. Not thread safe, quantise_part() excepted: the device's lock guards it, as it
// does the WorkAreas.
#pragma once

#include <cstdint>
#include <vector>

#include "counters/counters.hpp"
#include "device/cube_sync.hpp"
#include "device/work_areas.hpp"
#include "matmul/cube_rows.hpp"
#include "plan/limits.hpp"
#include "weights/packed_weight.hpp"

namespace rknpu2 {

// A matrix of M rows of K floats as the caller has it.
struct Activations {
    const float* data = nullptr;
    size_t M = 0;
    // Two calls with the same data, M, K and version see the same numbers. 0: promises nothing.
    uint64_t version = 0;
};

class ActivationStore {
  public:
    // Rows m0 .. m0+M-1 of a matrix, as cubes. Chunk c and segment s have cube c * segments + s, of which the
    // first chunk.count rows are the first plane and the next chunk.count the second one, if there are two.
    struct Cubes {
        size_t rows = 0;                  // of the input: those asked for, or all of it when it is there
        std::vector<RowChunk> chunks;     // chunk.m0 counts from the first of these rows
        std::vector<size_t> chunk_parts;  // to quantise, of each chunk
        bool quantised = false;           // all is there, from an earlier multiplication
        std::vector<DeviceMemoryPool::Slice> slices;
        CubeSync synced;  // has the device been told what the CPU wrote (Pipeline)
        const float* row_scales(size_t cube) const { return scales.data() + cube * kMaxRows; }
        const float* row_sums(size_t cube) const { return sums.data() + cube * kMaxRows; }

        std::vector<float> scales;  // [cube][row of the cube]
        std::vector<float> sums;    // [cube][row of the chunk], of the rounded activations, both planes
    };

    // `threads`: how many may quantise at the same time.
    ActivationStore(WorkAreas& areas, Counters& counters, size_t threads)
        : areas_(areas), counters_(counters), rotated_(threads) {}

    // How rows become cubes.
    struct Form {
        size_t planes = 1;
        size_t chunk_rows = 0;   // rows of a cube, at most
        size_t most_rows = 0;    // and of one that is there already; otherwise it is cut anew
        float tensor_scale = 0;  // the one scale of the naive precision
    };

    // Room for rows m0 .. m0+M-1 (at most kMostRowChunks chunks) in the form that `weight` wants. The cubes
    // stay as they are until the next call; weight and input must, too. What is there already keeps its
    // chunks, and is always the whole input (Cubes::rows), whatever M is.
    Result<Cubes*> get(const PackedWeight& weight, const Activations& input, size_t m0, size_t M,
                       const Form& form);
    // A part of what get() asked for; each once, from any thread.
    void quantise_part(size_t chunk, size_t part);
    // For others that quantise while nothing of this store is quantised.
    RotatedRows& rotated_rows() { return rotated_; }
    // Which cubes the device knows of; the Pipeline keeps it up to date.
    CubeSync& synced() { return cubes_.synced; }
    // All parts are done; whoever reads the same matrix next may have them.
    void keep();

    // Do two weights want their activations in the same form?
    static bool same_form(const PackedWeight& a, const PackedWeight& b);

    // What is kept is not to be used again; the areas went away or hold something else.
    void forget() { version_ = 0; }
    // Gives the scratch memory back, too.
    void clear();

  private:
    bool serves(const PackedWeight& weight, const Activations& input, const Form& form) const;
    Status make_room(const PackedWeight& weight);
    Cube cube_of(size_t cube, const RowChunk& chunk);

    WorkAreas& areas_;
    Counters& counters_;

    Cubes cubes_;
    RotatedRows rotated_;

    // What is being quantised.
    const PackedWeight* weight_ = nullptr;
    const float* rows_ = nullptr;
    Form form_;
    Activations input_;
    bool whole_ = false;  // all rows of the input

    // What cubes_ was made of.
    uint64_t version_ = 0;
    const float* data_ = nullptr;
    size_t M_ = 0;
    size_t K_ = 0;
    size_t planes_ = 0;
    int domain_ = 0;
    Recipe recipe_;
    std::vector<KSegment> segments_;
    std::vector<float> factors_;
};

}  // namespace rknpu2
