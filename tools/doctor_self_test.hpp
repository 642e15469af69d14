// SPDX-License-Identifier: MIT
// Does the device multiply right? Every type, layout and class of shape, and every way the plug-in binds
// memory.
//
// Operands are laid out by the written specification (matrix/layout.hpp) and nothing else of the plug-in, so
// a wrong result is the device's, the runtime's or the specification's. What the plug-in uses (int8 to int32,
// fp16 to fp32, native on all sides) comes first and is tested in more ways; then every other type and layout
// that the chip has. Results of fp16 are also compared with the simulator's order of additions
// (docs/simulator.md), which tells how near that guess is; that is reported and never an error.
//
// Cost: some 600 million multiplications by the CPU for the reference, a second or three; a third of that
// when quick.
#pragma once

#include <vector>

#include "doctor_check.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// How the operands get to the device.
enum class Binding {
    kOwn,     // memory of the context
    kSlices,  // parts of memory that another context has made, as the plug-in's weights
    kRows,    // a context of several row counts, which runs another one before
};

// Who needs the case to pass.
enum class Use {
    kPlugin,       // every model
    kLargeModels,  // models whose weights fill more than one IOMMU domain
    kOther,        // other programs than the plug-in
};

struct SelfTestCase {
    std::string what;  // the class, for people: "one row"
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t M = 1, K = 32, N = 32;
    Layout ac_layout = Layout::kNative;
    Layout b_layout = Layout::kNative;
    int core = 0;
    int domain = 0;
    Binding binding = Binding::kOwn;
    bool integers = true;  // operands of fp16 are small integers
    Use use = Use::kPlugin;
};

struct Mismatch {
    size_t m = 0, n = 0;
    double expected = 0, got = 0;
};

struct SelfTestResult : Outcome {
    SelfTestCase test;
    size_t wrong = 0;         // results out of M * N
    Mismatch first;           // of those that are wrong
    double worst = 0;         // fractions: the largest error as a share of what is allowed
    size_t as_simulator = 0;  // results with the bits of the simulator's order

    bool passed() const { return ran() && wrong == 0; }
};

// What is tested, `quick`: one case of each kind, small.
std::vector<SelfTestCase> self_test_cases(bool quick);

SelfTestResult run_self_test(NpuRuntime& runtime, const SelfTestCase& test);

// "native", "normal", "transposed".
const char* layout_name(Layout layout);

// "int4 to int16, B native, A and C normal, one row: 1x32x64 on core 0"
std::string case_text(const SelfTestCase& test);

Check check_of(const SelfTestResult& result);

// A line for each case that the plug-in needs and for each that failed; one for all others of a type and
// layout.
std::vector<Check> checks_of(const std::vector<SelfTestResult>& results);

}  // namespace rknpu2
