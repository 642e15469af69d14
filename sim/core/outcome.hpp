// SPDX-License-Identifier: MIT
// The result of a call to the simulator: a code that the caller sees, and a text for the log.
//
// The codes are the vendor runtime's numbers, so that api/ only has to pass them on. An Outcome with a text
// is printed once, as one line, at the C interface; the core itself never prints.
#pragma once

#include <string>
#include <utility>

namespace rknnsim {

enum class Code : int {
    kOk = 0,
    kFail = -1,
    kTimeout = -2,
    kDeviceUnavailable = -3,
    kOutOfMemory = -4,
    kInvalidParameter = -5,
    kInvalidContext = -7,
    kInvalidInput = -8,
    kInvalidOutput = -9,
};

// What a program does wrong although a board might let it pass; see checker/checker.hpp.
enum class Rule {
    kNone,
    kMissingSync,
    kNeedlessSync,
    kStaleInput,
    kUncomputed,
    kUseAfterDestroy,
    kDoubleDestroy,
    kLeak,
    kSmallBuffer,
    kOverrun,
    kTwoThreads,
    kWrongDomain,
    kPadding,
    kManyContexts,
    kOverlap,
    kUnwritten,
    kClipped,
    kInt4Input,
    kImportSync,
    kDirtyResult,
    kUnreadResult,
};
inline constexpr int kRules = 21;

// `rule`: the checker's rule that the program has broken, if any.
struct [[nodiscard]] Outcome {
    Code code = Code::kOk;
    std::string text;
    Rule rule = Rule::kNone;

    Outcome() = default;
    Outcome(Code c, std::string t, Rule r = Rule::kNone) : code(c), text(std::move(t)), rule(r) {}

    bool ok() const { return code == Code::kOk; }
};

}  // namespace rknnsim

// Returns from the calling function unless the expression is ok.
#define RKNNSIM_RETURN_IF_ERROR(expression)                                              \
    do {                                                                                 \
        if (::rknnsim::Outcome outcome_ = (expression); !outcome_.ok()) return outcome_; \
    } while (false)
