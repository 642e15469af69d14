// SPDX-License-Identifier: MIT
// What the results of the self test say as lines of the report.
#include <algorithm>

#include "base/format.hpp"
#include "doctor_self_test.hpp"

namespace rknpu2 {
namespace {

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

// What went well or was left out and the plug-in does not use: such shapes of one mode share a line.
bool shares_a_line(const SelfTestResult& result) {
    return result.test.use == Use::kOther && (result.passed() || result.state == StepState::kLeftOut);
}

}  // namespace

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
            if (!shares_a_line(*first)) {
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
