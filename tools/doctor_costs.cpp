// SPDX-License-Identifier: MIT
// The probes of what calls and shapes cost that others have not measured, or not agreed on.
#include <atomic>
#include <cstring>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include "base/format.hpp"
#include "doctor_product.hpp"
#include "doctor_profile.hpp"
#include "doctor_reading.hpp"
#include "matrix/layout.hpp"
#include "system/threads.hpp"

namespace rknpu2 {
namespace {

constexpr NpuArithmetic kInt8 = NpuArithmetic::kInt8;
constexpr NpuArithmetic kFp16 = NpuArithmetic::kFloat16;

// The row counts of the plug-in's contexts (plan/weight_plan.cpp) are 28; which ones does not matter.
constexpr size_t kRowCounts = 28;

struct BindShape {
    Operand operand;
    size_t M, K, N;
};

// 4 KiB, 1 MiB and 16 MiB of either operand.
constexpr BindShape kBindShapes[] = {
    {Operand::kActivations, 1, 4096, 32},    {Operand::kActivations, 256, 4096, 32},
    {Operand::kActivations, 2047, 8192, 32}, {Operand::kWeights, 1, 128, 32},
    {Operand::kWeights, 1, 4096, 256},       {Operand::kWeights, 1, 4096, 4096}};

// Each time after the CPU has written all of it: a bind that cleans has something to clean.
Result<double> bind_us(Bench& bench, const BindShape& shape) {
    Product product;
    RKNPU2_RETURN_IF_ERROR(
        prepare_ones(bench.runtime, spec_of({kInt8, shape.M, shape.K, shape.N, 1}), product));
    NpuMemory& memory = shape.operand == Operand::kWeights ? *product.b : *product.a;
    return median_us(
        bench.clock, bench.clock.simulated() ? 1 : 9, [&] { std::memset(memory.data(), 2, memory.size()); },
        [&] { return product.context->bind(shape.operand, memory); });
}

Result<double> create_us(Bench& bench, size_t row_counts) {
    ContextSpec spec{.K = 2048, .N = 2048};
    for (size_t i = 1; i <= row_counts; ++i)
        spec.rows.push_back(4 * i);
    std::unique_ptr<NpuContext> context;
    return median_us(
        bench.clock, 5, [&] { context.reset(); },
        [&] {
            Result<std::unique_ptr<NpuContext>> made = bench.runtime.create_context(spec);
            if (made.ok()) context = made.take();
            return made.status();
        });
}

// Keeps every CPU busy with reading memory while it lives.
class BusyCpus {
  public:
    BusyCpus() {
        threads_.start(std::thread::hardware_concurrency(), [this](size_t) {
            std::vector<char> mine(size_t{16} << 20, 1);
            unsigned sum = 0;
            while (!stop_.load(std::memory_order_relaxed)) {
                for (size_t i = 0; i < mine.size(); i += 64)
                    sum += static_cast<unsigned char>(mine[i]);
                mine[0] = static_cast<char>(sum);
            }
        });
    }
    ~BusyCpus() {
        stop_ = true;
        threads_.join();
    }

  private:
    std::atomic<bool> stop_{false};
    ThreadTeam threads_;
};

Status add_shape(Bench& bench, Reading& reading, const SpeedShape& shape, const std::string& name) {
    const size_t rounds = bench.clock.simulated() ? 1 : 5;
    const int runs = bench.clock.simulated() ? 1 : 2;
    const Result<Speed> speed = measure_shape(bench, shape, rounds, runs);
    RKNPU2_RETURN_IF_ERROR(speed.status().with_context(name));
    reading.add(name, speed.value().run_us, "us");
    return {};
}

}  // namespace

Status probe_bind_cost(Bench& bench, Reading& reading) {
    double weights[std::size(kBindShapes)] = {};
    for (size_t i = 0; i < std::size(kBindShapes); ++i) {
        const BindShape& shape = kBindShapes[i];
        const bool b = shape.operand == Operand::kWeights;
        const size_t kib = (b ? shape.K * shape.N : shape.M * shape.K) >> 10;
        const std::string name = format("%s, %zu KiB", b ? "weights" : "activations", kib);
        const Result<double> us = bind_us(bench, shape);
        RKNPU2_RETURN_IF_ERROR(us.status().with_context(name));
        reading.add(name, us.value(), "us");
        weights[i] = us.value();
    }
    const auto grows = [&](size_t first) { return weights[first + 2] > 3 * weights[first] + 5; };
    reading.answer = grows(0) || grows(3) ? "grows with the bytes" : "the same for any size";
    return {};
}

Status probe_context_cost(Bench& bench, Reading& reading) {
    const Result<double> one = create_us(bench, 1);
    RKNPU2_RETURN_IF_ERROR(one.status());
    reading.add("one row count", one.value(), "us");
    const Result<double> many = create_us(bench, kRowCounts);
    RKNPU2_RETURN_IF_ERROR(many.status());
    reading.add(format("%zu row counts", kRowCounts), many.value(), "us");
    reading.answer = format("%.1f us and %.1f us", one.value(), many.value());
    return {};
}

Status probe_int8_three_cores(Bench& bench, Reading& reading) {
    constexpr SpeedShape kShape{kInt8, 512, 4096, 4096, 3};
    RKNPU2_RETURN_IF_ERROR(add_shape(bench, reading, kShape, "alone"));
    const double alone = reading.figures.back().value;
    reading.add("by the simulator's profile", predicted_us(kShape, simulator_profile()), "us");
    reading.answer = format("%.1f us", alone);
    if (bench.clock.simulated()) return {};  // its clock knows nothing of this machine's CPUs
    const BusyCpus busy;
    RKNPU2_RETURN_IF_ERROR(add_shape(bench, reading, kShape, "with every CPU busy reading memory"));
    reading.answer += format(", %.2f times as long with busy CPUs", reading.figures.back().value / alone);
    return {};
}

Status probe_attention_shapes(Bench& bench, Reading& reading) {
    const SpeedShape shapes[] = {{kFp16, 2048, 512, 2048, 1}, {kFp16, 2048, 512, 4096, 1},
                                 {kFp16, 2048, 512, 8192, 1}, {kFp16, 2048, 512, 16384, 1},
                                 {kFp16, 2048, 2048, 512, 1}, {kFp16, 2048, 4096, 512, 1}};
    for (const SpeedShape& shape : shapes) {
        const char* const what = shape.K == 512 ? "queries by keys" : "weights by values";
        RKNPU2_RETURN_IF_ERROR(
            add_shape(bench, reading, shape, format("%s, %s", what, speed_text(shape).c_str())));
    }
    reading.answer = "run";
    return {};
}

}  // namespace rknpu2
