// SPDX-License-Identifier: MIT
// How long runs take: medians of repeated runs of a shape, on one core or on several at once.
//
// A round starts one thread for each core together; each runs its own context several times with operands
// that are bound already, and the round lasts until the last thread is done. So a time has the submit in it,
// as a caller sees it, and no quantising, binding or cache maintenance. The first round is not counted. On
// the simulator the clock is virtual and two rounds are enough, being equal.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "doctor_check.hpp"
#include "runtime/npu_runtime.hpp"
#include "timing/profile.hpp"

namespace rknpu2 {

// The clock that measurements go by: this machine's on a board, the simulator's virtual one on the simulator,
// since the wall time of a simulated run is a PC's and means nothing. The simulator tells by functions of its
// own (sim/api/rknnsim_time.h) what each call would take. Every thread has a virtual time of its own.
class DoctorClock {
  public:
    // `library`: the runtime's path, which is loaded already.
    explicit DoctorClock(const std::string& library);

    bool simulated() const { return now_ != nullptr; }

    // Nanoseconds, of the calling thread.
    uint64_t now() const;
    // The calling thread has waited for all that was done so far, and gets the time.
    uint64_t join() const;
    // The calling thread begins at that time; nothing on a real clock, which does so by itself.
    void start_at(uint64_t time) const;

  private:
    void* now_ = nullptr;
    void* join_ = nullptr;
    void* advance_to_ = nullptr;
};

// What a step works with.
struct Bench {
    NpuRuntime& runtime;
    const DoctorClock& clock;
    bool quick = false;
};

struct SpeedShape {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t M = 1, K = 32, N = 32;  // of each core
    int cores = 1;

    bool operator==(const SpeedShape&) const = default;
};

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

    const Speed* find(const SpeedShape& shape) const;
};

// The shapes that doctor_profile.hpp fits to come first; the rest shows how far the fitted model holds.
std::vector<SpeedShape> speed_shapes(bool quick);

// Puts the speed of one more shape, or what binding costs, into `all`.
Status measure(Bench& bench, const SpeedShape& shape, Measurements& all);
Status measure_bind(Bench& bench, Measurements& all);

// One shape: the median of `rounds` rounds of `runs` runs each, after one that is not counted.
Result<Speed> measure_shape(Bench& bench, const SpeedShape& shape, size_t rounds, int runs);

// The median of at least one value.
double median(std::vector<double> values);
// Microseconds of `work`, the median of `rounds` times; before() is done before each and not timed.
Result<double> median_us(const DoctorClock& clock, size_t rounds, const std::function<void()>& before,
                         const std::function<Status()>& work);

// int8 or fp16 and native, on that core.
ContextSpec spec_of(const SpeedShape& shape, int core = 0);

// What a profile says that a run of this shape takes, submit included.
double predicted_us(const SpeedShape& shape, const rknnsim::Profile& profile);

// Against the prediction of the simulator's own profile: a factor of more than 1.5 is a warning.
Check check_of(const Speed& speed, const rknnsim::Profile& profile);

}  // namespace rknpu2
