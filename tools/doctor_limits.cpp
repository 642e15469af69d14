// SPDX-License-Identifier: MIT
// The probes of how far the chip and its runtime go, what they take int4 for, and what calls and shapes cost
// that others have not measured, or not agreed on.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <iterator>
#include <thread>

#include "base/format.hpp"
#include "doctor_reading.hpp"
#include "kernels/attention.hpp"
#include "matrix/float16.hpp"
#include "system/process.hpp"
#include "system/thread_pool.hpp"
#include "system/threads.hpp"

namespace rknpu2 {
namespace {

constexpr NpuArithmetic kInt8 = NpuArithmetic::kInt8;
constexpr NpuArithmetic kFp16 = NpuArithmetic::kFloat16;
constexpr auto kLongest = std::chrono::seconds(20);

// Values of whole rows of A and whole columns of B, small enough for exact sums in every type.
int row_value(size_t m) {
    return static_cast<int>(m % 5) + 1;
}
int column_value(size_t n) {
    return static_cast<int>(n % 7) - 3;
}

// `count` elements from `index` on.
void fill(NpuMemory& memory, DType type, size_t index, size_t count, int value) {
    if (type == DType::kInt8) {
        std::memset(memory.data() + index, value, count);
    } else {
        std::fill_n(reinterpret_cast<uint16_t*>(memory.data()) + index, count,
                    float_to_float16(static_cast<float>(value)));
    }
}

// An atom of A and a tile's column of B have one value each.
void fill_operands(const SpeedShape& shape, NpuMemory& a, NpuMemory& b) {
    const DType type = operand_type(shape.arithmetic);
    const size_t atom = atom_elements(type);
    for (size_t m = 0; m < shape.M; ++m) {
        for (size_t k = 0; k < shape.K; k += atom)
            fill(a, type, a_index_native(m, k, shape.M, type), atom, row_value(m));
    }
    for (size_t n = 0; n < shape.N; ++n) {
        for (size_t k = 0; k < shape.K; k += kTileK)
            fill(b, type, b_index_native(k, n, shape.K, shape.N, type), kTileK, column_value(n));
    }
}

size_t wrong_results(const SpeedShape& shape, const NpuMemory& c) {
    const DType type = result_type(shape.arithmetic);
    size_t wrong = 0;
    for (size_t m = 0; m < shape.M; ++m) {
        for (size_t n = 0; n < shape.N; ++n) {
            const double expected = static_cast<double>(shape.K) * row_value(m) * column_value(n);
            wrong += load(c.data(), type, c_index_native(m, n, shape.M, type)) == expected ? 0 : 1;
        }
    }
    return wrong;
}

// An error when the runtime refuses the shape or a result is wrong.
Status multiply(Bench& bench, const SpeedShape& shape) {
    Product product;
    RKNPU2_RETURN_IF_ERROR(product.make(bench.runtime, spec_of(shape)));
    RKNPU2_RETURN_IF_ERROR(product.allocate(0));
    const DType type = operand_type(shape.arithmetic);
    if (product.a->size() < dtype_bytes(type, shape.M * shape.K) ||
        product.b->size() < dtype_bytes(type, shape.K * shape.N) ||
        product.c->size() < dtype_bytes(result_type(shape.arithmetic), shape.M * shape.N))
        return {StatusCode::kDeviceError, "the runtime asks for less memory than the operands have"};
    RKNPU2_RETURN_IF_ERROR(
        product.prepare(0, [&](NpuMemory& a, NpuMemory& b) { fill_operands(shape, a, b); }));
    RKNPU2_RETURN_IF_ERROR(product.run());
    const size_t wrong = wrong_results(shape, *product.c);
    if (wrong == 0) return {};
    return {StatusCode::kDeviceError, format("%zu of %zu results wrong", wrong, shape.M * shape.N)};
}

// Goes up to the first size of which a shape fails.
Status go_up(Bench& bench, Reading& reading, NpuArithmetic type, const std::vector<size_t>& sizes,
             const std::function<std::vector<SpeedShape>(size_t)>& shapes_of) {
    size_t largest = 0;  // with which all shapes were right
    std::string end;
    for (size_t i = 0; i < sizes.size() && end.empty(); ++i) {
        for (const SpeedShape& shape : shapes_of(sizes[i])) {
            Status status = multiply(bench, shape);
            if (status.code() == StatusCode::kTimeout) return status;
            if (status.ok()) continue;
            end = format(", and at %zu %s", sizes[i], status.message().c_str());
            break;
        }
        if (end.empty()) largest = sizes[i];
    }
    const char* const name = dtype_name(operand_type(type));
    reading.add(name, static_cast<double>(largest), "");
    reading.answer += format("%s%s to %zu%s", reading.answer.empty() ? "" : "; ", name, largest, end.c_str());
    return {};
}

// One more context with the operands of the first, run once.
Status add_context(Bench& bench, Product& first, std::vector<std::unique_ptr<NpuContext>>& alive) {
    std::unique_ptr<NpuContext> context = RKNPU2_TAKE(bench.runtime.create_context(first.spec));
    RKNPU2_RETURN_IF_ERROR(context->select_rows(0));
    RKNPU2_RETURN_IF_ERROR(first.bind_to(*context));
    RKNPU2_RETURN_IF_ERROR(context->run());
    RKNPU2_RETURN_IF_ERROR(first.context->sync_from_device(*first.c));
    const int32_t result = *reinterpret_cast<const int32_t*>(first.c->data());
    if (result != static_cast<int32_t>(first.spec.K))
        return {StatusCode::kDeviceError, format("%d instead of %zu", result, first.spec.K)};
    alive.push_back(std::move(context));
    return {};
}

// The row counts of the plug-in's contexts (plan/weight_plan.cpp) are 28; which ones does not matter.
constexpr size_t kRowCounts = 28;

std::vector<size_t> row_counts(size_t count) {
    std::vector<size_t> rows(count);
    std::ranges::generate(rows, [M = size_t{0}]() mutable { return M += 4; });
    return rows;
}

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

Result<double> create_us(Bench& bench, size_t count) {
    const ContextSpec spec{.K = 2048, .N = 2048, .rows = row_counts(count)};
    std::unique_ptr<NpuContext> context;
    return median_us(
        bench.clock, 5, [&] { context.reset(); },
        [&]() -> Status {
            context = RKNPU2_TAKE(bench.runtime.create_context(spec));
            return {};
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
    StartedThreads threads_;
};

// `runs`: in each of five rounds, on a real clock.
Status add_shape(Bench& bench, Reading& reading, const SpeedShape& shape, int runs, const std::string& name) {
    const bool simulated = bench.clock.simulated();
    const Speed speed =
        RKNPU2_TAKE(measure_shape(bench, shape, simulated ? 1 : 5, simulated ? 1 : runs).with_context(name));
    reading.add(name, speed.run_us, "us");
    return {};
}

// Reads what the first has multiplied, and writes activations of the second, syncs included; the median of several.
Result<double> weigh_us(Product& scores, Product& values) {
    constexpr size_t kRows = 512, kRowsOfTask = 16;
    RKNPU2_RETURN_IF_ERROR(scores.run());
    ThreadPool pool(4);
    const std::vector<float> factors(kRowsOfTask, 1.0F);
    const std::vector<const uint16_t*> masks(kRowsOfTask);
    std::vector<float> maxima(kRows), sums(kRows);
    auto* const weights = reinterpret_cast<uint16_t*>(values.a->data());
    std::vector<double> times;
    for (int i = 0; i < 9; ++i) {
        const auto start = std::chrono::steady_clock::now();
        RKNPU2_RETURN_IF_ERROR(scores.context->sync_from_device(*scores.c));
        pool.parallel_for(kRows / kRowsOfTask, [&](size_t task) {
            const size_t m = task * kRowsOfTask;
            weigh_scores({reinterpret_cast<const float*>(scores.c->data()),
                          kRows,
                          m,
                          kRowsOfTask,
                          kAttentionBlock,
                          factors.data(),
                          0,
                          masks.data(),
                          factors.data(),
                          {weights, weights + kRows * kValueBlock},
                          maxima.data() + m,
                          sums.data() + m});
        });
        RKNPU2_RETURN_IF_ERROR(values.context->sync_to_device(*values.a));
        times.push_back(
            std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    std::ranges::nth_element(times, times.begin() + 4);
    return times[4];
}
}  // namespace

Status probe_many_contexts(Bench& bench, Reading& reading) {
    const size_t most = bench.quick ? 200 : 1500;
    Product first;
    RKNPU2_RETURN_IF_ERROR(
        prepare_ones(bench.runtime, {.K = 32, .N = 32, .rows = row_counts(kRowCounts)}, first));
    std::vector<std::unique_ptr<NpuContext>> alive;
    const uint64_t descriptors = descriptors_left();
    const auto start = std::chrono::steady_clock::now();
    Status status;
    while (status.ok() && alive.size() + 1 < most && std::chrono::steady_clock::now() - start < kLongest)
        status = add_context(bench, first, alive);
    const size_t count = alive.size() + 1;
    reading.add("contexts", static_cast<double>(count), "");
    if (!alive.empty()) {
        const double more = static_cast<double>(descriptors) - static_cast<double>(descriptors_left());
        reading.add("descriptors for each", more / static_cast<double>(alive.size()), "");
    }
    const Status again = first.context->run();  // those of before must go on working
    reading.answer = format("%zu", count);
    if (!status.ok()) {
        reading.answer += ", then: " + status.message();
    } else {
        reading.answer += count < most ? " in the time that there is, or more" : " or more";
    }
    if (!again.ok()) reading.answer += "; the first one fails then: " + again.message();
    return status.code() == StatusCode::kTimeout ? status : Status();
}

Status probe_many_rows(Bench& bench, Reading& reading) {
    for (const NpuArithmetic type : {kInt8, kFp16}) {
        RKNPU2_RETURN_IF_ERROR(
            go_up(bench, reading, type,
                  {1, 2, 3, 4, 8, 16, 31, 32, 64, 96, 127, 128, 255, 256, 512, 1023, 1024, 2047, 2048},
                  [type](size_t M) -> std::vector<SpeedShape> {
                      return {{type, M, 64, 64, 1}};
                  }));
    }
    return {};
}

Status probe_wide_n(Bench& bench, Reading& reading) {
    const size_t deep = bench.quick ? 64 : 1024;
    for (const NpuArithmetic type : {kFp16, kInt8}) {  // int8 hung after wide fp16 for somebody
        const size_t K = type == kInt8 ? deep : 64;
        std::vector<size_t> sizes = {4096, 8192, 16384, 32768};
        if (type == kInt8) sizes.insert(sizes.end(), {65536, 131072});
        RKNPU2_RETURN_IF_ERROR(
            go_up(bench, reading, type, sizes, [type, K](size_t N) -> std::vector<SpeedShape> {
                return {{type, 1, K, N, 1}, {type, 8, K, N, 1}};
            }));
    }
    // What the widest one takes, for the choice of the plug-in's tiles.
    const auto widest = static_cast<size_t>(reading.figures.back().value);
    for (const size_t M : {1, 8}) {
        if (widest == 0) break;
        const SpeedShape shape{kInt8, M, deep, widest, 1};
        RKNPU2_RETURN_IF_ERROR(add_shape(bench, reading, shape, 1, speed_text(shape)));
    }
    return {};
}

Status probe_int4_input(Bench& bench, Reading& reading) {
    constexpr size_t K = 64;
    constexpr size_t N = 128;
    // A byte for each value; were they nibbles, the first half of the bytes would be all that is read.
    std::vector<int8_t> from(K * N);
    for (size_t i = 0; i < from.size(); ++i)
        from[i] = static_cast<int8_t>(static_cast<int>((i * 7 + i / N) % 16) - 8);
    std::vector<uint8_t> to(K * N);
    const Status status = bench.runtime.convert_weights(NpuArithmetic::kInt4, K, N, from.data(), to.data());
    if (status.code() == StatusCode::kUnsupported) {
        reading.answer = "not to be had here";
        return {};
    }
    RKNPU2_RETURN_IF_ERROR(status);
    size_t bytes = 0;
    size_t nibbles = 0;
    for (size_t i = 0; i < from.size(); ++i) {
        const int got = int4_get(to.data(), b_index_native(i / N, i % N, K, N, DType::kInt4));
        bytes += got == from[i] ? 1 : 0;
        nibbles += got == int4_get(reinterpret_cast<const uint8_t*>(from.data()), i) ? 1 : 0;
    }
    reading.add_count("as bytes", bytes, from.size());
    reading.add_count("as nibbles", nibbles, from.size());
    reading.answer = bytes == from.size()     ? "a byte for each value"
                     : nibbles == from.size() ? "two values in a byte"
                                              : "neither bytes nor nibbles";
    return {};
}

Status probe_bind_cost(Bench& bench, Reading& reading) {
    double weights[std::size(kBindShapes)] = {};
    for (size_t i = 0; i < std::size(kBindShapes); ++i) {
        const BindShape& shape = kBindShapes[i];
        const bool b = shape.operand == Operand::kWeights;
        const size_t kib = (b ? shape.K * shape.N : shape.M * shape.K) >> 10;
        const std::string name = format("%s, %zu KiB", b ? "weights" : "activations", kib);
        weights[i] = RKNPU2_TAKE(bind_us(bench, shape).with_context(name));
        reading.add(name, weights[i], "us");
    }
    const auto grows = [&](size_t first) { return weights[first + 2] > 3 * weights[first] + 5; };
    reading.answer = grows(0) || grows(3) ? "grows with the bytes" : "the same for any size";
    return {};
}

Status probe_context_cost(Bench& bench, Reading& reading) {
    const double one = RKNPU2_TAKE(create_us(bench, 1));
    reading.add("one row count", one, "us");
    const double many = RKNPU2_TAKE(create_us(bench, kRowCounts));
    reading.add(format("%zu row counts", kRowCounts), many, "us");
    reading.answer = format("%.1f us and %.1f us", one, many);
    return {};
}

Status probe_int8_three_cores(Bench& bench, Reading& reading) {
    constexpr SpeedShape kShape{kInt8, 512, 4096, 4096, 3};
    RKNPU2_RETURN_IF_ERROR(add_shape(bench, reading, kShape, 2, "alone"));
    const double alone = reading.figures.back().value;
    reading.add("by the simulator's profile", predicted_us(kShape), "us");
    reading.answer = format("%.1f us", alone);
    if (bench.clock.simulated()) return {};  // its clock knows nothing of this machine's CPUs
    const BusyCpus busy;
    RKNPU2_RETURN_IF_ERROR(add_shape(bench, reading, kShape, 2, "with every CPU busy reading memory"));
    reading.answer += format(", %.2f times as long with busy CPUs", reading.figures.back().value / alone);
    return {};
}

// What the plug-in's attention runs, and the CPU's part of it: the scores of 512 rows and 1024 positions.
Status probe_attention_runs(Bench& bench, Reading& reading) {
    double worst = 0;
    for (const SpeedShape& shape :
         {SpeedShape{kFp16, 512, 128, 1024, 1}, SpeedShape{kFp16, 512, 128, 1024, 3},
          SpeedShape{kFp16, 512, 1024, 128, 1}, SpeedShape{kFp16, 512, 1024, 128, 3}}) {
        const char* const what = shape.K == 128 ? "scores" : "values";
        RKNPU2_RETURN_IF_ERROR(
            add_shape(bench, reading, shape, 4, format("%s, %s", what, speed_text(shape).c_str())));
        worst = std::max(worst, reading.figures.back().value / predicted_us(shape));
    }
    reading.answer = format("%.2f times the model's time at worst", worst);
    Product scores;
    Product values;
    RKNPU2_RETURN_IF_ERROR(
        prepare_ones(bench.runtime, {.arithmetic = kFp16, .K = 128, .N = 1024, .rows = {512}}, scores));
    RKNPU2_RETURN_IF_ERROR(
        prepare_ones(bench.runtime, {.arithmetic = kFp16, .K = 1024, .N = 128, .rows = {512}}, values));
    const double alone = RKNPU2_TAKE(weigh_us(scores, values));
    if (bench.clock.simulated()) return {};  // this machine's CPUs are no board's
    reading.add("weights of the scores, four threads", alone, "us");
    reading.answer += format("; %.2f ns a score", alone * 1e3 / (512.0 * 1024.0));
    return {};
}

Status probe_attention_shapes(Bench& bench, Reading& reading) {
    const SpeedShape shapes[] = {{kFp16, 2048, 512, 2048, 1}, {kFp16, 2048, 512, 4096, 1},
                                 {kFp16, 2048, 512, 8192, 1}, {kFp16, 2048, 512, 16384, 1},
                                 {kFp16, 2048, 2048, 512, 1}, {kFp16, 2048, 4096, 512, 1}};
    for (const SpeedShape& shape : shapes) {
        const char* const what = shape.K == 512 ? "queries by keys" : "weights by values";
        RKNPU2_RETURN_IF_ERROR(
            add_shape(bench, reading, shape, 2, format("%s, %s", what, speed_text(shape).c_str())));
    }
    reading.answer = "run";
    return {};
}

}  // namespace rknpu2
