// SPDX-License-Identifier: MIT
// A call: multiplies the rows of one matrix by several weights, and is over when it returns.
//
// It has the whole NPU to itself. The activations are quantised once into memory that all cores read, unless
// the call before has left them there; each core does its runs; results become floats, while other rows are
// still being quantised and multiplied (pipeline.hpp). Weights that want their activations in another form
// are another batch, which comes after.
//
// When the NPU fails, a batch is done again as a whole, from its first row on: a failed attempt leaves any
// part of its results written, and the next one writes every element anew. It uses neither the contexts that
// failed nor the quantised activations.
#pragma once

#include <span>
#include <vector>

#include "matmul/batch.hpp"
#include "matmul/npu_resources.hpp"
#include "matmul/pipeline.hpp"
#include "runs/epilogue.hpp"

namespace rknpu2 {

// Results of few rows (kFewResultRows) that one thread turns into floats at a time, at most: they are waited for.
inline constexpr size_t kElementsPerBand = 8192;

class Multiplication final : public Pipeline::Work {
  public:
    // out[m * N + n] = sum over k of a[m * K + k] * weight[n][k], m < M.
    struct Product {
        const PackedWeight* weight = nullptr;
        float* out = nullptr;
        // 1 leaves out the second plane of a weight that has two, to measure what it is worth; 0: as packed.
        size_t planes = 0;
    };
    // Memory that one call after the other uses: a call that was made before allocates nothing.
    struct Buffers {
        explicit Buffers(int most_awake) : pipeline(most_awake) {}

        BatchList batches;
        std::vector<BoundRun> bound;      // round by round
        std::vector<size_t> first_bound;  // by round
        Pipeline::Shape shape;
        Pipeline pipeline;
    };

    Multiplication(NpuResources& npu, Buffers& buffers, std::span<const Product> products,
                   const Activations& input)
        : npu_(npu), buffers_(buffers), products_(products), input_(input) {}

    // Once, with the mutex of the resources held. NpuDevice::multiply() tells of the epilogue.
    Status multiply(Epilogue* epilogue);

  private:
    // How the results of a strip are cut into shares: by rows. Few rows, which lie together, are cut by columns instead, so that
    // all threads have some.
    struct ShareCut {
        size_t rows;
        size_t tiles;  // 1: not by tiles
        size_t bands;  // of each tile
        size_t count;
    };
    static ShareCut cut_of(const RunStrip& strip, size_t rows);
    struct RowSpan {
        size_t round;
        size_t first;  // of the chunk
        size_t count;
        size_t m;  // the first, in the input
        StripPart part;
    };

    Result<Target> multiply_batch();
    Status attempt();
    ActivationStore::Form form() const;
    Status multiply_cubes();
    void lay_out();
    Status bind();
    void quantise_alone();
    size_t threads_of_use() const;
    uint64_t estimated_ns() const;

    void quantise(size_t chunk, size_t part) override;
    Status sync(size_t round, size_t run) override;
    Status run(size_t round, size_t run) override;
    void dequantise(size_t round, size_t share) override;
    template <typename TargetOf>
    void add_results(const RowSpan& rows, const TargetOf& target_of) const;
    void to_epilogue(const RowSpan& rows) const;

    NpuResources& npu_;
    Buffers& buffers_;
    const std::span<const Product> products_;
    const Activations input_;
    // The running batch:
    const Batch* batch_ = nullptr;
    Epilogue* epilogue_ = nullptr;  // null: results go to the products
    ActivationStore::Cubes* cubes_ = nullptr;
    size_t first_row_ = 0;  // of the cubes, in the input
};

}  // namespace rknpu2
