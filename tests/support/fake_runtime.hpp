// SPDX-License-Identifier: MIT
// An NpuRuntime for tests: multiplies by the layout specification alone, fails on request, and counts what is
// alive.
//
// It checks what the chip would punish silently: wrong sizes, operands not bound after a change of rows,
// memory that outlives its context.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "matrix/float16.hpp"
#include "matrix/layout.hpp"
#include "runtime/npu_runtime.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2::testing {

struct FakeState {
    std::atomic<int> contexts{0};
    std::atomic<int> memories{0};
    std::atomic<int> runs{0};
    std::atomic<int> weight_binds{0};
    std::atomic<int> largest_contexts{0};
    std::atomic<int> allocations_until_failure{-1};  // -1: never
    std::atomic<int> contexts_until_failure{-1};
    std::atomic<int> runs_until_failure{-1};
    std::function<void()> before_run;              // called by every run, on its thread
    std::function<void()> before_import;           // and by every import
    StatusCode refuses_imports = StatusCode::kOk;  // else how it refuses them
    size_t refused_columns = 0;                    // N of the contexts that it refuses them to; 0: all
    std::atomic<int> running{0};                   // runs that have begun and not ended
    std::atomic<int> failing_runs{1};              // from then on, one after the other
    std::atomic<int> runs_after_failure{0};        // in contexts in which one had failed
    StatusCode failure = StatusCode::kTimeout;
    StatusCode context_failure = StatusCode::kOutOfMemory;
    std::atomic<int> contexts_made{0};   // in all
    std::atomic<bool> spoils_results{};  // a run that fails leaves rubbish where its result would be
    size_t domain_bytes = SIZE_MAX;      // of device memory in each domain
    std::atomic<size_t> domain_used[16] = {};
    std::atomic<size_t> clipped{0};  // results that their type does not hold
    // Results of runs that failed, and how many runs wrote into one of them later.
    std::mutex lost_mutex;
    std::vector<std::shared_ptr<std::byte[]>> lost_results;
    std::atomic<int> runs_into_lost_results{0};
};

class FakeMemory final : public NpuMemory {
  public:
    FakeMemory(FakeState& state, std::shared_ptr<std::byte[]> bytes, size_t offset, size_t size, int domain,
               bool owner)
        : state_(state),
          bytes_(std::move(bytes)),
          offset_(offset),
          size_(size),
          domain_(domain),
          owner_(owner) {
        ++state_.memories;
        if (owner_) state_.domain_used[domain_] += size_;
    }
    ~FakeMemory() override {
        --state_.memories;
        if (owner_) state_.domain_used[domain_] -= size_;
    }
    std::byte* data() const override { return bytes_.get() + offset_; }
    size_t size() const override { return size_; }

    std::shared_ptr<std::byte[]> bytes() const { return bytes_; }
    size_t offset() const { return offset_; }
    int domain() const { return domain_; }

  private:
    FakeState& state_;
    std::shared_ptr<std::byte[]> bytes_;
    size_t offset_;
    size_t size_;
    int domain_;
    bool owner_;
};

class FakeContext final : public NpuContext {
  public:
    FakeContext(FakeState& state, ContextSpec spec) : state_(state), spec_(std::move(spec)) {
        const int now = ++state_.contexts;
        ++state_.contexts_made;
        state_.largest_contexts = std::max(state_.largest_contexts.load(), now);
    }
    ~FakeContext() override { --state_.contexts; }

    size_t operand_bytes(Operand operand, size_t index) const override {
        const size_t M = spec_.rows[index];
        const DType in = operand_type(spec_.arithmetic);
        if (operand == Operand::kActivations) return dtype_bytes(in, M * spec_.K);
        if (operand == Operand::kWeights) return dtype_bytes(in, spec_.K * spec_.N);
        return dtype_bytes(result_type(spec_.arithmetic), M * spec_.N);
    }

    Result<std::unique_ptr<NpuMemory>> allocate(size_t bytes) override {
        if (bytes > INT32_MAX) return Status(StatusCode::kInvalidArgument, "more than a buffer can hold");
        const bool full = state_.domain_used[spec_.domain] + bytes > state_.domain_bytes;
        if (full || state_.allocations_until_failure-- == 0) {
            return Status(StatusCode::kOutOfMemory, "the fake has no memory");
        }
        return std::unique_ptr<NpuMemory>(std::make_unique<FakeMemory>(
            state_, std::shared_ptr<std::byte[]>(new std::byte[bytes]), 0, bytes, spec_.domain, true));
    }

    Result<std::unique_ptr<NpuMemory>> import_slice(const NpuMemory& memory, size_t offset,
                                                    size_t bytes) override {
        if (state_.before_import) state_.before_import();
        if (state_.refuses_imports != StatusCode::kOk &&
            (state_.refused_columns == 0 || state_.refused_columns == spec_.N))
            return Status(state_.refuses_imports, "the fake imports nothing");
        const auto& whole = static_cast<const FakeMemory&>(memory);
        if (offset + bytes > whole.size()) return Status(StatusCode::kInvalidArgument, "slice out of bounds");
        if (whole.domain() != spec_.domain)
            return Status(StatusCode::kInvalidArgument, "memory of another domain");
        return std::unique_ptr<NpuMemory>(std::make_unique<FakeMemory>(
            state_, whole.bytes(), whole.offset() + offset, bytes, spec_.domain, false));
    }

    Status select_rows(size_t index) override {
        row_index_ = index;
        a_ = c_ = nullptr;
        return {};
    }

    Status bind(Operand operand, NpuMemory& memory) override {
        if (memory.size() < operand_bytes(operand, row_index_)) {
            return {StatusCode::kInvalidArgument, "memory too small for its operand"};
        }
        if (operand == Operand::kActivations) a_ = memory.data();
        if (operand == Operand::kWeights) b_ = memory.data(), ++state_.weight_binds;
        if (operand == Operand::kResult) {
            c_ = memory.data();
            result_ = static_cast<FakeMemory&>(memory).bytes();
        }
        return {};
    }

    Status sync_to_device(NpuMemory&) override { return {}; }
    Status sync_from_device(NpuMemory&) override { return {}; }

    Status run() override {
        ++state_.runs;
        if (has_failed_) ++state_.runs_after_failure;
        const Running running(state_.running);
        if (state_.before_run) state_.before_run();
        const bool fails = state_.runs_until_failure-- == 0;
        note_result(fails);
        if (fails) {
            has_failed_ = true;
            if (--state_.failing_runs > 0) state_.runs_until_failure = 0;
            if (state_.spoils_results && c_ != nullptr)
                std::memset(c_, 0x77, operand_bytes(Operand::kResult, row_index_));
            return {state_.failure, "the fake does not answer"};
        }
        if (a_ == nullptr || b_ == nullptr || c_ == nullptr)
            return {StatusCode::kInternal, "an operand is not bound"};
        const bool native = spec_.ac_layout == Layout::kNative && spec_.b_layout == Layout::kNative;
        if (native && spec_.arithmetic == NpuArithmetic::kInt8) return run_as<int8_t, int32_t>();
        if (native && spec_.arithmetic == NpuArithmetic::kFloat16) return run_as<uint16_t, float>();
        return run_any();
    }

  private:
    struct Running {
        explicit Running(std::atomic<int>& counter) : count(counter) { ++count; }
        ~Running() { --count; }
        std::atomic<int>& count;
    };

    void note_result(bool is_lost) {
        const std::lock_guard lock(state_.lost_mutex);
        const auto result = result_.lock();
        if (std::ranges::find(state_.lost_results, result) != state_.lost_results.end())
            ++state_.runs_into_lost_results;
        if (is_lost && result != nullptr) state_.lost_results.push_back(result);
    }

    static int32_t widen(int8_t x) { return x; }
    static float widen(uint16_t x) { return float16_to_float(x); }

    template <typename In, typename Out>
    Status run_as() {
        const size_t M = spec_.rows[row_index_];
        const DType in = operand_type(spec_.arithmetic);
        const auto* const a = reinterpret_cast<const In*>(a_);
        const auto* const b = reinterpret_cast<const In*>(b_);
        auto* const c = reinterpret_cast<Out*>(c_);
        for (size_t m = 0; m < M; ++m) {
            for (size_t n = 0; n < spec_.N; ++n) {
                Out sum{};
                for (size_t k = 0; k < spec_.K; ++k) {
                    sum += widen(a[a_index_native(m, k, M, in)]) *
                           widen(b[b_index_native(k, n, spec_.K, spec_.N, in)]);
                }
                c[c_index_native(m, n, M, result_type(spec_.arithmetic))] = sum;
            }
        }
        return {};
    }

    static double load(DType type, const std::byte* data, size_t index) {
        if (type == DType::kInt4) return int4_get(reinterpret_cast<const uint8_t*>(data), index);
        if (type == DType::kInt8) return reinterpret_cast<const int8_t*>(data)[index];
        return static_cast<double>(float16_to_float(reinterpret_cast<const uint16_t*>(data)[index]));
    }

    template <typename Int>
    void store_clipped(double value, std::byte* data, size_t index) {
        const double low = std::numeric_limits<Int>::min();
        const double high = std::numeric_limits<Int>::max();
        if (value < low || value > high) ++state_.clipped;
        reinterpret_cast<Int*>(data)[index] = static_cast<Int>(std::clamp(value, low, high));
    }

    void store(DType type, double value, std::byte* data, size_t index) {
        const auto single = static_cast<float>(value);
        if (type == DType::kInt8) store_clipped<int8_t>(value, data, index);
        if (type == DType::kInt16) store_clipped<int16_t>(value, data, index);
        if (type == DType::kInt32) store_clipped<int32_t>(value, data, index);
        if (type == DType::kFloat16) reinterpret_cast<uint16_t*>(data)[index] = float_to_float16(single);
        if (type == DType::kFloat32) reinterpret_cast<float*>(data)[index] = single;
    }

    // Every type and layout, and slower.
    Status run_any() {
        const size_t M = spec_.rows[row_index_];
        const size_t K = spec_.K;
        const size_t N = spec_.N;
        const DType in = operand_type(spec_.arithmetic);
        const DType out = result_type(spec_.arithmetic);
        std::vector<double> a(M * K);
        std::vector<double> b(N * K);
        for (size_t k = 0; k < K; ++k) {
            for (size_t m = 0; m < M; ++m)
                a[m * K + k] = load(in, a_, a_index(m, k, M, K, in, spec_.ac_layout));
            for (size_t n = 0; n < N; ++n)
                b[n * K + k] = load(in, b_, b_index(k, n, K, N, in, spec_.b_layout));
        }
        for (size_t m = 0; m < M; ++m) {
            for (size_t n = 0; n < N; ++n) {
                const double sum = std::inner_product(&a[m * K], &a[m * K] + K, &b[n * K], 0.0);
                store(out, sum, c_, c_index(m, n, M, N, out, spec_.ac_layout));
            }
        }
        return {};
    }

    FakeState& state_;
    ContextSpec spec_;
    bool has_failed_ = false;
    size_t row_index_ = 0;
    std::byte* a_ = nullptr;
    std::byte* b_ = nullptr;
    std::byte* c_ = nullptr;
    std::weak_ptr<std::byte[]> result_;  // that c_ is in
};

class FakeRuntime final : public NpuRuntime {
  public:
    explicit FakeRuntime(FakeState& state) : state_(state) {
        info_.library = "fake";
        info_.simulated = true;
    }
    const RuntimeInfo& info() const override { return info_; }
    Result<std::unique_ptr<NpuContext>> create_context(const ContextSpec& spec) override {
        if (spec.K == 0 || spec.K % 32 != 0 || spec.K > 8192)
            return Status(StatusCode::kInvalidArgument, "K");
        if (spec.N == 0 || spec.N % kernel_group(operand_type(spec.arithmetic)) != 0 ||
            spec.N > rk3588::kMaxN) {
            return Status(StatusCode::kInvalidArgument, "N");
        }
        if (state_.contexts_until_failure-- == 0)
            return Status(state_.context_failure, "the fake has no context");
        return std::unique_ptr<NpuContext>(std::make_unique<FakeContext>(state_, spec));
    }

  private:
    FakeState& state_;
    RuntimeInfo info_;
};

}  // namespace rknpu2::testing
