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
    if (result.state == CaseState::kCrashed)
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

// The shapes of one mode that have the same to say.
class Group {
  public:
    Group(std::string found, std::string suffix) : found_(std::move(found)), suffix_(std::move(suffix)) {}

    void add(const SelfTestResult& result) {
        if (!shapes_.empty()) shapes_ += ", ";
        shapes_ += shape_text(result.test);
    }

    // Appends the line of the shapes that were added, if any, and forgets them.
    void finish(const SelfTestCase& test, Health health, std::vector<Check>& checks) {
        if (shapes_.empty()) return;
        Check check;
        check.id = mode_id(test) + suffix_;
        check.health = health;
        check.title = mode_title(test);
        check.found = shapes_ + ": " + found_;
        checks.push_back(check);
        shapes_.clear();
    }

  private:
    std::string found_, suffix_, shapes_;
};

bool same_mode(const SelfTestCase& a, const SelfTestCase& b) {
    return mode_id(a) == mode_id(b);
}

}  // namespace

const char* layout_name(Layout layout) {
    switch (layout) {
        case Layout::kNormal:
            return "normal";
        case Layout::kNative:
            return "native";
        case Layout::kTransposed:
            return "transposed";
    }
    return "?";
}

std::string case_text(const SelfTestCase& test) {
    return mode_title(test) + ", " + test.what + ": " + place_text(test);
}

Check check_of(const SelfTestResult& result) {
    const SelfTestCase& test = result.test;
    const size_t total = test.M * test.N;
    Check check;
    check.id = mode_id(test) + "." + shape_text(test);
    if (test.core != 0) check.id += format(".core%d", test.core);
    if (test.domain != 0) check.id += format(".domain%d", test.domain);
    check.title = mode_title(test) + ", " + test.what;
    const std::string shape = place_text(test);
    if (result.state == CaseState::kLeftOut) {
        check.health = Health::kSkipped;
        check.found = shape + ": " + result.error;
        return check;
    }
    if (result.passed()) {
        check.found = shape + ": " + (test.integers ? "every bit right" : "within rounding");
        if (!test.integers)
            check.found += format(" (%.2f of what is allowed; %zu of %zu as the simulator adds)",
                                  result.worst, result.as_simulator, total);
        return check;
    }
    const bool refused = !result.ran() && result.state != CaseState::kCrashed;
    check.health = refused && test.use != Use::kPlugin ? Health::kWarning : Health::kProblem;
    check.advice = advice_of(result);
    if (!result.ran()) {
        check.found = shape + ": " + result.error;
        return check;
    }
    check.found = format("%s: %zu of %zu results wrong", shape.c_str(), result.wrong, total);
    if (result.first)
        check.found += format(", first at row %zu column %zu: %s instead of %s", result.first->m,
                              result.first->n, number_text(test, result.first->got).c_str(),
                              number_text(test, result.first->expected).c_str());
    return check;
}

std::vector<Check> checks_of(const std::vector<SelfTestResult>& results) {
    std::vector<Check> checks;
    Group right("every bit right", "");
    Group rounded("within rounding", ".fractions");
    const auto first_left_out =
        std::find_if(results.begin(), results.end(),
                     [](const SelfTestResult& result) { return result.state == CaseState::kLeftOut; });
    Group skipped(first_left_out != results.end() ? first_left_out->error : "", ".left_out");
    for (size_t i = 0; i < results.size(); ++i) {
        const SelfTestResult& result = results[i];
        const bool alone =
            result.test.use != Use::kOther || !(result.passed() || result.state == CaseState::kLeftOut);
        if (alone) {
            checks.push_back(check_of(result));
        } else if (!result.passed()) {
            skipped.add(result);
        } else {
            (result.test.integers ? right : rounded).add(result);
        }
        if (i + 1 < results.size() && same_mode(result.test, results[i + 1].test)) continue;
        right.finish(result.test, Health::kOk, checks);
        rounded.finish(result.test, Health::kOk, checks);
        skipped.finish(result.test, Health::kSkipped, checks);
    }
    return checks;
}

}  // namespace rknpu2
