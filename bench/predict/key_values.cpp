// SPDX-License-Identifier: MIT
#include "predict/key_values.hpp"

#include <cmath>
#include <vector>

#include "base/format.hpp"
#include "base/key_values.hpp"
#include "system/file.hpp"

namespace rknpu2 {
Result<KeyValues> KeyValues::parse(const std::string& text, const std::string& file) {
    Result<std::vector<KeyValue>> lines = parse_key_values(text, file);
    RKNPU2_RETURN_IF_ERROR(lines.status());
    KeyValues values;
    values.file_ = file;
    for (const auto& [name, value, line] : lines.value())
        values.entries_[name] = {value, line};
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
    const std::optional<double> value = parse_number(text.value());
    if (!value || *value < low || *value > high) {
        return wrong_line(file_, line,
                          format("%s is \"%s\", but must be a number from %.10g to %.10g", name.c_str(),
                                 text.value().c_str(), low, high));
    }
    return *value;
}

Result<int64_t> KeyValues::take_integer(const std::string& name, int64_t low, int64_t high) {
    const auto found = entries_.find(name);
    const int line = found == entries_.end() ? 0 : found->second.line;
    const Result<double> number = take_number(name, static_cast<double>(low), static_cast<double>(high));
    if (!number.ok()) return number.status();
    if (number.value() != std::floor(number.value())) {
        return wrong_line(file_, line,
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
        const std::optional<double> value = parse_number(entry->second.value);
        if (!value) *status = wrong_line(file_, entry->second.line, entry->first + " must be a number");
        found[entry->first.substr(prefix.size())] = value.value_or(0);
        entry = entries_.erase(entry);
    }
    return found;
}

Status KeyValues::check_all_taken() const {
    if (entries_.empty()) return {};
    const auto& [name, entry] = *entries_.begin();
    return wrong_line(file_, entry.line, format("\"%s\" is not a name that belongs here", name.c_str()));
}

Result<std::string> read_text_file(const std::string& path) {
    constexpr uint64_t kMostBytes = 16 << 20;
    return read_regular_file(path, kMostBytes);
}

}  // namespace rknpu2
