// SPDX-License-Identifier: MIT
#include "base/key_values.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
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
    double value = 0;
    const char* const end = text.data() + text.size();
    const auto [read, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || read != end || !std::isfinite(value)) return std::nullopt;
    return value;
}

std::string number_text(double value) {
    constexpr int kDigits = 7;
    char text[32];
    return {text, std::to_chars(text, std::end(text), value, std::chars_format::general, kDigits).ptr};
}

}  // namespace rknpu2
