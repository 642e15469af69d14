// SPDX-License-Identifier: MIT
#include "ggml/cpu/measure_rates.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/format.hpp"
#include "base/log.hpp"
#include "device/cpu_team.hpp"
#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/cpu/repeats.hpp"
#include "ggml/host/types.hpp"
#include "ggml/node/describe.hpp"
#include "matmul/npu_device.hpp"
#include "plan/rates_of_board.hpp"
#include "runtime/rates_choice.hpp"

namespace rknpu2 {
namespace {

constexpr int64_t kK = 4096;
constexpr int64_t kSmall = 256, kLarge = 4096;  // columns
constexpr int64_t kSeveral = 16;                // rows

double now_us() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::micro>(since).count();
}

void nothing() {}

HostTensor made(ggml_type type, size_t row_bytes, int64_t width, int64_t height, void* data) {
    HostTensor tensor;
    tensor->type = type;
    const int64_t sizes[] = {width, height, 1, 1};
    std::copy_n(sizes, GGML_MAX_DIMS, tensor->ne);
    tensor->nb[1] = row_bytes;
    tensor->nb[2] = tensor->nb[3] = row_bytes * static_cast<size_t>(height);
    tensor->data = data;
    return tensor;
}

// A multiplication of floats by a matrix of stored weights, all of whose rows are alike.
class MadeProduct {
  public:
    MadeProduct(Host& host, ggml_type type, int64_t columns, int64_t rows) : host_(host) {
        const ggml_type_traits* const traits = traits_of(host.ggml, type);
        const auto deep = static_cast<size_t>(kK);
        const size_t row_bytes = deep / static_cast<size_t>(traits->blck_size) * traits->type_size;
        std::vector<float> row(deep);
        for (size_t i = 0; i < deep; ++i)
            row[i] = static_cast<float>(i * 37 % 101) / 50 - 1;
        stored_.resize(row_bytes * static_cast<size_t>(columns));
        traits->from_float_ref(row.data(), stored_.data(), kK);
        for (size_t at = row_bytes; at < stored_.size(); at += row_bytes)
            std::copy_n(stored_.begin(), row_bytes, stored_.begin() + static_cast<std::ptrdiff_t>(at));
        for (int64_t i = 0; i < rows; ++i)
            floats_.insert(floats_.end(), row.begin(), row.end());
        results_.resize(static_cast<size_t>(columns * rows));
        weight_ = made(type, row_bytes, kK, columns, stored_.data());
        weight_->nb[0] = traits->type_size;
        rows_ = made(GGML_TYPE_F32, deep * sizeof(float), kK, rows, floats_.data());
        product_ =
            made(GGML_TYPE_F32, static_cast<size_t>(columns) * sizeof(float), columns, rows, results_.data());
        rows_->nb[0] = product_->nb[0] = sizeof(float);
        product_->op = host.ggml.operations.number_of(Op::kMatMul);
        product_->flags = GGML_TENSOR_FLAG_COMPUTE;  // else today's ggml computes nothing
        product_->src[0] = weight_.get();
        product_->src[1] = rows_.get();
    }
    MadeProduct(const MadeProduct&) = delete;
    MadeProduct& operator=(const MadeProduct&) = delete;

    // By a copy in the CPU backend's own layout, if there is one. Nothing is timed in before().
    template <typename Before>
    Result<TimedCall> on_cpu(InnerCpu& cpu, const Before& before) {
        TimedCall timed{matrix_call(host_, product_.get())};
        const CpuCopy copy = RKNPU2_TAKE(copy_for_cpu(host_, product_.get()));
        if (copy != nullptr) product_->src[0] = const_cast<ggml_tensor*>(copy.get());
        ggml_tensor* node = product_.get();
        ggml_cgraph graph{};
        graph.size = graph.n_nodes = 1;
        graph.nodes = &node;
        const auto compute = [&] {
            const bool done = cpu.compute(&graph, 0, 1) == GGML_STATUS_SUCCESS;
            return done ? Status() : Status(StatusCode::kInternal, "the CPU backend does not multiply");
        };
        timed.us = std::ranges::min(RKNPU2_TAKE(repeat(now_us, before, compute, least_is_credible)));
        product_->src[0] = weight_.get();
        if (results_.back() == 0) return Status(StatusCode::kInternal, "the CPU backend computes nothing");
        return timed;
    }

    // Fails also when others had the NPU meanwhile, or when it failed and something helped.
    Result<TimedCall> on_npu() {
        NpuDevice& npu = *host_.npu;
        TimedCall timed{matrix_call(host_, product_.get())};
        WeightSource source = weight_source(host_, product_.get());
        source.name = "a matrix to measure rates";
        const uint64_t before = npu.disturbances();
        auto reserved = RKNPU2_TAKE(npu.reserve({&source, 1}, NpuDevice::Attempts::kTrial));
        const auto packed = RKNPU2_TAKE(npu.pack(std::move(reserved.front())));
        const auto multiply = [&] { return npu.multiply(*packed, floats_.data(), 1, results_.data()); };
        const auto times = RKNPU2_TAKE(repeat(now_us, nothing, multiply, least_is_credible));
        if (npu.disturbances() != before)
            return Status(StatusCode::kInternal, "the NPU was in use by others, or failed");
        if (!least_is_credible(times))
            return Status(StatusCode::kInternal, "repeats on the NPU differ by much, so others use it");
        timed.us = std::ranges::min(times);
        return timed;
    }

  private:
    Host& host_;
    std::vector<std::byte> stored_;
    std::vector<float> floats_, results_;
    HostTensor weight_, rows_, product_;
};

Result<CpuTimes> cpu_times(Host& host, InnerCpu& cpu, ggml_type type) {
    if (traits_of(host.ggml, type) == nullptr)
        return Status(StatusCode::kUnsupported,
                      "the host does not know the types of weights to measure with");
    CpuTimes times;
    times.small = RKNPU2_TAKE(MadeProduct(host, type, kSmall, 1).on_cpu(cpu, nothing));
    times.large = RKNPU2_TAKE(MadeProduct(host, type, kLarge, 1).on_cpu(cpu, nothing));
    times.rows = RKNPU2_TAKE(MadeProduct(host, type, kLarge, kSeveral).on_cpu(cpu, nothing));
    return times;
}

// With a precision that multiplies by eight bits (measures_rates()): those of compact that are of no model, too.
Result<MeasuredRates> measure_rates(Host& host, int threads) {
    Config config = host.config;
    if (config.precision == Precision::kCompact) config.precision = Precision::kBalanced;
    MeasuredRates rates;
    InnerCpu cpu(host, nullptr, nullptr);
    cpu.set_threads(threads);
    const CpuTimes four_bits = RKNPU2_TAKE(cpu_times(host, cpu, GGML_TYPE_Q4_0));
    RKNPU2_RETURN_IF_ERROR(solve_cpu(four_bits, RKNPU2_TAKE(cpu_times(host, cpu, GGML_TYPE_Q8_0)), rates));
    const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); };
    const TimedCall woken = RKNPU2_TAKE(MadeProduct(host, GGML_TYPE_Q4_0, kSmall, 1).on_cpu(cpu, sleep));
    rates.set(Rate::kCpuWakeUs, std::max(0.0, woken.us - four_bits.small.us));
    const TimedCall small = RKNPU2_TAKE(MadeProduct(host, GGML_TYPE_Q8_0, kSmall, 1).on_npu());
    const TimedCall large = RKNPU2_TAKE(MadeProduct(host, GGML_TYPE_Q8_0, kLarge, 1).on_npu());
    RKNPU2_RETURN_IF_ERROR(solve_npu(small, large, config, rates));
    return rates;
}

void choose_once(Host& host, int threads) {
    const Config& config = host.config;
    const bool chooses = config.matrices == Matrices::kAuto || config.experts == Experts::kAuto;
    if (host.npu == nullptr || !chooses || config.precision == Precision::kReference) return;
    double seconds = 0;
    const auto measure = [&] {
        const double start = now_us();
        Result<MeasuredRates> rates = measure_rates(host, threads);
        seconds = (now_us() - start) / 1e6;
        return rates;
    };
    const char* const version = host.ggml.ggml_version != nullptr ? host.ggml.ggml_version() : nullptr;
    const RatesKey key = rates_key(config, host.npu->info(), threads, cpu_affinity(config),
                                   version != nullptr ? version : "unknown");
    const RatesChoice choice = choose_rates(config, key, host.profile_rates, measure);
    for (const std::string& warning : choice.warnings)
        log(LogLevel::kWarning, "%s", warning.c_str());
    host.rates = rates_of_board(choice.rates, config.cores);
    const std::string summary = choice.rates.summary();
    const bool measured = seconds > 0 && !choice.rates.is_empty();
    log(LogLevel::kInfo, "rates by which NPU or CPU is chosen: %s%s%s%s", choice.info.c_str(),
        measured ? format(" (%.1f s)", seconds).c_str() : "", summary.empty() ? "" : ": ", summary.c_str());
}

}  // namespace

void choose_rates_of(Host& host, const InnerCpu& cpu) {
    std::call_once(host.rates_once, [&] { choose_once(host, cpu.threads()); });
}

}  // namespace rknpu2
