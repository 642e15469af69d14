// SPDX-License-Identifier: MIT
// Names of what settings may be, and lists of CPUs.
#include <optional>
#include <string_view>

#include "base/format.hpp"
#include "base/parse_int.hpp"
#include "config/config.hpp"

namespace rknpu2 {
namespace {

constexpr int kMaxCpu = 1023;

}  // namespace

const char* precision_name(Precision precision) {
    switch (precision) {
        case Precision::kBalanced:
            return "balanced";
        case Precision::kFast:
            return "fast";
        case Precision::kExact:
            return "exact";
        case Precision::kReference:
            return "reference";
        case Precision::kNaive:
            return "naive";
    }
    return "?";
}

const char* on_error_name(OnError step) {
    switch (step) {
        case OnError::kRetry:
            return "retry";
        case OnError::kReset:
            return "reset";
        case OnError::kCpu:
            return "cpu";
        case OnError::kFail:
            return "fail";
    }
    return "?";
}

std::string on_error_text(const std::vector<OnError>& steps) {
    std::string text;
    for (const OnError step : steps) {
        if (!text.empty()) text += ',';
        text += on_error_name(step);
    }
    return text;
}

Result<std::vector<int>> parse_cpu_list(const std::string& text) {
    std::vector<int> cpus;
    std::vector<bool> listed(kMaxCpu + 1);  // once is enough, or a short text would be a long list
    std::string_view rest(text);
    while (!rest.empty()) {
        const std::string_view item = rest.substr(0, rest.find(','));
        rest.remove_prefix(item.size() < rest.size() ? item.size() + 1 : item.size());
        const size_t dash = item.find('-');
        const std::optional<int> first = parse_int(item.substr(0, dash));
        const std::optional<int> last =
            dash == std::string_view::npos ? first : parse_int(item.substr(dash + 1));
        if (!first || !last || *first < 0 || *last < *first || *last > kMaxCpu) {
            return Status(StatusCode::kInvalidArgument, format("\"%s\" is not a CPU list", text.c_str()));
        }
        for (int cpu = *first; cpu <= *last; ++cpu) {
            if (!listed[static_cast<size_t>(cpu)]) cpus.push_back(cpu);
            listed[static_cast<size_t>(cpu)] = true;
        }
    }
    return cpus;
}

}  // namespace rknpu2
