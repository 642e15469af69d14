// SPDX-License-Identifier: MIT
#include "predict/board_profile.hpp"

#include "base/format.hpp"
#include "predict/embedded.hpp"
#include "predict/key_values.hpp"

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
    {"region_us", 0, 1000, &BoardProfile::region_us},
    {"hand_over_us", 0, 1000, &BoardProfile::hand_over_us},
};

Status set_npu(const std::string& name, double value, const std::string& file, rknnsim::Profile* npu) {
    const rknnsim::Outcome outcome = rknnsim::set_parameter(name, value, npu);
    if (outcome.ok()) return {};
    return {StatusCode::kInvalidArgument, file + ": npu." + printable(name) + ": " + printable(outcome.text)};
}

// `text` is a profile of the simulator.
Result<BoardProfile> with_npu_of(const std::string& text, const std::string& file) {
    Result<BoardProfile> board = parse_board_profile(embedded_board_profile(), "the compiled-in profile");
    if (!board.ok()) return board;
    const rknnsim::Outcome outcome = rknnsim::parse_profile(text, file, &board.value().npu);
    if (!outcome.ok()) return Status(StatusCode::kInvalidArgument, outcome.text);
    return board;
}

}  // namespace

Result<BoardProfile> parse_board_profile(const std::string& text, const std::string& file) {
    Result<KeyValues> parsed = KeyValues::parse(text, file);
    if (!parsed.ok()) return parsed.status();
    KeyValues& values = parsed.value();
    if (values.has("clock_mhz")) return with_npu_of(text, file);
    BoardProfile board;
    const rknnsim::Outcome simulated = rknnsim::load_profile("", &board.npu);
    if (!simulated.ok()) return Status(StatusCode::kInternal, simulated.text);
    Status status;
    const std::map<std::string, double> of_npu = values.take_all_with("npu.", &status);
    RKNPU2_RETURN_IF_ERROR(status);
    for (const auto& [name, value] : of_npu)
        RKNPU2_RETURN_IF_ERROR(set_npu(name, value, file, &board.npu));
    for (const Field& field : kFields) {
        const Result<double> value = values.take_number(field.name, field.low, field.high);
        if (!value.ok()) return value.status();
        board.*field.member = value.value();
    }
    RKNPU2_RETURN_IF_ERROR(values.check_all_taken());
    const double clock = board.npu.ddr_mhz / rknnsim::kDdrReferenceMhz;
    for (double* const rate : {&board.dram_gbps, &board.cpu_copy_gbps, &board.cpu_read_gbps,
                               &board.results_gbps_narrow, &board.results_gbps_wide})
        *rate *= clock;
    return board;
}

Result<BoardProfile> load_board_profile(const std::string& path, int banks) {
    std::string text = embedded_board_profile();
    if (!path.empty()) {
        Result<std::string> read = read_text_file(path);
        if (!read.ok()) return read.status();
        text = read.take();
    }
    Result<BoardProfile> board = parse_board_profile(text, path.empty() ? "the compiled-in profile" : path);
    if (!board.ok() || banks == 0) return board;
    RKNPU2_RETURN_IF_ERROR(set_npu("data_banks.native.int8", banks, "--banks", &board.value().npu));
    return board;
}

}  // namespace rknpu2
