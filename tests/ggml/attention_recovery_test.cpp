// SPDX-License-Identifier: MIT
// Prompts whose attention is the NPU's, when it fails: what GGML_RKNPU2_ON_ERROR tries again gives the fault-free bits, whoever
// hangs a core.
#include <gtest/gtest.h>

#include "ggml/faulty_process.hpp"

namespace rknpu2::test {
namespace {

// A prompt whose run of this number on a core hangs it until its context is gone.
void recovers_from_hang(int number) {
    SCOPED_TRACE(number);
    FaultyProcess process("hang:core=0:nth=" + std::to_string(number));
    LayerOptions options;
    options.tokens = 300;
    LayerGraph graph(process.host(), options, 1);
    const auto result = process.compute(graph);
    process.end_faults();
    EXPECT_TRUE(process.compute(graph) == result) << "the same bits";
}

// A product's, too: it keeps attention from its core.
TEST(AttentionRecoveryTest, AHungCore) {
    RKNPU2_NEEDS_HOST();
    for (int number = 5; number < 45 && !HasFailure(); number += 3)
        run_alone([&] { recovers_from_hang(number); });
}

}  // namespace
}  // namespace rknpu2::test
