// SPDX-License-Identifier: MIT
#include "runtime/measured_rates.hpp"

#include <algorithm>
#include <vector>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

struct Info {
    const char* name;
    double low, high;
};

// By Rate.
constexpr std::array<Info, kRates> kInfos = {{
    {"npu_run_us", 0, 100000},
    {"npu_stream_gbps", 0.01, 1000},
    {"cpu_4bit_gbps", 0.01, 1000},
    {"cpu_4bit_macs_per_ns", 0.01, 100000},
    {"cpu_8bit_gbps", 0.01, 1000},
    {"cpu_8bit_macs_per_ns", 0.01, 100000},
    {"cpu_region_us", 0, 100000},
    {"cpu_wake_us", 0, 100000},
}};

Status check_value(const Info& info, std::optional<double> value, const std::string& text) {
    if (value && *value >= info.low && *value <= info.high) return {};
    return {StatusCode::kInvalidArgument, format("%s is \"%s\", but must be a number from %.10g to %.10g",
                                                 info.name, text.c_str(), info.low, info.high)};
}

}  // namespace

Result<bool> MeasuredRates::take(const KeyValue& entry) {
    const auto* const info = std::ranges::find(kInfos, entry.name, &Info::name);
    if (info == kInfos.end()) return false;
    const std::optional<double> value = parse_number(entry.value);
    RKNPU2_RETURN_IF_ERROR(check_value(*info, value, entry.value));
    values_[static_cast<size_t>(info - kInfos.begin())] = value;
    return true;
}

void MeasuredRates::take(const MeasuredRates& other) {
    for (size_t i = 0; i < kRates; ++i)
        if (other.values_[i]) values_[i] = other.values_[i];
}

bool MeasuredRates::is_empty() const {
    return *this == MeasuredRates();
}

bool MeasuredRates::is_complete() const {
    return std::ranges::all_of(values_, &std::optional<double>::has_value);
}

Status MeasuredRates::check() const {
    for (size_t i = 0; i < kRates; ++i)
        if (values_[i]) RKNPU2_RETURN_IF_ERROR(check_value(kInfos[i], values_[i], number_text(*values_[i])));
    return {};
}

std::string MeasuredRates::lines() const {
    std::string text;
    for (size_t i = 0; i < kRates; ++i)
        if (values_[i]) text += format("%s = %s\n", kInfos[i].name, number_text(*values_[i]).c_str());
    return text;
}

std::string MeasuredRates::summary() const {
    std::vector<std::string> parts;
    const auto add = [&](const char* what, Rate rate) {
        if (const std::optional<double> gbps = (*this)[rate])
            parts.push_back(format("%s %.1f GB/s", what, *gbps));
    };
    add("NPU", Rate::kNpuStreamGbps);
    add("CPU, 4 bits,", Rate::kCpuFourBitGbps);
    add("CPU, 8 bits,", Rate::kCpuEightBitGbps);
    return joined(parts, "; ");
}

}  // namespace rknpu2
