// SPDX-License-Identifier: MIT
// One line of rknpu2-doctor's report: what was looked at, how it is, and what to do about it.
//
// Everything that the doctor finds, about the system, results or times, ends as such a line, so that text,
// JSON and exit status need no special cases. `advice` is there whenever the state is a warning or a problem.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "base/status.hpp"

namespace rknpu2 {

enum class Health {
    kOk,
    kWarning,  // it works, but slower or with limits
    kProblem,  // it does not work, or gives wrong results
    kSkipped,  // could not or need not be looked at; `found` says why
};

struct Check {
    std::string id;  // stable, for programs: "system.driver"
    Health health = Health::kOk;
    std::string title;
    std::string found;
    std::string advice;  // empty for kOk and kSkipped
};

// Makes the line of that id and title, once it is known how it is.
struct CheckLine {
    std::string id, title;

    Check ok(std::string found) const { return {id, Health::kOk, title, std::move(found), ""}; }
    Check skipped(std::string found) const { return {id, Health::kSkipped, title, std::move(found), ""}; }
    Check warning(std::string found, std::string advice) const {
        return {id, Health::kWarning, title, std::move(found), std::move(advice)};
    }
    Check problem(std::string found, std::string advice) const {
        return {id, Health::kProblem, title, std::move(found), std::move(advice)};
    }
};

constexpr const char* health_name(Health health) {
    constexpr const char* kNames[] = {"ok", "warning", "problem", "skipped"};
    return kNames[static_cast<size_t>(health)];
}

// How far a step that uses the NPU came.
enum class StepState {
    kRan,       // there is a result, right or wrong
    kFailed,    // the runtime reported an error
    kTimedOut,  // the runtime reported that the device did not answer
    kCrashed,   // the process with the runtime ended, or hung and was stopped
    kLeftOut,   // not tried: too much went wrong before
};

// What each step leaves behind.
struct Outcome {
    StepState state = StepState::kLeftOut;
    std::string error;  // why there is no result; empty when it ran

    bool ran() const { return state == StepState::kRan; }
};

// kRan, kFailed or kTimedOut.
Outcome outcome_of(const Status& status);

}  // namespace rknpu2
