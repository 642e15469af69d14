// SPDX-License-Identifier: MIT
#include "matmul_speed.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "api/rknnsim_time.h"
#include "base/format.hpp"
#include "config/device_lock.hpp"
#include "matmul/npu_device.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"
#include "soc/rk3588.hpp"
#include "turns.hpp"

namespace rknpu2 {
namespace {

// Columns of the first row that are checked, spread over all of N.
constexpr size_t kCheckedColumns = 64;

using Json = nlohmann::ordered_json;

// How long the simulator thinks that the NPU's cores have worked since the process began, in nanoseconds. It
// tells through functions of its own (sim/api/rknnsim_time.h), which a vendor's library does not have.
class ChipClock {
  public:
    using Busy = std::array<uint64_t, rk3588::kCores>;

    // `library`: the runtime's path, which is loaded already.
    explicit ChipClock(const std::string& library) {
        void* const handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
        if (handle == nullptr) return;
        totals_ = reinterpret_cast<decltype(totals_)>(dlsym(handle, "rknnsim_time_totals"));
        join_ = reinterpret_cast<decltype(join_)>(dlsym(handle, "rknnsim_time_join"));
        dlclose(handle);  // it stays loaded: the runtime has it
    }

    // None of a vendor's library. What the calling thread does next does not overlap with what was done so far.
    std::optional<Busy> busy() const {
        rknnsim_time_sums sums{};
        if (totals_ == nullptr || join_ == nullptr || join_() != 0 || totals_(&sums) != 0)
            return std::nullopt;
        Busy busy{};
        for (size_t core = 0; core < busy.size(); ++core)
            busy[core] = sums.core[core].busy_ns;
        return busy;
    }

    // What the core that has worked longest has worked between two readings.
    static double longest(const Busy& before, const Busy& after) {
        uint64_t longest = 0;
        for (size_t core = 0; core < before.size(); ++core)
            longest = std::max(longest, after[core] - before[core]);
        return static_cast<double>(longest);
    }

  private:
    decltype(&rknnsim_time_totals) totals_ = nullptr;
    decltype(&rknnsim_time_join) join_ = nullptr;
};

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
    Config config;
    Counters counters;
    LockCounters lock_counters;
    std::unique_ptr<DeviceLock> lock;  // null: none is wanted
    std::shared_ptr<NpuDevice> device;
    std::shared_ptr<const PackedWeight> weight;
    double error = 0;
    std::map<std::string, std::vector<double>> times;  // nanoseconds of each round, by their names in results
};

Status prepare(const std::string& library, const Operands& operands, Contestant& contestant) {
    contestant.config.weight_cache_directory.clear();
    keep_malloc_from_mapping(is_simulator(library), contestant.config.malloc_mmap);
    Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(library);
    RKNPU2_RETURN_IF_ERROR(runtime.status());
    auto lock = DeviceLock::open(contestant.config, runtime.value()->info().simulated, npu_device_nodes(),
                                 contestant.lock_counters);
    RKNPU2_RETURN_IF_ERROR(lock.status());
    contestant.lock = lock.take();
    contestant.device = std::make_shared<NpuDevice>(runtime.take(), contestant.config, contestant.counters);
    Result<std::shared_ptr<const PackedWeight>> weight = contestant.device->pack(operands.source());
    RKNPU2_RETURN_IF_ERROR(weight.status());
    contestant.weight = weight.take();
    return {};
}

Status play(const ChipClock& clock, Operands& operands, Contestant& contestant) {
    constexpr std::pair<const char*, Phase> kPhases[] = {
        {"quantise_ns", Phase::kQuantise}, {"npu_ns", Phase::kNpu}, {"dequantise_ns", Phase::kDequantise}};
    // Other programs have their turns between multiplications; waiting for ours is not timed.
    const Result<DeviceLock::Turn> turn = DeviceLock::Turn::take(contestant.lock.get());
    RKNPU2_RETURN_IF_ERROR(turn.status());
    for (const auto& [name, phase] : kPhases)
        contestant.times[name].push_back(-static_cast<double>(contestant.counters.time_ns(phase)));
    const std::optional<ChipClock::Busy> busy = clock.busy();
    const auto start = std::chrono::steady_clock::now();
    RKNPU2_RETURN_IF_ERROR(contestant.device->multiply(*contestant.weight, operands.a.data(),
                                                       operands.shape.M, operands.out.data()));
    const std::chrono::duration<double, std::nano> wall = std::chrono::steady_clock::now() - start;
    contestant.times["wall_ns"].push_back(wall.count());
    for (const auto& [name, phase] : kPhases)
        contestant.times[name].back() += static_cast<double>(contestant.counters.time_ns(phase));
    if (const std::optional<ChipClock::Busy> after = clock.busy(); busy && after)
        contestant.times["chip_ns"].push_back(ChipClock::longest(*busy, *after));
    return {};
}

// `calls`: multiplications that were counted.
Json result_of(const MatmulShape& shape, const Contestant& contestant, size_t calls) {
    const Counters& counted = contestant.counters;
    const auto ns = [&](const char* name) {
        const auto found = contestant.times.find(name);
        return found == contestant.times.end() ? Json() : Json(median(found->second));
    };
    const std::vector<double>& wall = contestant.times.at("wall_ns");
    return {{"M", shape.M},
            {"K", shape.K},
            {"N", shape.N},
            {"precision", precision_name(contestant.config.precision)},
            {"cores", contestant.config.cores},
            {"wall_ns", {{"median", median(wall)}, {"low", quantile(wall, 0)}, {"high", quantile(wall, 1)}}},
            {"quantise_ns", ns("quantise_ns")},
            {"npu_ns", ns("npu_ns")},
            {"dequantise_ns", ns("dequantise_ns")},
            {"runs", counted.runs / calls},
            {"weight_bytes", counted.weight_bytes / calls},
            {"activation_bytes", counted.activation_bytes / calls},
            {"result_bytes", counted.result_bytes / calls},
            {"error", contestant.error},
            {"chip_ns", ns("chip_ns")}};
}

}  // namespace

std::string shape_text(const MatmulShape& shape) {
    return format("%zux%zux%zu", shape.M, shape.K, shape.N);
}

Result<std::vector<Json>> measure_matmul(const MatmulShape& shape, const std::vector<Config>& settings,
                                         const std::string& runtime, size_t rounds) {
    Operands operands(shape);
    std::vector<Contestant> contestants(settings.size());
    for (size_t i = 0; i < contestants.size(); ++i) {
        contestants[i].config = settings[i];
        RKNPU2_RETURN_IF_ERROR(prepare(runtime, operands, contestants[i]).with_context(shape_text(shape)));
    }
    const ChipClock clock(runtime);
    for (size_t round = 0; round <= rounds; ++round) {
        for (Contestant& contestant : contestants) {
            RKNPU2_RETURN_IF_ERROR(play(clock, operands, contestant).with_context(shape_text(shape)));
            if (round > 0) continue;  // the first one makes contexts and areas
            contestant.error = operands.error();
            contestant.times.clear();
        }
    }
    std::vector<Json> results;
    for (const Contestant& contestant : contestants)
        results.push_back(result_of(shape, contestant, rounds + 1));
    return results;
}

}  // namespace rknpu2
