// SPDX-License-Identifier: MIT
// The cases, their operands, and what the product of those has to be.
//
// Integer results have to agree bit by bit:
//   int8 to int32   sums are exact
//   int8 to int8    scales are 1; sums beyond a byte are clipped
//   int4 to int16   sums beyond 16 bits are clipped. The one sum that is has products of one sign only, so
//                   that it does not matter how often the chip clips on the way
//
// fp16: small integers, whose sums are exact in any order and, for results in fp16, after any rounding: all
// bits. Fractions: within 2^-19 of the sum of |a * b| (the order of the sum on the chip is not known), and
// half a unit in the last place more when the result is fp16, which is rounded to nearest.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include "base/format.hpp"
#include "core/kernels/convert_output.hpp"
#include "doctor_measure.hpp"
#include "doctor_self_test.hpp"
#include "matrix/float16.hpp"
#include "soc/rk3588.hpp"

namespace rknpu2 {
namespace {

// Row-major operands, as numbers that every type holds exactly.
struct Numbers {
    std::vector<float> a;  // [M, K]
    std::vector<float> b;  // [N, K]
};

constexpr double kTolerance = 0x1p-19;
constexpr double kSmallestNormalFloat16 = 0x1p-14;

bool is_float(NpuArithmetic arithmetic) {
    return operand_type(arithmetic) == DType::kFloat16;
}

float draw(std::mt19937& random, const SelfTestCase& test) {
    const auto bits = static_cast<uint32_t>(random());
    if (test.integers) {
        // Whole numbers of -limit .. limit, by NpuArithmetic. Small ones for narrow results, so that most
        // sums are neither clipped (to int8, to int16) nor rounded (to fp16).
        constexpr uint32_t kLimits[] = {127, 15, 7, 1, 3};
        const uint32_t limit = kLimits[static_cast<size_t>(test.arithmetic)];
        return static_cast<float>(bits % (2 * limit + 1)) - static_cast<float>(limit);
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
        reinterpret_cast<int8_t*>(to)[index] = static_cast<int8_t>(value);
    } else {
        reinterpret_cast<uint16_t*>(to)[index] = float_to_float16(value);
    }
}

// What one result should be.
struct Expected {
    double exact = 0;
    double allowed = 0;    // error
    double simulator = 0;  // in the simulator's order of additions
};

// Half a unit in the last place of a number of fp16.
double half_unit(double value) {
    return std::ldexp(1.0, std::ilogb(std::max(std::fabs(value), kSmallestNormalFloat16)) - 11);
}

Expected expected_float(const SelfTestCase& test, const float* a, const float* b) {
    Expected expected;
    double sizes = 0;
    for (size_t first = 0; first < test.K; first += 32) {
        float group = 0;
        for (size_t k = first; k < first + 32; ++k) {
            const float product = a[k] * b[k];  // exact: 11 by 11 bits
            group += product;
            expected.exact += static_cast<double>(product);
            sizes += std::fabs(static_cast<double>(product));
        }
        expected.simulator += static_cast<double>(group);
    }
    const bool narrow = result_type(test.arithmetic) == DType::kFloat16;
    expected.simulator =
        static_cast<double>(narrow ? float16_to_float(rknnsim::round_to_float16(expected.simulator))
                                   : rknnsim::round_to_float(expected.simulator));
    if (test.integers) return expected;
    expected.allowed = kTolerance * sizes;
    if (narrow) expected.allowed += half_unit(std::fabs(expected.exact) + expected.allowed);
    return expected;
}

Expected expected_integer(const SelfTestCase& test, const float* a, const float* b) {
    int32_t sum = 0;
    for (size_t k = 0; k < test.K; ++k)
        sum += static_cast<int32_t>(a[k]) * static_cast<int32_t>(b[k]);
    const int bits = dtype_bits(result_type(test.arithmetic));
    if (bits < 32) sum = std::clamp(sum, -(1 << (bits - 1)), (1 << (bits - 1)) - 1);
    return {static_cast<double>(sum), 0, static_cast<double>(sum)};
}

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
    const auto expected_of = is_float(test.arithmetic) ? expected_float : expected_integer;
    for (size_t m = 0; m < test.M; ++m) {
        for (size_t n = 0; n < test.N; ++n) {
            const Expected expected = expected_of(test, &numbers.a[m * test.K], &numbers.b[n * test.K]);
            const double got = load(c.data(), type, c_index(m, n, test.M, test.N, type, test.ac_layout));
            const double error = std::fabs(got - expected.exact);
            if (std::bit_cast<uint64_t>(got) == std::bit_cast<uint64_t>(expected.simulator))
                ++result.as_simulator;
            if (expected.allowed > 0 && std::isfinite(error))
                result.worst = std::max(result.worst, error / expected.allowed);
            if (error <= expected.allowed) continue;  // not for NaN
            if (result.wrong++ == 0) result.first = {m, n, expected.exact, got};
        }
    }
}

Status run_case(NpuRuntime& runtime, const SelfTestCase& test, SelfTestResult& result) {
    const bool other_rows_first = test.binding == Binding::kRows;
    ContextSpec spec{.arithmetic = test.arithmetic,
                     .K = test.K,
                     .N = test.N,
                     .rows = {test.M},
                     .core = test.core,
                     .domain = test.domain,
                     .ac_layout = test.ac_layout,
                     .b_layout = test.b_layout};
    if (other_rows_first) spec.rows.push_back(2 * test.M);
    Product product;
    RKNPU2_RETURN_IF_ERROR(product.make(runtime, spec, test.binding == Binding::kSlices));
    const auto multiply = [&](const SelfTestCase& of, size_t index, const Numbers& numbers) -> Status {
        RKNPU2_RETURN_IF_ERROR(product.allocate(index));
        RKNPU2_RETURN_IF_ERROR(
            product.prepare(index, [&](NpuMemory& a, NpuMemory& b) { lay_out(of, numbers, a, b); }));
        return product.run();
    };
    if (other_rows_first) {  // whose leftovers must not be seen
        SelfTestCase larger = test;
        larger.M = 2 * test.M;
        RKNPU2_RETURN_IF_ERROR(multiply(larger, 1, draw_numbers(larger)));
    }
    const Numbers numbers = draw_numbers(test);
    RKNPU2_RETURN_IF_ERROR(multiply(test, 0, numbers));
    compare(test, numbers, *product.c, result);
    return {};
}

// Native on all sides, and in all the ways that the plug-in uses memory.
void add_plugin_cases(NpuArithmetic type, bool quick, std::vector<SelfTestCase>& cases) {
    const size_t group = kernel_group(operand_type(type));
    const auto pick = [quick](size_t small, size_t large) { return quick ? small : large; };
    cases.push_back({"smallest", type, 1, 32, group});
    cases.push_back({"one row", type, 1, 576, 1536});
    cases.push_back({"odd rows, odd groups", type, 7, 96, 3 * group});
    cases.push_back({"several tiles of rows", type, pick(73, 307), pick(2048, 1024), 256});
    cases.push_back({"largest K", type, 2, rk3588::kMaxK, pick(group, 256)});
    cases.push_back({"widest N", type, 2, pick(64, 1024), rk3588::kDocumentedN});
    for (int core = 1; core < rk3588::kCores; ++core) {
        cases.push_back({"another core", type, 4, 256, 128});
        cases.back().core = core;
    }
    cases.push_back({"slices of other memory", type, 5, 512, 320});
    cases.back().binding = Binding::kSlices;
    cases.push_back({"fewer rows than before", type, 3, 512, 320});
    cases.back().binding = Binding::kRows;
    cases.push_back({"another IOMMU domain", type, 4, 256, 128});
    cases.back().domain = 1;
    cases.back().use = Use::kLargeModels;
}

// A type and layout that the chip has and the plug-in does not use, in all classes of shapes: one, few and
// many rows, a multiple of nothing; K and N as small as can be, odd multiples of that, and large.
void add_other_cases(NpuArithmetic type, Layout ac, Layout b, bool quick, std::vector<SelfTestCase>& cases) {
    const size_t group = kernel_group(operand_type(type));
    const auto pick = [quick](size_t small, size_t large) { return quick ? small : large; };
    const auto add = [&](const char* what, size_t M, size_t K, size_t N, bool integers = true) {
        cases.push_back({what, type, M, K, N, ac, b, 0, 0, Binding::kOwn, integers, Use::kOther});
    };
    add("smallest", 1, 32, group);
    add("odd rows, odd groups", 7, 96, 3 * group);
    add("several tiles of rows", pick(61, 131), pick(544, 736), 5 * group);
    if (!quick) {
        add("one row", 1, 2048, 1088);
        add("largest K", 2, rk3588::kMaxK, group);
        add("two segments of K", 3, rk3588::kMaxK + 1024, 2 * group);
        add("widest N", 2, 64, 4096);
    }
    if (operand_type(type) == DType::kFloat16)
        add("fractions", pick(5, 67), pick(288, 1056), 3 * group, false);
}

// "int4 to int16, B native, A and C normal"
std::string mode_title(const SelfTestCase& test) {
    const std::string types = format("%s to %s, ", dtype_name(operand_type(test.arithmetic)),
                                     dtype_name(result_type(test.arithmetic)));
    if (test.ac_layout == test.b_layout) return types + "all " + layout_name(test.b_layout);
    return types + format("B %s, A and C %s", layout_name(test.b_layout), layout_name(test.ac_layout));
}

// What the plug-in uses has the short form.
std::string mode_id(const SelfTestCase& test) {
    const char* const operands = dtype_name(operand_type(test.arithmetic));
    if (test.use != Use::kOther) return format("self_test.%s", operands);
    return format("self_test.%s_%s.ac_%s.b_%s", operands, dtype_name(result_type(test.arithmetic)),
                  layout_name(test.ac_layout), layout_name(test.b_layout));
}

std::string shape_text(const SelfTestCase& test) {
    return format("%zux%zux%zu", test.M, test.K, test.N);
}

std::string place_text(const SelfTestCase& test) {
    return format("%s on core %d", shape_text(test).c_str(), test.core);
}

// With all digits that its type can have.
std::string number_text(const SelfTestCase& test, double value) {
    return format(operand_type(test.arithmetic) == DType::kFloat16 ? "%.9g" : "%.0f", value);
}

std::string advice_of(const SelfTestResult& result) {
    if (result.state == StepState::kCrashed)
        return "a program that does this ends with it: report it with this report's file";
    if (result.test.use == Use::kOther) {
        return result.ran()
                   ? "the plug-in does not use this, other programs may: report it with this report's file"
                   : "the plug-in does not need this; programs that do will not work with this runtime";
    }
    if (result.ran() || result.test.use == Use::kPlugin)
        return "do not use the NPU until this is understood: report it with this report's file";
    return "models whose packed weights exceed 4 GiB will not work; driver 0.9.8 is needed";
}

}  // namespace

SelfTestResult run_self_test(NpuRuntime& runtime, const SelfTestCase& test) {
    SelfTestResult result;
    result.test = test;
    static_cast<Outcome&>(result) = outcome_of(run_case(runtime, test, result));
    return result;
}

std::vector<SelfTestCase> self_test_cases(bool quick) {
    using enum NpuArithmetic;
    std::vector<SelfTestCase> cases;
    for (const NpuArithmetic type : {kInt8, kFloat16})
        add_plugin_cases(type, quick, cases);
    cases.push_back({"fractions", kFloat16, 1, 4096, 512});
    cases.back().integers = false;
    cases.push_back({"fractions", kFloat16, 64, 1024, 256});
    cases.back().integers = false;
    for (const NpuArithmetic type : {kInt8, kFloat16, kInt4, kInt8Narrow, kFloat16Narrow}) {
        for (const Layout b : {Layout::kNative, Layout::kNormal, Layout::kTransposed}) {
            if (type == kInt4 && b != Layout::kNative) continue;
            if (type == kInt8Narrow && b == Layout::kTransposed) continue;
            const bool plugin = b == Layout::kNative && (type == kInt8 || type == kFloat16);
            if (!plugin) add_other_cases(type, Layout::kNative, b, quick, cases);
            add_other_cases(type, Layout::kNormal, b, quick, cases);
        }
    }
    return cases;
}

const char* layout_name(Layout layout) {
    constexpr const char* kNames[] = {"normal", "native", "transposed"};
    return kNames[static_cast<size_t>(layout)];
}

std::string case_text(const SelfTestCase& test) {
    return mode_title(test) + ", " + test.what + ": " + place_text(test);
}

Check check_of(const SelfTestResult& result) {
    const SelfTestCase& test = result.test;
    const size_t total = test.M * test.N;
    CheckLine line{mode_id(test) + "." + shape_text(test), mode_title(test) + ", " + test.what};
    if (test.core != 0) line.id += format(".core%d", test.core);
    if (test.domain != 0) line.id += format(".domain%d", test.domain);
    std::string found = place_text(test) + ": ";
    if (result.state == StepState::kLeftOut) return line.skipped(found + result.error);
    if (result.passed() && test.integers) return line.ok(found + "every bit right");
    if (result.passed()) {
        return line.ok(found +
                       format("within rounding (%.2f of what is allowed; %zu of %zu as the simulator adds)",
                              result.worst, result.as_simulator, total));
    }
    if (!result.ran()) {
        const bool needed = result.state == StepState::kCrashed || test.use == Use::kPlugin;
        found += result.error;
        return needed ? line.problem(found, advice_of(result)) : line.warning(found, advice_of(result));
    }
    found += format("%zu of %zu results wrong, first at row %zu column %zu: %s instead of %s", result.wrong,
                    total, result.first.m, result.first.n, number_text(test, result.first.got).c_str(),
                    number_text(test, result.first.expected).c_str());
    return line.problem(found, advice_of(result));
}

std::vector<Check> checks_of(const std::vector<SelfTestResult>& results) {
    std::vector<Check> checks;
    for (auto first = results.begin(); first != results.end();) {
        const std::string id = mode_id(first->test);
        const auto last = std::find_if(first, results.end(),
                                       [&](const SelfTestResult& r) { return mode_id(r.test) != id; });
        struct Group {
            Check check;
            std::string shapes, what;
        } groups[] = {
            {{id, Health::kOk, mode_title(first->test), "", ""}, "", "every bit right"},
            {{id + ".fractions", Health::kOk, mode_title(first->test), "", ""}, "", "within rounding"},
            {{id + ".left_out", Health::kSkipped, mode_title(first->test), "", ""}, "", ""}};
        for (; first != last; ++first) {
            // What went well or was left out and the plug-in does not use: such shapes of one mode share a line.
            const bool quiet = first->passed() || first->state == StepState::kLeftOut;
            if (first->test.use != Use::kOther || !quiet) {
                checks.push_back(check_of(*first));
                continue;
            }
            Group& group = groups[!first->passed() ? 2 : first->test.integers ? 0 : 1];
            if (!first->passed()) group.what = first->error;
            group.shapes += (group.shapes.empty() ? "" : ", ") + shape_text(first->test);
        }
        for (Group& group : groups) {
            group.check.found = group.shapes + ": " + group.what;
            if (!group.shapes.empty()) checks.push_back(std::move(group.check));
        }
    }
    return checks;
}

}  // namespace rknpu2
