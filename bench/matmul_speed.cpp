// SPDX-License-Identifier: MIT
#include "matmul_speed.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/format.hpp"
#include "chip_clock.hpp"
#include "config/device_lock.hpp"
#include "matmul/npu_device.hpp"
#include "runtime/locate.hpp"
#include "runtime/malloc_mmap.hpp"
#include "runtime/rknn_runtime.hpp"
#include "turns.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kMaxSize = size_t{1} << 20;
constexpr uint64_t kMaxElements = uint64_t{1} << 32;
// Columns of the first row that are checked, spread over all of N.
constexpr size_t kCheckedColumns = 64;

using Json = nlohmann::ordered_json;

// The operands of one shape. Weights are stored as int8, a normal distribution in steps of a 32nd.
struct Operands {
    MatmulShape shape;
    std::vector<float> a;
    std::vector<int8_t> w;
    std::vector<float> out;

    explicit Operands(const MatmulShape& s) : shape(s), a(s.M * s.K), w(s.N * s.K), out(s.M * s.N) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        for (float& x : a)
            x = normal(random);
        // A table of values in a random order is as good as a million draws, and much faster.
        int8_t table[4096];
        for (int8_t& x : table)
            x = static_cast<int8_t>(std::clamp(std::lround(32 * normal(random)), -127L, 127L));
        uint32_t state = 1;
        for (int8_t& x : w) {
            state = state * 1664525U + 1013904223U;
            x = table[state >> 20];
        }
    }

    WeightSource source() const {
        WeightSource source;
        source.name = format("%zux%zu", shape.N, shape.K);
        source.type_name = "int8";
        source.N = shape.N;
        source.K = shape.K;
        source.data = reinterpret_cast<const std::byte*>(w.data());
        source.row_bytes = shape.K;
        source.dequantise = [](const void* row, float* to, int64_t count) {
            const auto* const from = static_cast<const int8_t*>(row);
            for (int64_t k = 0; k < count; ++k)
                to[k] = static_cast<float>(from[k]) / 32.0F;
        };
        return source;
    }

    double error() const {
        double difference = 0;
        double total = 0;
        const size_t step = std::max<size_t>(1, shape.N / kCheckedColumns);
        for (size_t n = 0; n < shape.N; n += step) {
            double sum = 0;
            for (size_t k = 0; k < shape.K; ++k)
                sum += static_cast<double>(a[k]) * w[n * shape.K + k] / 32.0;
            difference += (out[n] - sum) * (out[n] - sum);
            total += sum * sum;
        }
        return total == 0 ? 0 : std::sqrt(difference / total);
    }
};

// A device of its own for each setting, and what its rounds took.
struct Contestant {
    MatmulSetting setting;
    Counters counters;
    LockCounters lock_counters;
    std::unique_ptr<DeviceLock> lock;  // null: none is wanted
    std::shared_ptr<NpuDevice> device;
    std::shared_ptr<const PackedWeight> weight;
    std::vector<double> wall, quantise, npu, dequantise, chip;
};

Status prepare(const MatmulBenchSettings& settings, const Operands& operands, Contestant& contestant) {
    Config config = settings.config;
    config.precision = contestant.setting.precision;
    config.cores = contestant.setting.cores;
    config.weight_cache_directory.clear();
    keep_malloc_from_mapping(is_simulator(settings.runtime), config.malloc_mmap);
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(settings.runtime);
    RKNPU2_RETURN_IF_ERROR(runtime.status());
    auto lock = DeviceLock::open(config, runtime.value()->info().simulated, npu_device_nodes(),
                                 contestant.lock_counters);
    RKNPU2_RETURN_IF_ERROR(lock.status());
    contestant.lock = lock.take();
    contestant.device = std::make_shared<NpuDevice>(runtime.take(), config, contestant.counters);
    Result<std::shared_ptr<const PackedWeight>> weight = contestant.device->pack(operands.source());
    RKNPU2_RETURN_IF_ERROR(weight.status());
    contestant.weight = weight.take();
    return {};
}

Status play(const ChipClock& clock, Operands& operands, Contestant& contestant) {
    const auto times = [&](Phase phase) { return static_cast<double>(contestant.counters.time_ns(phase)); };
    const double before[] = {times(Phase::kQuantise), times(Phase::kNpu), times(Phase::kDequantise)};
    // Other programs have their turns between multiplications; waiting for ours is not timed.
    const Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(contestant.lock.get());
    RKNPU2_RETURN_IF_ERROR(turn.status());
    const std::optional<ChipClock::Busy> busy = clock.busy();
    const auto start = std::chrono::steady_clock::now();
    RKNPU2_RETURN_IF_ERROR(contestant.device->multiply(*contestant.weight, operands.a.data(),
                                                       operands.shape.M, operands.out.data()));
    const std::chrono::duration<double, std::nano> wall = std::chrono::steady_clock::now() - start;
    contestant.wall.push_back(wall.count());
    contestant.quantise.push_back(times(Phase::kQuantise) - before[0]);
    contestant.npu.push_back(times(Phase::kNpu) - before[1]);
    contestant.dequantise.push_back(times(Phase::kDequantise) - before[2]);
    if (const std::optional<ChipClock::Busy> after = clock.busy(); busy && after)
        contestant.chip.push_back(static_cast<double>(ChipClock::longest(*busy, *after)));
    return {};
}

Json result_of(const MatmulShape& shape, const Contestant& contestant, size_t calls, double error) {
    const Counters& counted = contestant.counters;
    const auto counted_once = [calls](uint64_t count) { return count / calls; };
    const std::vector<double>& wall = contestant.wall;
    return {{"M", shape.M},
            {"K", shape.K},
            {"N", shape.N},
            {"precision", precision_name(contestant.setting.precision)},
            {"cores", contestant.setting.cores},
            {"wall_ns", {{"median", median(wall)}, {"low", quantile(wall, 0)}, {"high", quantile(wall, 1)}}},
            {"quantise_ns", median(contestant.quantise)},
            {"npu_ns", median(contestant.npu)},
            {"dequantise_ns", median(contestant.dequantise)},
            {"runs", counted_once(counted.runs)},
            {"weight_bytes", counted_once(counted.weight_bytes)},
            {"activation_bytes", counted_once(counted.activation_bytes)},
            {"result_bytes", counted_once(counted.result_bytes)},
            {"error", error},
            {"chip_ns", contestant.chip.empty() ? Json() : Json(median(contestant.chip))}};
}

Status measure_shape(const MatmulBenchSettings& settings, const MatmulShape& shape,
                     std::vector<Json>& speeds) {
    Operands operands(shape);
    std::vector<Contestant> contestants(settings.settings.size());
    std::vector<double> errors(contestants.size());
    for (size_t i = 0; i < contestants.size(); ++i) {
        contestants[i].setting = settings.settings[i];
        RKNPU2_RETURN_IF_ERROR(prepare(settings, operands, contestants[i]));
    }
    const ChipClock clock(settings.runtime);
    // The first round makes contexts and areas, and is not counted.
    for (size_t round = 0; round <= settings.rounds; ++round) {
        for (size_t i = 0; i < contestants.size(); ++i) {
            RKNPU2_RETURN_IF_ERROR(play(clock, operands, contestants[i]));
            if (round == 0) errors[i] = operands.error();
        }
        if (round > 0) continue;
        for (Contestant& contestant : contestants) {
            for (auto* const times : {&contestant.wall, &contestant.quantise, &contestant.npu,
                                      &contestant.dequantise, &contestant.chip})
                times->clear();
        }
    }
    for (size_t i = 0; i < contestants.size(); ++i)
        speeds.push_back(result_of(shape, contestants[i], settings.rounds + 1, errors[i]));
    return {};
}

}  // namespace

Result<MatmulShape> parse_matmul_shape(const std::string& text) {
    MatmulShape shape;
    int end = 0;
    const bool digits = text.find_first_not_of("0123456789x") == std::string::npos && text.size() < 32;
    const auto fits = [](size_t size) { return size >= 1 && size <= kMaxSize; };
    if (!digits || std::sscanf(text.c_str(), "%zux%zux%zu%n", &shape.M, &shape.K, &shape.N, &end) != 3 ||
        static_cast<size_t>(end) != text.size() || !fits(shape.M) || !fits(shape.K) || !fits(shape.N)) {
        return Status(StatusCode::kInvalidArgument,
                      format("\"%s\" is not a shape: MxKxN such as 512x4096x11008, each 1 to %zu",
                             text.c_str(), kMaxSize));
    }
    const uint64_t largest = std::max({shape.M * shape.K, shape.N * shape.K, shape.M * shape.N});
    if (largest > kMaxElements) {
        return Status(StatusCode::kInvalidArgument,
                      format("%s has a matrix of more than 2^32 elements", text.c_str()));
    }
    return shape;
}

Result<std::vector<Json>> measure_matmuls(const MatmulBenchSettings& settings,
                                          const std::function<void(size_t)>& progress) {
    std::vector<Json> speeds;
    for (size_t i = 0; i < settings.shapes.size(); ++i) {
        progress(i);
        const MatmulShape& shape = settings.shapes[i];
        RKNPU2_RETURN_IF_ERROR(measure_shape(settings, shape, speeds)
                                   .with_context(format("%zux%zux%zu", shape.M, shape.K, shape.N)));
    }
    return speeds;
}

}  // namespace rknpu2
