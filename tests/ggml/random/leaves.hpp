// SPDX-License-Identifier: MIT
// Steps that are no operations, and which operations write them: weights, states, inputs; their tensors, and the data in them.
//
//     weight:TYPE(K,N,stack,content) normal numbers over the root of K; for products; content as of inputs,
//                                    or 5: a rotation (Hadamard's matrix)
//     vector(N)                      about 1: gains, biases, divisors
//     state:TYPE(n0,n1,n2,n3,content,scale)   stays from one computation to the next; content: 0 zeros,
//                                    1 normal numbers times `scale`, 2 infinities and NaN of both signs,
//                                    3 positive numbers about `scale`
//     input(n0,n1,n2,n3,content)     normal numbers; content: 1 each row times its own power of ten, 2 rows
//                                    of subnormal numbers among others, 3 one number of a row is huge, 4
//                                    rows of zeros of both signs, and rows with one number
//     inverse(n0,n1)                 those powers of ten of the rows of source 0, as divisors
//     step_sizes(n,size)             of an optimiser: 7 of AdamW, 2 of SGD
//     positive(n0,n1,n2,n3)          between 0.5 and 1.5
//     rows:TYPE(n,cells,order)       n different places of `cells`; order: 0 ascending, 1 descending, 2
//     shuffled
//     positions(n,times)             of tokens: ascending, `times` after each other
//     choice(used,n,experts)         for each of n rows different experts
//     indices(n,limit)               any numbers below `limit`
//     mask(cells,n,kind,old,n2,n3)   of fp16, for rows at places (source 0, if any); see leaf_data.cpp
//
// Data depends on the step's seed and, of inputs, on the round.
#pragma once

#include <cstdint>
#include <vector>

#include "ggml/random/build.hpp"

namespace rknpu2::test {

bool is_leaf(const Step& step);
// Where its memory comes from.
enum class LeafKind { kWeight, kState, kInput };
LeafKind leaf_kind(const Step& step);

// Does the operation write one of its sources? written_operand(): which one.
bool writes_operand(const Step& step);
size_t written_operand(const Step& step);

// The tensor in `context`, without memory.
ggml_tensor* make_leaf(const HostFunctions& ggml, ggml_context* context, const Step& step);

// What the tensor of step `index` holds at the beginning of a round.
std::vector<uint8_t> leaf_data(GgmlHost& host, const Recipe& recipe, size_t index, int round);

// The places of a step `rows`, in a round.
std::vector<int64_t> places_of(const Step& step, int round);

}  // namespace rknpu2::test
