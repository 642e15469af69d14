// SPDX-License-Identifier: MIT
// What becomes of the results of multiplications that are computed together, while they are still in a cache.
//
// A feed-forward block multiplies by gate and up, and the next operation takes both results element by
// element. It gets a few rows as soon as they are floats: neither matrix is written to memory and read again.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace rknpu2 {

// Rows m .. m+rows-1 and columns n .. n+columns-1 of every product, in the order of the products. Element (m
// + i, n + j) of one of them is at [i * stride + j].
struct ResultBlock {
    size_t m = 0;
    size_t rows = 0;
    size_t n = 0;
    size_t columns = 0;
    std::span<float* const> products;
    size_t stride = 0;
};

class Epilogue {
  public:
    Epilogue() = default;
    Epilogue(const Epilogue&) = delete;
    Epilogue& operator=(const Epilogue&) = delete;
    virtual ~Epilogue() = default;
    // Every element once, from several threads at once, in any order. When the NPU fails and the
    // multiplication is done again, every element comes again, some for the second time, from the CPU with
    // other products: the last call for an element counts. After a multiply() that failed, some elements may
    // have come. Reports failure by its own means.
    virtual void apply(const ResultBlock& block) noexcept = 0;
};

// Gives it whole results, [M, N] at each product's `out`.
template <typename Products>
void apply_to_all(Epilogue& epilogue, const Products& products, size_t M, size_t N) {
    std::vector<float*> outputs;
    for (const auto& product : products)
        outputs.push_back(product.out);
    epilogue.apply({0, M, 0, N, outputs, N});
}

}  // namespace rknpu2
