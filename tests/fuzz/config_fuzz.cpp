// SPDX-License-Identifier: MIT
// The settings: lines NAME=value that become the environment (without NAME: the rest of GGML_RKNPU2_). An
// error names a variable that is set, its value and what it may be; what is accepted is in its range, and
// every variable that is set and unknown is told.
#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>

#include "base/format.hpp"
#include "config/config.hpp"
#include "fuzz/check.hpp"

using namespace rknpu2;  // NOLINT: this is its program

namespace {

std::map<std::string, std::string> variables_of(const std::string& text) {
    std::map<std::string, std::string> variables;
    std::string name, value;
    bool in_value = false;
    for (const char c : text + "\n") {
        if (c == '\0') continue;  // none in an environment
        if (c == '=' && !in_value) {
            in_value = true;
        } else if (c == '\n') {
            if (!name.empty()) variables["GGML_RKNPU2_" + name] = value;
            name.clear(), value.clear();
            in_value = false;
        } else {
            (in_value ? value : name) += c == '\x01' ? '\n' : c;  // a line break can be in a value, too
        }
    }
    return variables;
}

bool is_known(const std::string& name) {
    const std::vector<SettingInfo> settings = describe_settings();
    return std::any_of(settings.begin(), settings.end(),
                       [&](const SettingInfo& s) { return name == s.name; });
}

void check_accepted(const Config& config, const std::map<std::string, std::string>& variables) {
    FUZZ_CHECK(config.cores >= 1 && config.cores <= 3);
    FUZZ_CHECK(config.threads >= 0 && config.threads <= 256);
    FUZZ_CHECK(config.weight_cache_mb >= 1 && config.weight_cache_mb <= 1 << 20);
    FUZZ_CHECK(config.weight_cache_directory.empty() ||
               config.weight_cache_directory.find('/') != std::string::npos);
    FUZZ_CHECK(config.lock == "auto" || config.lock == "none" || config.lock.find('/') != std::string::npos);
    std::vector<int> cpus = config.affinity;
    std::sort(cpus.begin(), cpus.end());
    FUZZ_CHECK(std::adjacent_find(cpus.begin(), cpus.end()) == cpus.end());
    FUZZ_CHECK(cpus.empty() || (cpus.front() >= 0 && cpus.back() < 1024));
    FUZZ_CHECK(!config.on_error.empty() && config.on_error.size() <= 8);
    for (size_t i = 0; i + 1 < config.on_error.size(); ++i)
        FUZZ_CHECK(config.on_error[i] == OnError::kRetry || config.on_error[i] == OnError::kReset);
    // What was said is what is done.
    for (const SettingInfo& setting : describe_settings()) {
        const auto set = variables.find(setting.name);
        const bool given = set != variables.end() && !set->second.empty();
        FUZZ_CHECK(setting.current == (given ? set->second : setting.default_text));
        if (given && set->first == "GGML_RKNPU2_ON_ERROR")
            FUZZ_CHECK(on_error_text(config.on_error) == set->second);
        if (given && set->first == "GGML_RKNPU2_PRECISION")
            FUZZ_CHECK(precision_name(config.precision) == set->second);
        if (given && set->first == "GGML_RKNPU2_CORES")
            FUZZ_CHECK(std::atoi(set->second.c_str()) == config.cores);
    }
    for (const auto& [name, value] : variables) {
        const auto told = std::count(config.unknown.begin(), config.unknown.end(), name);
        FUZZ_CHECK(told == (is_known(name) ? 0 : 1));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const auto variables = variables_of(std::string(reinterpret_cast<const char*>(data), size));
    clearenv();
    setenv("HOME", "/home/somebody", 1);
    for (const auto& [name, value] : variables)
        setenv(name.c_str(), value.c_str(), 1);
    const Result<Config> config = Config::from_environment();
    if (config.ok()) {
        check_accepted(config.value(), variables);
        return 0;
    }
    const std::string message = config.status().message();
    FUZZ_CHECK(config.status().code() == StatusCode::kInvalidArgument && fuzz::is_one_line(message));
    const auto named = std::find_if(variables.begin(), variables.end(), [&](const auto& variable) {
        return message.rfind(variable.first + "=" + printable(variable.second) + ": must be ", 0) == 0;
    });
    FUZZ_CHECK(named != variables.end() && is_known(named->first));
    return 0;
}
