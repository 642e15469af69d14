// SPDX-License-Identifier: MIT
#include "doctor_measure.hpp"

#include <algorithm>
#include <array>
#include <barrier>
#include <cstring>
#include <future>
#include <memory>

#include "base/format.hpp"
#include "doctor_prepared.hpp"
#include "doctor_statistics.hpp"
#include "system/threads.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr int kRunsInRound = 4;
constexpr double kFarOff = 1.5;

struct Thread {
    Prepared* prepared = nullptr;
    Status status;
    uint64_t first = 0, last = 0;
};

// `runs` on all cores at once; microseconds of one.
Result<double> round_us(std::vector<Prepared>& cores, const DoctorClock& clock, int runs) {
    const uint64_t start = clock.join();
    std::barrier<> together(static_cast<std::ptrdiff_t>(cores.size()));
    std::promise<bool> all_there;
    const std::shared_future<bool> may_begin = all_there.get_future().share();
    const auto body = [&](Thread& self) {
        clock.start_at(start);
        together.arrive_and_wait();
        self.first = clock.simulated() ? start : clock.now();
        for (int i = 0; i < runs && self.status.ok(); ++i)
            self.status = self.prepared->context->run();
        if (!clock.simulated()) self.last = clock.now();
        // The simulator lays runs out when it is asked for a time: all of them have to be known by then.
        together.arrive_and_wait();
        if (clock.simulated()) self.last = clock.now();
    };
    std::vector<Thread> states(cores.size());
    for (size_t i = 0; i < cores.size(); ++i)
        states[i].prepared = &cores[i];
    ThreadTeam threads;
    threads.start(cores.size() - 1, [&](size_t i) {
        if (may_begin.get()) body(states[i + 1]);
    });
    const bool all = threads.size() + 1 == cores.size();
    all_there.set_value(all);
    if (all) body(states[0]);
    threads.join();
    if (!all) return Status(StatusCode::kOutOfMemory, "cannot start a thread for each NPU core");
    uint64_t first = states[0].first;
    uint64_t last = 0;
    for (const Thread& state : states) {
        RKNPU2_RETURN_IF_ERROR(state.status);
        first = std::min(first, state.first);
        last = std::max(last, state.last);
    }
    return static_cast<double>(last - first) / 1000 / runs;
}

// Binding activations of a few KiB: what a call costs, not what the cache does.
Result<double> measure_bind(NpuRuntime& runtime, const DoctorClock& clock, size_t rounds) {
    Prepared prepared;
    RKNPU2_RETURN_IF_ERROR(prepare(runtime, {NpuArithmetic::kInt8, 1, 4096, 32, 1}, 0, prepared));
    std::vector<double> times;
    for (size_t round = 0; round <= rounds; ++round) {
        const uint64_t start = clock.join();
        for (int i = 0; i < kRunsInRound; ++i)
            RKNPU2_RETURN_IF_ERROR(prepared.context->bind(Operand::kActivations, *prepared.a));
        if (round > 0) times.push_back(static_cast<double>(clock.now() - start) / 1000 / kRunsInRound);
    }
    return median(times);
}

rknnsim::MatmulShape simulated_shape(const SpeedShape& shape) {
    rknnsim::MatmulShape simulated;
    simulated.type = shape.arithmetic == NpuArithmetic::kInt8 ? rknnsim::MatmulType::kI8I8I32
                                                              : rknnsim::MatmulType::kF16F16F32;
    simulated.ac_native = true;
    simulated.M = static_cast<uint32_t>(shape.M);
    simulated.K = static_cast<uint32_t>(shape.K);
    simulated.N = static_cast<uint32_t>(shape.N);
    return simulated;
}

}  // namespace

Result<Speed> measure_shape(NpuRuntime& runtime, const DoctorClock& clock, const SpeedShape& shape,
                            size_t rounds, int runs) {
    std::vector<Prepared> cores(static_cast<size_t>(shape.cores));
    for (int core = 0; core < shape.cores; ++core)
        RKNPU2_RETURN_IF_ERROR(prepare(runtime, shape, core, cores[static_cast<size_t>(core)]));
    std::vector<double> times;
    for (size_t round = 0; round <= rounds; ++round) {
        const Result<double> time = round_us(cores, clock, runs);
        RKNPU2_RETURN_IF_ERROR(time.status());
        if (round > 0) times.push_back(std::max(time.value(), 1e-3));
    }
    Speed speed;
    speed.shape = shape;
    speed.run_us = median(times);
    speed.low_us = *std::min_element(times.begin(), times.end());
    speed.high_us = *std::max_element(times.begin(), times.end());
    const double weights = static_cast<double>(shape.K) * static_cast<double>(shape.N) * shape.cores;
    speed.gops = 2e-3 * weights * static_cast<double>(shape.M) / speed.run_us;
    speed.weights_gbps =
        1e-3 * weights * static_cast<double>(dtype_bits(operand_type(shape.arithmetic))) / 8 / speed.run_us;
    return speed;
}

std::string speed_text(const SpeedShape& shape) {
    return format("%zux%zux%zu %s, %d core%s", shape.M, shape.K, shape.N,
                  shape.arithmetic == NpuArithmetic::kInt8 ? "int8" : "fp16", shape.cores,
                  shape.cores == 1 ? "" : "s");
}

const Speed* Measurements::find(const SpeedShape& shape) const {
    for (const Speed& speed : speeds) {
        const SpeedShape& s = speed.shape;
        if (s.arithmetic == shape.arithmetic && s.M == shape.M && s.K == shape.K && s.N == shape.N &&
            s.cores == shape.cores) {
            return &speed;
        }
    }
    return nullptr;
}

Result<Measurements> measure(NpuRuntime& runtime, const DoctorClock& clock, bool quick,
                             const MeasureProgress& progress) {
    const auto begins = [&](const std::string& what) {
        if (progress.begins) progress.begins(what);
    };
    Measurements all;
    all.virtual_clock = clock.simulated();
    all.rounds = clock.simulated() ? 2 : quick ? 5 : 15;
    for (const SpeedShape& shape : speed_shapes(quick)) {
        begins(speed_text(shape));
        Result<Speed> speed = measure_shape(runtime, clock, shape, all.rounds, kRunsInRound);
        if (!speed.ok()) return std::move(speed.status()).with_context(speed_text(shape));
        all.speeds.push_back(speed.take());
        if (progress.measured) progress.measured(all);
    }
    begins("binding activations");
    const Result<double> bind = measure_bind(runtime, clock, all.rounds);
    if (!bind.ok()) return std::move(bind.status()).with_context("binding activations");
    all.bind_us = bind.value();
    return all;
}

double predicted_us(const SpeedShape& shape, const rknnsim::Profile& profile) {
    const rknnsim::MatmulShape simulated = simulated_shape(shape);
    const rknnsim::Work work = rknnsim::work_of(simulated, profile);
    return profile.submit_us + rknnsim::duration_of(simulated, work, profile, shape.cores).total / 1000;
}

Check check_of(const Speed& speed, const rknnsim::Profile& profile) {
    const double expected = predicted_us(speed.shape, profile);
    const double factor = std::max(speed.run_us / expected, expected / speed.run_us);
    Check check;
    const SpeedShape& s = speed.shape;
    check.id = format("speed.%s.%zux%zux%zu.%d", s.arithmetic == NpuArithmetic::kInt8 ? "int8" : "fp16", s.M,
                      s.K, s.N, s.cores);
    check.title = speed_text(speed.shape);
    check.found = format("%.1f us, %.0f GOPS, weights at %.1f GB/s; the simulator says %.1f us (%.2f of it)",
                         speed.run_us, speed.gops, speed.weights_gbps, expected, speed.run_us / expected);
    if (factor > kFarOff) {
        check.health = Health::kWarning;
        check.advice =
            "first see the clocks above; if they are at their highest, the model is wrong here: "
            "report it with this report's file";
    }
    return check;
}

}  // namespace rknpu2
