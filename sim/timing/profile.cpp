// SPDX-License-Identifier: MIT
#include "timing/profile.hpp"

#include <algorithm>
#include <cmath>

#include "base/format.hpp"
#include "base/key_values.hpp"
#include "system/file.hpp"
#include "timing/default_profile.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

Outcome refuse(std::string text) {
    return {Code::kFail, std::move(text)};
}

Outcome unknown_parameter(const std::string& name) {
    return {Code::kInvalidParameter, format("\"%s\" is not a parameter of the profile", name.c_str())};
}

const ProfileParameter* find_parameter(const std::string& name) {
    for (const ProfileParameter& parameter : profile_parameters()) {
        if (name == parameter.name) return &parameter;
    }
    return nullptr;
}

std::string allowed(const ProfileParameter& parameter) {
    return format("%s from %.10g to %.10g", parameter.whole ? "an integer" : "a number", parameter.low,
                  parameter.high);
}

bool in_range(const ProfileParameter& parameter, double value) {
    if (!(value >= parameter.low && value <= parameter.high)) return false;  // NaN is not
    return !parameter.whole || value == std::floor(value);
}

// Returns what is wrong with the entry, or sets its value and returns nothing.
std::string take(const rknpu2::KeyValue& entry, Profile* profile) {
    const ProfileParameter* const parameter = find_parameter(entry.name);
    if (parameter == nullptr) return format("\"%s\" is not a parameter", entry.name.c_str());
    const std::optional<double> value = rknpu2::parse_number(entry.value);
    if (!value || !in_range(*parameter, *value)) {
        return format("%s is \"%s\", but must be %s", parameter->name, entry.value.c_str(),
                      allowed(*parameter).c_str());
    }
    parameter->value(*profile) = *value;
    return {};
}

}  // namespace

#define RKNNSIM_FIELD(field) [](Profile& p) -> double& { return p.field; }

const std::vector<ProfileParameter>& profile_parameters() {
    static const std::vector<ProfileParameter> parameters = {
        {"clock_mhz", 1, 10000, false, RKNNSIM_FIELD(clock_mhz)},
        {"ddr_mhz", 1, 20000, false, RKNNSIM_FIELD(ddr_mhz)},
        {"macs_per_cycle.int4", 1, 1e6, true, RKNNSIM_FIELD(macs_per_cycle[kInt4])},
        {"macs_per_cycle.int8", 1, 1e6, true, RKNNSIM_FIELD(macs_per_cycle[kInt8])},
        {"macs_per_cycle.fp16", 1, 1e6, true, RKNNSIM_FIELD(macs_per_cycle[kFp16])},
        {"mac_efficiency", 0.01, 1, false, RKNNSIM_FIELD(mac_efficiency)},
        {"buffer_banks", 2, 1024, true, RKNNSIM_FIELD(buffer_banks)},
        {"bank_bytes", 1024, 1 << 24, true, RKNNSIM_FIELD(bank_bytes)},
        {"data_banks.native.int4", 1, 1023, true, RKNNSIM_FIELD(native_banks[kInt4])},
        {"data_banks.native.int8", 1, 1023, true, RKNNSIM_FIELD(native_banks[kInt8])},
        {"data_banks.native.fp16", 1, 1023, true, RKNNSIM_FIELD(native_banks[kFp16])},
        {"data_banks.native.least", 1, 1023, true, RKNNSIM_FIELD(least_banks)},
        {"data_banks.normal.int4", 1, 1023, true, RKNNSIM_FIELD(normal_banks[kInt4])},
        {"data_banks.normal.int8", 1, 1023, true, RKNNSIM_FIELD(normal_banks[kInt8])},
        {"data_banks.normal.fp16", 1, 1023, true, RKNNSIM_FIELD(normal_banks[kFp16])},
        {"normal_results", 1, 1 << 30, true, RKNNSIM_FIELD(normal_results)},
        {"tile_rows.int4", 1, 1 << 20, true, RKNNSIM_FIELD(tile_rows[kInt4])},
        {"tile_rows.int8", 1, 1 << 20, true, RKNNSIM_FIELD(tile_rows[kInt8])},
        {"tile_rows.fp16", 1, 1 << 20, true, RKNNSIM_FIELD(tile_rows[kFp16])},
        {"k_segment", 32, 1 << 20, true, RKNNSIM_FIELD(k_segment)},
        {"n_task", 32, 1 << 20, true, RKNNSIM_FIELD(n_task)},
        {"row_task_us", 0, 1e6, false, RKNNSIM_FIELD(row_task_us)},
        {"stream_gbps.1", 0.01, 1e4, false, RKNNSIM_FIELD(stream_gbps[0])},
        {"stream_gbps.2", 0.01, 1e4, false, RKNNSIM_FIELD(stream_gbps[1])},
        {"stream_gbps.3", 0.01, 1e4, false, RKNNSIM_FIELD(stream_gbps[2])},
        {"mixed_gbps.1", 0.01, 1e4, false, RKNNSIM_FIELD(mixed_gbps[0])},
        {"mixed_gbps.2", 0.01, 1e4, false, RKNNSIM_FIELD(mixed_gbps[1])},
        {"mixed_gbps.3", 0.01, 1e4, false, RKNNSIM_FIELD(mixed_gbps[2])},
        {"submit_us", 0, 1e6, false, RKNNSIM_FIELD(submit_us)},
        {"bind_us", 0, 1e6, false, RKNNSIM_FIELD(bind_us)},
        {"sync_us", 0, 1e6, false, RKNNSIM_FIELD(sync_us)},
        {"sync_gbps", 0.01, 1e6, false, RKNNSIM_FIELD(sync_gbps)},
        {"line_ns", 0, 1e6, false, RKNNSIM_FIELD(line_ns)},
        {"convert_gbps", 0.01, 1e4, false, RKNNSIM_FIELD(convert_gbps)},
        {"convert_b_gbps", 0.01, 1e4, false, RKNNSIM_FIELD(convert_b_gbps)},
        {"error.typical", 1, 1000, false, RKNNSIM_FIELD(error_typical)},
        {"error.left_out", 1, 1000, false, RKNNSIM_FIELD(error_left_out)},
        {"error.worst", 1, 1000, false, RKNNSIM_FIELD(error_worst)},
    };
    return parameters;
}

#undef RKNNSIM_FIELD

Outcome get_parameter(const std::string& name, Profile profile, double* value) {
    const ProfileParameter* parameter = find_parameter(name);
    if (parameter == nullptr) return unknown_parameter(name);
    *value = parameter->value(profile);
    return {};
}

Outcome set_parameter(const std::string& name, double value, Profile* profile) {
    const ProfileParameter* parameter = find_parameter(name);
    if (parameter == nullptr) return unknown_parameter(name);
    if (!in_range(*parameter, value)) {
        return {Code::kInvalidParameter,
                format("%s must be %s, not %g", name.c_str(), allowed(*parameter).c_str(), value)};
    }
    parameter->value(*profile) = value;
    return {};
}

Outcome parse_profile(const std::string& text, const std::string& file, Profile* profile) {
    const rknpu2::Result<std::vector<rknpu2::KeyValue>> entries = rknpu2::parse_key_values(text, file);
    if (!entries.ok()) return refuse(entries.status().message());
    for (const rknpu2::KeyValue& entry : entries.value()) {
        if (const std::string wrong = take(entry, profile); !wrong.empty())
            return refuse(rknpu2::wrong_line(file, entry.line, wrong).message());
    }
    for (const ProfileParameter& parameter : profile_parameters()) {
        const auto is_it = [&](const rknpu2::KeyValue& entry) { return entry.name == parameter.name; };
        if (std::none_of(entries.value().begin(), entries.value().end(), is_it))
            return refuse(format("%s: %s is missing", file.c_str(), parameter.name));
    }
    return {};
}

namespace {
constexpr uint64_t kMostBytes = 1 << 20;
}

Outcome load_profile(const std::string& path, Profile* profile) {
    if (path.empty()) return parse_profile(default_profile_text(), "the compiled-in profile", profile);
    const rknpu2::Result<std::string> text = rknpu2::read_regular_file(path, kMostBytes);
    if (!text.ok()) return refuse(text.status().message());
    return parse_profile(text.value(), path, profile);
}

}  // namespace rknnsim
