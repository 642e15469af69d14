// SPDX-License-Identifier: MIT
#include "doctor_measure.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <future>

#include "api/rknnsim_time.h"
#include "base/format.hpp"
#include "doctor_product.hpp"
#include "system/threads.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr int kRunsInRound = 4;
constexpr double kFarOff = 1.5;

struct Thread {
    Product* product = nullptr;
    Status status;
    uint64_t first = 0, last = 0;
};

// `runs` on all cores at once; microseconds of one.
Result<double> round_us(std::vector<Product>& cores, const DoctorClock& clock, int runs) {
    const uint64_t start = clock.join();
    std::barrier<> together(static_cast<std::ptrdiff_t>(cores.size()));
    std::promise<bool> all_there;
    const std::shared_future<bool> may_begin = all_there.get_future().share();
    const auto body = [&](Thread& self) {
        clock.start_at(start);
        together.arrive_and_wait();
        self.first = clock.simulated() ? start : clock.now();
        for (int i = 0; i < runs && self.status.ok(); ++i)
            self.status = self.product->context->run();
        if (!clock.simulated()) self.last = clock.now();
        // The simulator lays runs out when it is asked for a time: all of them have to be known by then.
        together.arrive_and_wait();
        if (clock.simulated()) self.last = clock.now();
    };
    std::vector<Thread> states(cores.size());
    for (size_t i = 0; i < cores.size(); ++i)
        states[i].product = &cores[i];
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

}  // namespace

DoctorClock::DoctorClock(const std::string& library) {
    void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) return;
    void* const now = dlsym(handle, "rknnsim_time_now");
    join_ = dlsym(handle, "rknnsim_time_join");
    advance_to_ = dlsym(handle, "rknnsim_time_advance_to");
    if (join_ != nullptr && advance_to_ != nullptr) now_ = now;
    dlclose(handle);  // it stays loaded: the runtime has it
}

uint64_t DoctorClock::now() const {
    if (simulated()) return reinterpret_cast<decltype(&rknnsim_time_now)>(now_)();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
}

uint64_t DoctorClock::join() const {
    if (simulated()) static_cast<void>(reinterpret_cast<decltype(&rknnsim_time_join)>(join_)());
    return now();
}

void DoctorClock::start_at(uint64_t time) const {
    if (simulated())
        static_cast<void>(reinterpret_cast<decltype(&rknnsim_time_advance_to)>(advance_to_)(time));
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

Result<double> median_us(const DoctorClock& clock, size_t rounds, const std::function<void()>& before,
                         const std::function<Status()>& work) {
    std::vector<double> times;
    while (times.size() < rounds) {
        before();
        const uint64_t start = clock.join();
        RKNPU2_RETURN_IF_ERROR(work());
        times.push_back(static_cast<double>(clock.now() - start) / 1000);
    }
    return median(times);
}

ContextSpec spec_of(const SpeedShape& shape, int core) {
    return {.arithmetic = shape.arithmetic, .K = shape.K, .N = shape.N, .rows = {shape.M}, .core = core};
}

Result<Speed> measure_shape(Bench& bench, const SpeedShape& shape, size_t rounds, int runs) {
    std::vector<Product> cores(static_cast<size_t>(shape.cores));
    for (int core = 0; core < shape.cores; ++core)
        RKNPU2_RETURN_IF_ERROR(
            prepare_ones(bench.runtime, spec_of(shape, core), cores[static_cast<size_t>(core)]));
    std::vector<double> times;
    for (size_t round = 0; round <= rounds; ++round) {
        const Result<double> time = round_us(cores, bench.clock, runs);
        RKNPU2_RETURN_IF_ERROR(time.status());
        if (round > 0) times.push_back(std::max(time.value(), 1e-3));
    }
    Speed speed;
    speed.shape = shape;
    speed.run_us = median(times);
    speed.low_us = *std::min_element(times.begin(), times.end());
    speed.high_us = *std::max_element(times.begin(), times.end());
    return speed;
}

double Speed::gops() const {
    return 2e-3 * static_cast<double>(shape.M * shape.K * shape.N) * shape.cores / run_us;
}

double Speed::weights_gbps() const {
    const size_t bytes = dtype_bytes(operand_type(shape.arithmetic), shape.K * shape.N);
    return 1e-3 * static_cast<double>(bytes) * shape.cores / run_us;
}

std::string speed_text(const SpeedShape& shape) {
    return format("%zux%zux%zu %s, %d core%s", shape.M, shape.K, shape.N,
                  dtype_name(operand_type(shape.arithmetic)), shape.cores, shape.cores == 1 ? "" : "s");
}

const Speed* Measurements::find(const SpeedShape& shape) const {
    const auto found =
        std::find_if(speeds.begin(), speeds.end(), [&](const Speed& speed) { return speed.shape == shape; });
    return found == speeds.end() ? nullptr : &*found;
}

Status measure(Bench& bench, const SpeedShape& shape, Measurements& all) {
    const bool simulated = bench.clock.simulated();
    const size_t rounds = simulated ? 2 : bench.quick ? 5 : 15;
    const Result<Speed> speed = measure_shape(bench, shape, rounds, kRunsInRound);
    RKNPU2_RETURN_IF_ERROR(speed.status());
    all.virtual_clock = simulated;
    all.rounds = rounds;
    all.speeds.push_back(speed.value());
    return {};
}

// Activations of a few KiB: what a call costs, not what the cache does.
Status measure_bind(Bench& bench, Measurements& all) {
    Product product;
    RKNPU2_RETURN_IF_ERROR(
        prepare_ones(bench.runtime, spec_of({NpuArithmetic::kInt8, 1, 4096, 32, 1}), product));
    const auto bind = [&]() -> Status {
        for (int i = 0; i < kRunsInRound; ++i)
            RKNPU2_RETURN_IF_ERROR(product.context->bind(Operand::kActivations, *product.a));
        return {};
    };
    RKNPU2_RETURN_IF_ERROR(bind());  // is not counted
    const Result<double> us = median_us(
        bench.clock, all.rounds, [] {}, bind);
    RKNPU2_RETURN_IF_ERROR(us.status());
    all.bind_us = us.value() / kRunsInRound;
    return {};
}

double predicted_us(const SpeedShape& shape, const rknnsim::Profile& profile) {
    rknnsim::MatmulShape simulated;
    simulated.type = shape.arithmetic == NpuArithmetic::kInt8 ? rknnsim::MatmulType::kI8I8I32
                                                              : rknnsim::MatmulType::kF16F16F32;
    simulated.ac_native = true;
    simulated.M = static_cast<uint32_t>(shape.M);
    simulated.K = static_cast<uint32_t>(shape.K);
    simulated.N = static_cast<uint32_t>(shape.N);
    const rknnsim::Work work = rknnsim::work_of(simulated, profile);
    return profile.submit_us + rknnsim::duration_of(simulated, work, profile, shape.cores).total / 1000;
}

Check check_of(const Speed& speed, const rknnsim::Profile& profile) {
    const SpeedShape& s = speed.shape;
    const double expected = predicted_us(s, profile);
    const double factor = std::max(speed.run_us / expected, expected / speed.run_us);
    const CheckLine line{
        format("speed.%s.%zux%zux%zu.%d", dtype_name(operand_type(s.arithmetic)), s.M, s.K, s.N, s.cores),
        speed_text(s)};
    const std::string found =
        format("%.1f us, %.0f GOPS, weights at %.1f GB/s; the simulator says %.1f us (%.2f of it)",
               speed.run_us, speed.gops(), speed.weights_gbps(), expected, speed.run_us / expected);
    if (factor <= kFarOff) return line.ok(found);
    return line.warning(found,
                        "first see the clocks above; if they are at their highest, the model is wrong here: "
                        "report it with this report's file");
}

}  // namespace rknpu2
