// SPDX-License-Identifier: MIT
#include "doctor_self_test.hpp"

#include "doctor_product.hpp"
#include "doctor_reference.hpp"

namespace rknpu2 {
namespace {

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

}  // namespace

SelfTestResult run_self_test(NpuRuntime& runtime, const SelfTestCase& test) {
    SelfTestResult result;
    result.test = test;
    static_cast<Outcome&>(result) = outcome_of(run_case(runtime, test, result));
    return result;
}

}  // namespace rknpu2
