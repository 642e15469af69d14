// SPDX-License-Identifier: MIT
// What the plug-in counts while it works (src/counters/counters.hpp), of the work that is modelled. A test compares
// the two for whole prompts (tests/e2e/test_prediction.py): what is modelled is what runs.
#pragma once

#include <cstdint>

namespace rknpu2 {

struct Counts {
    uint64_t runs = 0;
    uint64_t attention_runs = 0;    // of those
    uint64_t weight_bytes = 0;      // streamed by runs; keys and values of attention as well
    uint64_t activation_bytes = 0;  // written for the NPU
    uint64_t result_bytes = 0;
    uint64_t scores = 0;        // that the CPU weighs
    uint64_t packed_bytes = 0;  // of keys and values
    uint64_t attentions = 0;    // nodes whose products are the NPU's
    uint64_t few_tokens = 0;    // and those of the CPU's own kernel for few tokens
    uint64_t flows = 0, flow_chunks = 0;

    Counts& operator+=(const Counts& other);
};

}  // namespace rknpu2
