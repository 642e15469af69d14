// SPDX-License-Identifier: MIT
// How long runs take: medians of repeated runs of a shape, on one core or on several at once.
//
// A round starts one thread for each core together; each runs its own context several times with operands
// that are bound already, and the round lasts until the last thread is done. So a time has the submit in it,
// as a caller sees it, and no quantising, binding or cache maintenance. The first round is not counted. On
// the simulator the clock is virtual and two rounds are enough, being equal.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/status.hpp"
#include "doctor_check.hpp"
#include "runtime/npu_runtime.hpp"
#include "runtime_clock.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {

inline constexpr int kPattern = 0x55;  // not the simulator's own 0xAA
inline constexpr size_t kSliceAlign = 4096;

// One product on the NPU: a context with its operands, made ready and run.
struct Product {
    using Fill = std::function<void(NpuMemory& a, NpuMemory& b)>;

    ContextSpec spec;
    std::unique_ptr<NpuContext> lender;  // has made `whole`; null: the operands are the context's own
    std::unique_ptr<NpuContext> context;
    std::unique_ptr<NpuMemory> whole;  // what the operands are slices of
    std::unique_ptr<NpuMemory> a, b, c;

    // Makes the context, and the lender when the operands are to be `slices`. What was made stays after a
    // failure; this holds for all that follow.
    Status make(NpuRuntime& runtime, const ContextSpec& of, bool slices = false);
    // Memory for the operands of row count number `index`.
    Status allocate(size_t index);
    // Writes the operands, makes them visible and binds them. The result's memory gets a pattern, so that a
    // run which never happened is seen.
    Status prepare(size_t index, const Fill& fill);
    // The operands, to this or a context like it.
    Status bind_to(NpuContext& to);
    // Multiplies, and makes the result visible.
    Status run();
};

// Returns element `index` of a matrix: int8, int16, int32, fp16 or fp32.
double load(const std::byte* from, DType type, size_t index);

// make(), allocate() and prepare() with one row count. All bytes of A and B are 1.
Status prepare_ones(NpuRuntime& runtime, const ContextSpec& spec, Product& product);

// What a step works with.
struct Bench {
    NpuRuntime& runtime;
    const RuntimeClock& clock;
    bool quick = false;
};

struct SpeedShape {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t M = 1, K = 32, N = 32;  // of each core
    int cores = 1;

    bool operator==(const SpeedShape&) const = default;
};

// A run that does next to nothing, and one of all cores that waits for weights.
inline constexpr SpeedShape kCallShape{NpuArithmetic::kInt8, 1, 32, 32, 1};
inline constexpr SpeedShape kStreamShape{NpuArithmetic::kInt8, 1, 4096, 4096, rk3588::kCores};

// "1x4096x4096 int8, 3 cores"
std::string speed_text(const SpeedShape& shape);

struct Speed {
    SpeedShape shape;
    double run_us = 0;  // of one run, median over the rounds
    double low_us = 0, high_us = 0;

    double gops() const;          // of all cores
    double weights_gbps() const;  // bytes of B, once for each run, of all cores
};

struct Measurements {
    bool virtual_clock = false;
    size_t rounds = 0;
    double bind_us = 0;
    std::vector<Speed> speeds;
};

// The shapes that scripts/profile_of_report.py fits to come first; the rest shows how far the fitted model holds.
std::vector<SpeedShape> speed_shapes(bool quick);

// Puts the speed of one more shape, or what binding costs, into `all`.
Status measure(Bench& bench, const SpeedShape& shape, Measurements& all);
Status measure_bind(Bench& bench, Measurements& all);

// One shape: the median of `rounds` rounds of `runs` runs each, after one that is not counted.
Result<Speed> measure_shape(Bench& bench, const SpeedShape& shape, size_t rounds, int runs);

// The median of at least one value.
double median(std::vector<double> values);
// Microseconds of `work`, the median of `rounds` times; before() is done before each and not timed.
Result<double> median_us(const RuntimeClock& clock, size_t rounds, const std::function<void()>& before,
                         const std::function<Status()>& work);

// int8 or fp16 and native, on that core.
ContextSpec spec_of(const SpeedShape& shape, int core = 0);

// What the simulator's own profile says that a run of this shape takes, submit included.
double predicted_us(const SpeedShape& shape);

// Against that prediction: a factor of more than 1.5 is a warning.
Check check_of(const Speed& speed);

}  // namespace rknpu2
