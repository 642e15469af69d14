#include "doctor_self_test.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>
#include <utility>

#include "base/format.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr int kPattern = 0x55;  // of memory that a run has to overwrite; not the simulator's own 0xAA
constexpr double kTolerance = 0x1p-19;
constexpr int kTimeoutsToGiveUp = 3;

// Row-major operands as numbers that both types hold exactly: A [M, K], B transposed [N, K].
struct Numbers {
    std::vector<float> a, b;
};

float draw(std::mt19937& random, const SelfTestCase& test) {
    const uint32_t bits = static_cast<uint32_t>(random());
    if (test.arithmetic == NpuArithmetic::kInt8) return static_cast<float>(static_cast<int8_t>(bits & 0xFF));
    if (test.integers) return static_cast<float>(static_cast<int>(bits % 31) - 15);
    // 0.25 to 4 with both signs: sums cancel as in real activations.
    const float size =
        std::ldexp(1.0F + static_cast<float>(bits & 0x3FF) / 1024.0F, static_cast<int>((bits >> 10) & 3) - 2);
    return (bits >> 31) != 0 ? -size : size;
}

Numbers draw_numbers(const SelfTestCase& test) {
    std::mt19937 random(static_cast<uint32_t>(test.M * 7919 + test.K * 31 + test.N));
    Numbers numbers{std::vector<float>(test.M * test.K), std::vector<float>(test.N * test.K)};
    for (std::vector<float>* values : {&numbers.a, &numbers.b}) {
        for (float& x : *values)
            x = draw(random, test);
    }
    if (test.arithmetic != NpuArithmetic::kInt8) return numbers;
    // The largest sum that there is: the first row and column are all -128.
    std::fill_n(numbers.a.begin(), test.K, -128.0F);
    std::fill_n(numbers.b.begin(), test.K, -128.0F);
    return numbers;
}

void store(float value, DType type, size_t index, std::byte* to) {
    if (type == DType::kInt8) {
        const auto byte = static_cast<int8_t>(value);
        std::memcpy(to + index, &byte, 1);
    } else {
        const uint16_t half = float_to_float16(value);
        std::memcpy(to + 2 * index, &half, 2);
    }
}

void lay_out(const SelfTestCase& test, const Numbers& numbers, NpuMemory& a, NpuMemory& b) {
    const DType type = operand_type(test.arithmetic);
    for (size_t k = 0; k < test.K; ++k) {
        for (size_t m = 0; m < test.M; ++m)
            store(numbers.a[m * test.K + k], type, a_index_native(m, k, test.M, type), a.data());
        for (size_t n = 0; n < test.N; ++n)
            store(numbers.b[n * test.K + k], type, b_index_native(k, n, test.K, test.N, type), b.data());
    }
}

// Sums of one result: in float64, of the sizes, and in the simulator's order.
struct Sums {
    double exact = 0, sizes = 0, simulator = 0;
};

Sums sums_of(const float* a, const float* b, size_t K) {
    Sums sums;
    for (size_t first = 0; first < K; first += 32) {
        float group = 0;
        for (size_t k = first; k < first + 32; ++k) {
            const float product = a[k] * b[k];  // exact: 11 by 11 bits
            group += product;
            sums.exact += static_cast<double>(product);
            sums.sizes += std::fabs(static_cast<double>(product));
        }
        sums.simulator += static_cast<double>(group);
    }
    return sums;
}

int32_t int_sum(const float* a, const float* b, size_t K) {
    int32_t sum = 0;
    for (size_t k = 0; k < K; ++k)
        sum += static_cast<int32_t>(a[k]) * static_cast<int32_t>(b[k]);
    return sum;
}

void note_wrong(size_t m, size_t n, double expected, double got, SelfTestResult& result) {
    ++result.wrong;
    if (!result.first) result.first = Mismatch{m, n, expected, got};
}

void compare_one(const SelfTestCase& test, const Numbers& numbers, size_t m, size_t n, const std::byte* at,
                 SelfTestResult& result) {
    const float* const a = numbers.a.data() + m * test.K;
    const float* const b = numbers.b.data() + n * test.K;
    if (test.arithmetic == NpuArithmetic::kInt8) {
        int32_t got = 0;
        std::memcpy(&got, at, sizeof got);
        const int32_t expected = int_sum(a, b, test.K);
        if (got != expected) note_wrong(m, n, expected, got, result);
        return;
    }
    float got = 0;
    std::memcpy(&got, at, sizeof got);
    const Sums sums = sums_of(a, b, test.K);
    const auto simulated = static_cast<float>(sums.simulator);
    if (std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(simulated)) ++result.as_simulator;
    const double allowed = test.integers ? 0 : kTolerance * sums.sizes;
    const double error = std::fabs(static_cast<double>(got) - sums.exact);
    if (!(error <= allowed)) note_wrong(m, n, sums.exact, static_cast<double>(got), result);  // NaN, too
    if (allowed > 0 && std::isfinite(error)) result.worst = std::max(result.worst, error / allowed);
}

void compare(const SelfTestCase& test, const Numbers& numbers, const NpuMemory& c, SelfTestResult& result) {
    const DType type = result_type(test.arithmetic);
    for (size_t m = 0; m < test.M; ++m) {
        for (size_t n = 0; n < test.N; ++n) {
            const size_t index = c_index_native(m, n, test.M, type);
            compare_one(test, numbers, m, n, c.data() + 4 * index, result);
        }
    }
}

using Memory = std::unique_ptr<NpuMemory>;

// Three operands of a context, its own or slices of what `lender` has.
struct Operands {
    Memory whole;  // destroyed after the slices
    Memory a, b, c;
};

constexpr size_t kSliceAlign = 4096;

Status make_slices(NpuContext& context, NpuContext& lender, size_t index, Operands& to) {
    Memory* const parts[] = {&to.a, &to.b, &to.c};
    constexpr Operand kAll[] = {Operand::kActivations, Operand::kWeights, Operand::kResult};
    size_t offset = kSliceAlign;  // nothing at the front: an offset that is ignored is seen
    for (const Operand operand : kAll)
        offset += round_up(context.operand_bytes(operand, index), kSliceAlign);
    Result<Memory> whole = lender.allocate(offset);
    RKNPU2_RETURN_IF_ERROR(whole.status());
    to.whole = whole.take();
    offset = kSliceAlign;
    for (size_t i = 0; i < std::size(kAll); ++i) {
        const size_t bytes = context.operand_bytes(kAll[i], index);
        Result<Memory> slice = context.import_slice(*to.whole, offset, bytes);
        RKNPU2_RETURN_IF_ERROR(slice.status());
        *parts[i] = slice.take();
        offset += round_up(bytes, kSliceAlign);
    }
    return {};
}

Status make_own(NpuContext& context, size_t index, Operands& to) {
    const std::pair<Operand, Memory*> parts[] = {
        {Operand::kActivations, &to.a}, {Operand::kWeights, &to.b}, {Operand::kResult, &to.c}};
    for (const auto& [operand, memory] : parts) {
        Result<Memory> made = context.allocate(context.operand_bytes(operand, index));
        RKNPU2_RETURN_IF_ERROR(made.status());
        *memory = made.take();
    }
    return {};
}

Status multiply(NpuContext& context, const SelfTestCase& test, size_t index, const Numbers& numbers,
                Operands& operands) {
    RKNPU2_RETURN_IF_ERROR(context.select_rows(index));
    lay_out(test, numbers, *operands.a, *operands.b);
    std::memset(operands.c->data(), kPattern, operands.c->size());
    RKNPU2_RETURN_IF_ERROR(context.sync_to_device(*operands.c));  // else the cache may write it back later
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kActivations, *operands.a));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kWeights, *operands.b));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kResult, *operands.c));
    RKNPU2_RETURN_IF_ERROR(context.run());
    return context.sync_from_device(*operands.c);
}

ContextSpec spec_of(const SelfTestCase& test) {
    ContextSpec spec;
    spec.arithmetic = test.arithmetic;
    spec.K = test.K;
    spec.N = test.N;
    spec.rows = {test.M};
    spec.core = test.core;
    spec.domain = test.domain;
    return spec;
}

Status run_case(NpuRuntime& runtime, const SelfTestCase& test, SelfTestResult& result) {
    ContextSpec spec = spec_of(test);
    if (test.binding == Binding::kRows) spec.rows = {test.M, 2 * test.M};
    Result<std::unique_ptr<NpuContext>> lender(Status{StatusCode::kInternal, "not made"});
    if (test.binding == Binding::kSlices) {
        ContextSpec other = spec;
        other.K = other.N = 64;
        other.rows = {1};
        lender = runtime.create_context(other);
        RKNPU2_RETURN_IF_ERROR(lender.status());
    }
    Result<std::unique_ptr<NpuContext>> context = runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(context.status());
    const Numbers numbers = draw_numbers(test);
    if (test.binding == Binding::kRows) {  // first the larger one, whose leftovers must not be seen
        SelfTestCase larger = test;
        larger.M = 2 * test.M;
        Operands operands;
        RKNPU2_RETURN_IF_ERROR(make_own(*context.value(), 1, operands));
        RKNPU2_RETURN_IF_ERROR(multiply(*context.value(), larger, 1, draw_numbers(larger), operands));
    }
    Operands operands;
    RKNPU2_RETURN_IF_ERROR(test.binding == Binding::kSlices
                               ? make_slices(*context.value(), *lender.value(), 0, operands)
                               : make_own(*context.value(), 0, operands));
    RKNPU2_RETURN_IF_ERROR(multiply(*context.value(), test, 0, numbers, operands));
    result.ran = true;
    compare(test, numbers, *operands.c, result);
    return {};
}

SelfTestResult run_noting_timeout(NpuRuntime& runtime, const SelfTestCase& test, bool* timeout) {
    SelfTestResult result;
    result.test = test;
    const Status status = run_case(runtime, test, result);
    if (!status.ok()) {
        result.ran = false;
        result.error = status.message();
    }
    *timeout = status.code() == StatusCode::kTimeout;
    return result;
}

}  // namespace

SelfTestResult run_self_test(NpuRuntime& runtime, const SelfTestCase& test) {
    bool timeout = false;
    return run_noting_timeout(runtime, test, &timeout);
}

std::vector<SelfTestResult> run_self_tests(NpuRuntime& runtime, bool quick) {
    std::vector<SelfTestResult> results;
    int timeouts = 0;
    for (const SelfTestCase& test : self_test_cases(quick)) {
        if (timeouts >= kTimeoutsToGiveUp) {
            SelfTestResult left_out;
            left_out.test = test;
            left_out.error = "left out after three time-outs";
            results.push_back(left_out);
            continue;
        }
        bool timeout = false;
        results.push_back(run_noting_timeout(runtime, test, &timeout));
        timeouts += timeout ? 1 : 0;
    }
    return results;
}

}  // namespace rknpu2
