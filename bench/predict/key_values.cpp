// SPDX-License-Identifier: MIT
#include "predict/key_values.hpp"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/format.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

std::string trim(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t\r");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

Status wrong(const std::string& file, int line, const std::string& what) {
    return {StatusCode::kInvalidArgument, format("%s:%d: %s", file.c_str(), line, printable(what).c_str())};
}

bool to_number(const std::string& text, double* value) {
    char* end = nullptr;
    *value = std::strtod(text.c_str(), &end);
    // All of the text: a zero byte in the middle ends a C string, but not a value.
    return !text.empty() && end == text.c_str() + text.size() && std::isfinite(*value);
}

}  // namespace

Result<KeyValues> KeyValues::parse(const std::string& text, const std::string& file) {
    KeyValues values;
    values.file_ = file;
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        line = trim(line.substr(0, line.find('#')));
        if (line.empty()) continue;
        const size_t equals = line.find('=');
        if (equals == std::string::npos) return wrong(file, number, "expected `name = value`");
        const std::string name = trim(line.substr(0, equals));
        const std::string value = trim(line.substr(equals + 1));
        if (name.empty() || value.empty()) return wrong(file, number, "expected `name = value`");
        if (!values.entries_.emplace(name, Entry{value, number}).second) {
            return wrong(file, number, name + " is given twice");
        }
    }
    return values;
}

Result<std::string> KeyValues::take(const std::string& name) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
        return Status(StatusCode::kInvalidArgument, file_ + ": " + name + " is missing");
    }
    std::string value = found->second.value;
    entries_.erase(found);
    return value;
}

Result<double> KeyValues::take_number(const std::string& name, double low, double high) {
    const auto found = entries_.find(name);
    const int line = found == entries_.end() ? 0 : found->second.line;
    const Result<std::string> text = take(name);
    if (!text.ok()) return text.status();
    double value = 0;
    if (!to_number(text.value(), &value) || value < low || value > high) {
        return wrong(file_, line,
                     format("%s is \"%s\", but must be a number from %.10g to %.10g", name.c_str(),
                            text.value().c_str(), low, high));
    }
    return value;
}

Result<int64_t> KeyValues::take_integer(const std::string& name, int64_t low, int64_t high) {
    const auto found = entries_.find(name);
    const int line = found == entries_.end() ? 0 : found->second.line;
    const Result<double> number = take_number(name, static_cast<double>(low), static_cast<double>(high));
    if (!number.ok()) return number.status();
    if (number.value() != std::floor(number.value())) {
        return wrong(file_, line,
                     format("%s is %.10g, but must be an integer", name.c_str(), number.value()));
    }
    return static_cast<int64_t>(number.value());
}

std::map<std::string, double> KeyValues::take_all_with(const std::string& prefix, Status* status) {
    std::map<std::string, double> found;
    for (auto entry = entries_.begin(); entry != entries_.end();) {
        if (entry->first.rfind(prefix, 0) != 0) {
            ++entry;
            continue;
        }
        double value = 0;
        if (!to_number(entry->second.value, &value)) {
            *status = wrong(file_, entry->second.line, entry->first + " must be a number");
        }
        found[entry->first.substr(prefix.size())] = value;
        entry = entries_.erase(entry);
    }
    return found;
}

Status KeyValues::check_all_taken() const {
    if (entries_.empty()) return {};
    const auto& [name, entry] = *entries_.begin();
    return wrong(file_, entry.line, format("\"%s\" is not a name that belongs here", name.c_str()));
}

Result<std::string> read_text_file(const std::string& path) {
    constexpr uint64_t kMostBytes = 16 << 20;
    return read_regular_file(path, kMostBytes);
}

}  // namespace rknpu2
