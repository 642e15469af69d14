// SPDX-License-Identifier: MIT
#include "doctor_measure.hpp"

#include <algorithm>
#include <barrier>
#include <cstring>
#include <future>

#include "base/format.hpp"
#include "matrix/float16.hpp"
#include "soc/rk3588.hpp"
#include "system/threads.hpp"
#include "timing/profile.hpp"
#include "timing/work.hpp"

namespace rknpu2 {
namespace {

constexpr Operand kOperands[] = {Operand::kActivations, Operand::kWeights, Operand::kResult};

constexpr int kRunsInRound = 4;
constexpr double kFarOff = 1.5;

struct Thread {
    Product* product = nullptr;
    Status status;
    uint64_t first = 0, last = 0;
};

// `runs` on all cores at once; microseconds of one.
Result<double> round_us(std::vector<Product>& cores, const RuntimeClock& clock, int runs) {
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
    StartedThreads threads;
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

Status Product::make(NpuRuntime& runtime, const ContextSpec& of, bool slices) {
    spec = of;
    ContextSpec small = of;
    small.K = small.N = 64;
    small.rows = {1};
    if (slices) lender = RKNPU2_TAKE(runtime.create_context(small));
    context = RKNPU2_TAKE(runtime.create_context(spec));
    return {};
}

Status Product::allocate(size_t index) {
    size_t offset = kSliceAlign;  // nothing at the front: an offset that is ignored is seen
    if (lender) {
        size_t bytes = offset;
        for (const Operand operand : kOperands)
            bytes += round_up(context->operand_bytes(operand, index), kSliceAlign);
        whole = RKNPU2_TAKE(lender->allocate(bytes));
    }
    std::unique_ptr<NpuMemory>* const to[] = {&a, &b, &c};
    for (size_t i = 0; i < 3; ++i) {
        const size_t bytes = context->operand_bytes(kOperands[i], index);
        *to[i] =
            RKNPU2_TAKE(lender ? context->import_slice(*whole, offset, bytes) : context->allocate(bytes));
        offset += round_up(bytes, kSliceAlign);
    }
    return {};
}

Status Product::prepare(size_t index, const Fill& fill) {
    RKNPU2_RETURN_IF_ERROR(context->select_rows(index));
    fill(*a, *b);
    std::memset(c->data(), kPattern, c->size());
    // Results, too: else the cache may write the pattern back later. What is not native is copied by bind().
    // A sync of an import is a question of its own (doctor_trials.cpp).
    if (lender) {
        RKNPU2_RETURN_IF_ERROR(lender->sync_to_device(*whole));
    } else {
        RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*c));
        if (spec.ac_layout == Layout::kNative) RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*a));
        if (spec.b_layout == Layout::kNative) RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*b));
    }
    return bind_to(*context);
}

Status Product::bind_to(NpuContext& to) {
    RKNPU2_RETURN_IF_ERROR(to.bind(Operand::kActivations, *a));
    RKNPU2_RETURN_IF_ERROR(to.bind(Operand::kWeights, *b));
    return to.bind(Operand::kResult, *c);
}

Status Product::run() {
    RKNPU2_RETURN_IF_ERROR(context->run());
    return lender ? lender->sync_from_device(*whole) : context->sync_from_device(*c);
}

double load(const std::byte* from, DType type, size_t index) {
    switch (type) {
        case DType::kInt8:
            return reinterpret_cast<const int8_t*>(from)[index];
        case DType::kInt16:
            return reinterpret_cast<const int16_t*>(from)[index];
        case DType::kInt32:
            return reinterpret_cast<const int32_t*>(from)[index];
        case DType::kFloat16:
            return static_cast<double>(float16_to_float(reinterpret_cast<const uint16_t*>(from)[index]));
        default:
            return static_cast<double>(reinterpret_cast<const float*>(from)[index]);
    }
}

Status prepare_ones(NpuRuntime& runtime, const ContextSpec& spec, Product& product) {
    RKNPU2_RETURN_IF_ERROR(product.make(runtime, spec));
    RKNPU2_RETURN_IF_ERROR(product.allocate(0));
    return product.prepare(0, [](NpuMemory& a, NpuMemory& b) {
        std::memset(a.data(), 1, a.size());
        std::memset(b.data(), 1, b.size());
    });
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

Result<double> median_us(const RuntimeClock& clock, size_t rounds, const std::function<void()>& before,
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
        const double time = RKNPU2_TAKE(round_us(cores, bench.clock, runs));
        if (round > 0) times.push_back(std::max(time, 1e-3));
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

std::vector<SpeedShape> speed_shapes(bool quick) {
    constexpr NpuArithmetic int8 = NpuArithmetic::kInt8;
    constexpr NpuArithmetic fp16 = NpuArithmetic::kFloat16;
    std::vector<SpeedShape> shapes = {kCallShape, {int8, 128, 1024, 4096, 1}};
    for (int cores = 1; cores <= rk3588::kCores; ++cores) {
        shapes.push_back({int8, 1, 4096, 4096, cores});
        shapes.push_back({int8, 64, 4096, 2048, cores});
    }
    shapes.insert(shapes.end(),
                  {{int8, 1, 1024, 1024, 1}, {fp16, 1, 2048, 2048, 1}, {fp16, 128, 1024, 1024, 1}});
    if (quick) return shapes;
    shapes.insert(shapes.end(), {{int8, 32, 2048, 2048, 1},
                                 {int8, 128, 2048, 2048, 1},
                                 {int8, 256, 1024, 4096, 3},
                                 {int8, 8, 8192, 1024, 1},
                                 {fp16, 1, 4096, 4096, 3},
                                 {fp16, 128, 2048, 2048, 1},
                                 {fp16, 128, 1024, 1024, 3}});
    return shapes;
}

Status measure(Bench& bench, const SpeedShape& shape, Measurements& all) {
    const bool simulated = bench.clock.simulated();
    const size_t rounds = simulated ? 2 : bench.quick ? 5 : 15;
    all.speeds.push_back(RKNPU2_TAKE(measure_shape(bench, shape, rounds, kRunsInRound)));
    all.virtual_clock = simulated;
    all.rounds = rounds;
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
    all.bind_us = RKNPU2_TAKE(median_us(
                      bench.clock, all.rounds, [] {}, bind)) /
                  kRunsInRound;
    return {};
}

double predicted_us(const SpeedShape& shape) {
    rknnsim::Profile profile;
    static_cast<void>(rknnsim::load_profile("", &profile));  // compiled in, and loaded by a test
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

Check check_of(const Speed& speed) {
    const SpeedShape& s = speed.shape;
    const double expected = predicted_us(s);
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
