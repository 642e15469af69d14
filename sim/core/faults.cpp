#include "core/faults.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(separator, at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

bool parse_number(const std::string& text, long long low, long long high, long long* value) {
    if (text.empty()) return false;
    char* end = nullptr;
    errno = 0;
    *value = std::strtoll(text.c_str(), &end, 10);
    return *end == '\0' && errno == 0 && *value >= low && *value <= high;
}

}  // namespace

Outcome Faults::parse(const std::string& text, const std::vector<std::string>& functions, Faults* faults) {
    *faults = {};
    if (text.empty()) return {};
    for (const std::string& item : split(text, ',')) {
        const std::vector<std::string> parts = split(item, ':');
        const auto bad = [&](const char* why) {
            return Outcome(Code::kFail,
                           format("RKNNSIM_FAIL is \"%s\": \"%s\" %s; the form is function:n[:code]; "
                                  "every call will fail until it is put right",
                                  text.c_str(), item.c_str(), why));
        };
        if (parts.size() != 2 && parts.size() != 3) return bad("has the wrong number of parts");
        if (std::find(functions.begin(), functions.end(), parts[0]) == functions.end()) {
            return bad("names no function that can fail");
        }
        long long call = 0;
        long long code = -1;
        if (!parse_number(parts[1], 1, INT64_MAX, &call)) return bad("does not count calls from 1");
        if (parts.size() == 3 && !parse_number(parts[2], -1000, -1, &code))
            return bad("has no negative code");
        faults->faults_.push_back({parts[0], static_cast<uint64_t>(call), static_cast<int>(code)});
        faults->calls_.try_emplace(parts[0], std::make_unique<std::atomic<uint64_t>>(0));
    }
    return {};
}

int Faults::call(const char* function) {
    if (faults_.empty()) return 0;
    const auto counter = calls_.find(function);
    if (counter == calls_.end()) return 0;
    const uint64_t number = counter->second->fetch_add(1) + 1;
    for (const Fault& fault : faults_) {
        if (fault.call == number && fault.function == function) return fault.code;
    }
    return 0;
}

}  // namespace rknnsim
