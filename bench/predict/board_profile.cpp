// SPDX-License-Identifier: MIT
#include "predict/board_profile.hpp"

#include <algorithm>
#include <cmath>

#include "base/format.hpp"
#include "base/key_values.hpp"
#include "predict/csv.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

struct Field {
    const char* name;
    double low, high;
    double BoardProfile::*member;
};

constexpr Field kFields[] = {
    {"npu_columns", 32, 131072, &BoardProfile::npu_columns},
    {"dram_gbps", 0.1, 1000, &BoardProfile::dram_gbps},
    {"cpu_threads", 1, 64, &BoardProfile::cpu_threads},
    {"cpu_copy_gbps", 0.1, 1000, &BoardProfile::cpu_copy_gbps},
    {"cpu_read_gbps", 0.1, 1000, &BoardProfile::cpu_read_gbps},
    {"cpu_in_place", 0.01, 1, &BoardProfile::cpu_in_place},
    {"cpu_beside_npu", 0.01, 1, &BoardProfile::cpu_beside_npu},
    {"results_gbps_narrow", 0.1, 1000, &BoardProfile::results_gbps_narrow},
    {"results_gbps_wide", 0.1, 1000, &BoardProfile::results_gbps_wide},
    {"attention_gflops", 0.1, 10000, &BoardProfile::attention_gflops},
    {"few_tokens_ns", 0, 100, &BoardProfile::few_tokens_ns},
    {"block_pass_ns", 0, 100, &BoardProfile::block_pass_ns},
    {"region_us", 0, 1000, &BoardProfile::region_us},
    {"wake_us", 0, 1000, &BoardProfile::wake_us},
    {"hand_over_us", 0, 1000, &BoardProfile::hand_over_us},
};

Status bad(const std::string& what) {
    return {StatusCode::kInvalidArgument, what};
}

Status set_value(const KeyValue& entry, const std::string& file, BoardProfile* board) {
    constexpr std::string_view kNpu = "npu.";
    const double value = parse_number(entry.value).value_or(std::nan(""));
    if (entry.name.starts_with(kNpu)) {
        const auto set = rknnsim::set_parameter(entry.name.substr(kNpu.size()), value, &board->npu);
        return set.ok() ? Status() : bad(file + ": " + printable(entry.name) + ": " + printable(set.text));
    }
    const auto* const field = std::find_if(std::begin(kFields), std::end(kFields),
                                           [&](const Field& one) { return entry.name == one.name; });
    if (field == std::end(kFields))
        return wrong_line(file, entry.line,
                          format("\"%s\" is not a name that belongs here", entry.name.c_str()));
    if (!(value >= field->low && value <= field->high)) {
        return wrong_line(file, entry.line,
                          format("%s is \"%s\", but must be a number from %.10g to %.10g", field->name,
                                 entry.value.c_str(), field->low, field->high));
    }
    board->*field->member = value;
    return {};
}

// What memory gives to the CPU and the NPU together is as fast as its clock.
void scale_memory(double clock, BoardProfile* board) {
    for (double* const rate : {&board->dram_gbps, &board->cpu_copy_gbps, &board->cpu_read_gbps,
                               &board->results_gbps_narrow, &board->results_gbps_wide})
        *rate *= clock;
}

}  // namespace

Result<BoardProfile> parse_board_profile(const std::string& text, const std::string& file) {
    const std::vector<KeyValue> entries = RKNPU2_TAKE(parse_key_values(text, file));
    const auto has = [&](const std::string& name) {
        return std::any_of(entries.begin(), entries.end(),
                           [&](const KeyValue& entry) { return entry.name == name; });
    };
    if (has("clock_mhz")) {  // a profile of the simulator
        BoardProfile ours = RKNPU2_TAKE(load_board_profile());
        const double before = ours.npu.ddr_mhz;
        const auto parsed = rknnsim::parse_profile(text, file, &ours.npu);
        if (!parsed.ok()) return bad(parsed.text);
        scale_memory(ours.npu.ddr_mhz / before, &ours);
        return ours;
    }
    BoardProfile board;
    const rknnsim::Outcome simulated = rknnsim::load_profile("", &board.npu);
    if (!simulated.ok()) return Status(StatusCode::kInternal, simulated.text);
    for (const KeyValue& entry : entries)
        RKNPU2_RETURN_IF_ERROR(set_value(entry, file, &board));
    for (const Field& field : kFields)
        if (!has(field.name)) return bad(file + ": " + field.name + " is missing");
    scale_memory(board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz, &board);
    return board;
}

Result<BoardProfile> load_board_profile(const std::string& path) {
    if (path.empty()) return parse_board_profile(embedded_board(), "the compiled-in profile");
    constexpr uint64_t kMostBytes = 16 << 20;
    return parse_board_profile(RKNPU2_TAKE(read_regular_file(path, kMostBytes)), path);
}

}  // namespace rknpu2
