// SPDX-License-Identifier: MIT
#include "doctor_reference.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "core/kernels/convert_output.hpp"
#include "matrix/float16.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr double kTolerance = 0x1p-19;
constexpr double kSmallestNormalFloat16 = 0x1p-14;

bool is_float(NpuArithmetic arithmetic) {
    return operand_type(arithmetic) == DType::kFloat16;
}

// Whole numbers of -limit .. limit are drawn. Small ones for narrow results, so that most sums are neither
// clipped (to int8, to int16) nor rounded (to fp16).
int limit_of(NpuArithmetic arithmetic) {
    switch (arithmetic) {
        case NpuArithmetic::kInt8:
            return 127;
        case NpuArithmetic::kFloat16:
            return 15;
        case NpuArithmetic::kInt4:
            return 7;
        case NpuArithmetic::kInt8Narrow:
            return 1;
        case NpuArithmetic::kFloat16Narrow:
            return 3;
    }
    return 1;
}

float draw(std::mt19937& random, const SelfTestCase& test) {
    const auto bits = static_cast<uint32_t>(random());
    if (test.integers || !is_float(test.arithmetic)) {
        const int limit = limit_of(test.arithmetic);
        return static_cast<float>(static_cast<int>(bits % static_cast<uint32_t>(2 * limit + 1)) - limit);
    }
    // 0.25 to 4 with both signs: sums cancel as in real activations.
    const float size =
        std::ldexp(1.0F + static_cast<float>(bits & 0x3FF) / 1024.0F, static_cast<int>((bits >> 10) & 3) - 2);
    return (bits >> 31) != 0 ? -size : size;
}

void store(float value, DType type, size_t index, std::byte* to) {
    if (type == DType::kInt4) {
        int4_set(reinterpret_cast<uint8_t*>(to), index, static_cast<int>(value));
    } else if (type == DType::kInt8) {
        const auto byte = static_cast<int8_t>(value);
        std::memcpy(to + index, &byte, 1);
    } else {
        const uint16_t half = float_to_float16(value);
        std::memcpy(to + 2 * index, &half, 2);
    }
}

template <typename T>
T load(const std::byte* from, size_t index) {
    T value{};
    std::memcpy(&value, from + sizeof(T) * index, sizeof(T));
    return value;
}

// Sums of one result of fp16: in float64, of the sizes, and in the simulator's order.
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

template <typename Int>
int32_t clipped(int32_t sum) {
    return std::clamp<int32_t>(sum, std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max());
}

int32_t expected_integer(int32_t sum, DType type) {
    if (type == DType::kInt8) return clipped<int8_t>(sum);
    return type == DType::kInt16 ? clipped<int16_t>(sum) : sum;
}

int32_t load_integer(const std::byte* from, DType type, size_t index) {
    if (type == DType::kInt8) return load<int8_t>(from, index);
    return type == DType::kInt16 ? load<int16_t>(from, index) : load<int32_t>(from, index);
}

// Half a unit in the last place of a number of fp16.
double half_unit(double value) {
    return std::ldexp(1.0, std::ilogb(std::max(std::fabs(value), kSmallestNormalFloat16)) - 11);
}

// How far a result of fractions may be from the exact sum.
double allowed_error(const Sums& sums, DType type) {
    const double order = kTolerance * sums.sizes;
    return type == DType::kFloat16 ? order + half_unit(std::fabs(sums.exact) + order) : order;
}

void note_wrong(size_t m, size_t n, double expected, double got, SelfTestResult& result) {
    ++result.wrong;
    if (!result.first) result.first = Mismatch{m, n, expected, got};
}

void compare_float(const SelfTestCase& test, const Sums& sums, const Mismatch& at, const std::byte* c,
                   size_t index, SelfTestResult& result) {
    const DType type = result_type(test.arithmetic);
    double got = 0;
    bool same = false;
    if (type == DType::kFloat16) {
        const auto bits = load<uint16_t>(c, index);
        got = static_cast<double>(float16_to_float(bits));
        same = bits == rknnsim::round_to_float16(sums.simulator);
    } else {
        const auto bits = load<uint32_t>(c, index);
        got = static_cast<double>(std::bit_cast<float>(bits));
        same = bits == std::bit_cast<uint32_t>(rknnsim::round_to_float(sums.simulator));
    }
    if (same) ++result.as_simulator;
    const double allowed = test.integers ? 0 : allowed_error(sums, type);
    const double error = std::fabs(got - sums.exact);
    if (!(error <= allowed)) note_wrong(at.m, at.n, sums.exact, got, result);  // NaN, too
    if (allowed > 0 && std::isfinite(error)) result.worst = std::max(result.worst, error / allowed);
}

}  // namespace

Numbers draw_numbers(const SelfTestCase& test) {
    std::mt19937 random(static_cast<uint32_t>(test.M * 7919 + test.K * 31 + test.N));
    Numbers numbers{std::vector<float>(test.M * test.K), std::vector<float>(test.N * test.K)};
    for (std::vector<float>* values : {&numbers.a, &numbers.b}) {
        for (float& x : *values)
            x = draw(random, test);
    }
    if (is_float(test.arithmetic)) return numbers;
    // The largest sum that there is: the first row and column are the smallest number of the type.
    const float smallest = operand_type(test.arithmetic) == DType::kInt4 ? -8.0F : -128.0F;
    std::fill_n(numbers.a.begin(), test.K, smallest);
    std::fill_n(numbers.b.begin(), test.K, smallest);
    return numbers;
}

void lay_out(const SelfTestCase& test, const Numbers& numbers, NpuMemory& a, NpuMemory& b) {
    const DType type = operand_type(test.arithmetic);
    for (size_t m = 0; m < test.M; ++m) {
        for (size_t k = 0; k < test.K; ++k)
            store(numbers.a[m * test.K + k], type, a_index(m, k, test.M, test.K, type, test.ac_layout),
                  a.data());
    }
    for (size_t n = 0; n < test.N; ++n) {
        for (size_t k = 0; k < test.K; ++k)
            store(numbers.b[n * test.K + k], type, b_index(k, n, test.K, test.N, type, test.b_layout),
                  b.data());
    }
}

void compare(const SelfTestCase& test, const Numbers& numbers, const NpuMemory& c, SelfTestResult& result) {
    const DType type = result_type(test.arithmetic);
    for (size_t m = 0; m < test.M; ++m) {
        for (size_t n = 0; n < test.N; ++n) {
            const float* const a = numbers.a.data() + m * test.K;
            const float* const b = numbers.b.data() + n * test.K;
            const size_t index = c_index(m, n, test.M, test.N, type, test.ac_layout);
            if (is_float(test.arithmetic)) {
                compare_float(test, sums_of(a, b, test.K), {.m = m, .n = n}, c.data(), index, result);
                continue;
            }
            const int32_t expected = expected_integer(int_sum(a, b, test.K), type);
            const int32_t got = load_integer(c.data(), type, index);
            if (got != expected) note_wrong(m, n, expected, got, result);
        }
    }
}

}  // namespace rknpu2
