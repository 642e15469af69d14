// SPDX-License-Identifier: MIT
// One line of rknpu2-doctor's report: what was looked at, how it is, and what to do about it.
//
// Everything that the doctor finds, about the system, results or times, ends as such a line, so that text,
// JSON and exit status need no special cases. `advice` is there whenever the state is a warning or a problem.
#pragma once

#include <string>
#include <utility>
#include <vector>

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

constexpr const char* health_name(Health health) {
    switch (health) {
        case Health::kOk:
            return "ok";
        case Health::kWarning:
            return "warning";
        case Health::kProblem:
            return "problem";
        case Health::kSkipped:
            return "skipped";
    }
    return "?";
}

}  // namespace rknpu2
