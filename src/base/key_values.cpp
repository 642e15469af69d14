// SPDX-License-Identifier: MIT
#include "base/key_values.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

std::string trim(const std::string& text) {
    const size_t first = text.find_first_not_of(" \t\r");
    if (first == std::string::npos) return {};
    return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

}  // namespace

Status wrong_line(const std::string& file, int line, const std::string& what) {
    return {StatusCode::kInvalidArgument, printable(format("%s:%d: %s", file.c_str(), line, what.c_str()))};
}

Result<std::vector<KeyValue>> parse_key_values(const std::string& text, const std::string& file) {
    std::vector<KeyValue> entries;
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        line = trim(line.substr(0, line.find('#')));
        if (line.empty()) continue;
        const auto bad = [&](const std::string& what) { return wrong_line(file, number, what); };
        const size_t equals = line.find('=');
        const std::string name = trim(line.substr(0, equals));
        const std::string value = equals == std::string::npos ? "" : trim(line.substr(equals + 1));
        if (name.empty() || value.empty()) return bad("expected \"name = value\"");
        if (printable(name + value) != name + value) return bad("not a line of text");
        const auto same = [&](const KeyValue& entry) { return entry.name == name; };
        if (std::any_of(entries.begin(), entries.end(), same)) return bad(name + " is given twice");
        entries.push_back({name, value, number});
    }
    return entries;
}

std::optional<double> parse_number(const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    // A zero byte in the middle ends a C string, but not a value.
    if (text.empty() || end != text.c_str() + text.size() || !std::isfinite(value)) return std::nullopt;
    return value;
}

}  // namespace rknpu2
