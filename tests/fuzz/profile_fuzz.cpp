// SPDX-License-Identifier: MIT
// Profiles and tables that simulator, planner and plug-in read. The first byte says which reader; what is
// accepted is complete, in its ranges, and has no byte that text does not have.
#include <cmath>
#include <sstream>

#include "fuzz/check.hpp"
#include "fuzz/input.hpp"
#include "predict/board_profile.hpp"
#include "predict/csv.hpp"
#include "predict/model_shapes.hpp"
#include "runtime/board_profile.hpp"
#include "timing/profile.hpp"

using namespace rknpu2;  // NOLINT: this is its program

namespace {

// Profiles are lines `name = value # comment`: the part that counts.
std::string without_comments(const std::string& text) {
    std::istringstream lines(text);
    std::string line, kept;
    while (std::getline(lines, line))
        kept += line.substr(0, line.find('#')) + "\n";
    return kept;
}

void check_npu(const rknnsim::Profile& profile) {
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters()) {
        double value = 0;
        FUZZ_CHECK(rknnsim::get_parameter(parameter.name, profile, &value).ok());
        FUZZ_CHECK(value >= parameter.low && value <= parameter.high);
        FUZZ_CHECK(!parameter.whole || value == std::floor(value));
    }
}

void simulator_profile(const std::string& text) {
    rknnsim::Profile profile;
    const rknnsim::Outcome outcome = rknnsim::parse_profile(text, "file", &profile);
    if (!outcome.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(outcome.text) && outcome.text.rfind("file:", 0) == 0);
        return;
    }
    check_npu(profile);
    const std::string counted = without_comments(text);
    FUZZ_CHECK(counted.find('\0') == std::string::npos);
    for (const rknnsim::ProfileParameter& parameter : rknnsim::profile_parameters())
        FUZZ_CHECK(counted.find(parameter.name) != std::string::npos);
}

void board_profile(const std::string& text) {
    const Result<BoardProfile> board = parse_board_profile(text, "file");
    if (!board.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(board.status().message()));
        FUZZ_CHECK(board.status().message().rfind("file:", 0) == 0);
        return;
    }
    check_npu(board.value().npu);
    FUZZ_CHECK(without_comments(text).find('\0') == std::string::npos);
    FUZZ_CHECK(board.value().dram_gbps > 0 && std::isfinite(board.value().dram_gbps));
    FUZZ_CHECK(board.value().cpu_in_place > 0 && board.value().cpu_in_place <= 1);
    FUZZ_CHECK(board.value().npu_columns >= 32 && board.value().npu_columns <= 131072);
}

void check_shape(const ModelShape& model) {
    FUZZ_CHECK(model.layers > 0 && model.kv_heads > 0 && model.heads % model.kv_heads == 0);
    // The parameters are those of the sizes, by a hundredth.
    long double weights = 0;
    for (const Group group : kLayerGroups) {
        for (const WeightShape& weight : weights_of(model, group))
            weights += static_cast<long double>(weight.N) * static_cast<long double>(weight.K);
    }
    const long double table =
        static_cast<long double>(model.vocabulary) * static_cast<long double>(model.hidden_size);
    const long double all =
        weights * static_cast<long double>(model.layers) + table * (model.tied_embeddings == 1 ? 1 : 2);
    const auto said = static_cast<long double>(model.parameters);
    FUZZ_CHECK(std::abs(all - said) <= said / 100);
}

void model_shapes(const std::string& text) {
    const Result<std::vector<ModelShape>> models = parse_model_shapes(text, "file");
    if (!models.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(models.status().message()));
        FUZZ_CHECK(models.status().message().rfind("file:", 0) == 0);
        return;
    }
    for (const ModelShape& model : models.value())
        check_shape(model);
}

void doctors_profile(const std::string& text) {
    const Result<BoardAnswers> answers = parse_board_answers(text, "file");
    if (!answers.ok()) {
        FUZZ_CHECK(fuzz::is_one_line(answers.status().message()));
        FUZZ_CHECK(answers.status().message().rfind("file:", 0) == 0);
        return;
    }
    const std::string& coherency = answers.value().coherency;
    FUZZ_CHECK(coherency.empty() || coherency == "owner" || coherency == "lines");
    const int columns = answers.value().columns;
    FUZZ_CHECK(columns == 0 || (columns >= 64 && columns <= 131072 && columns % 64 == 0));
    const std::string counted = without_comments(text);
    FUZZ_CHECK(counted.find('\0') == std::string::npos);
    for (const std::string& said : {coherency, answers.value().board, answers.value().runtime})
        FUZZ_CHECK(said.empty() || (fuzz::is_one_line(said) && counted.find(said) != std::string::npos));
    for (const std::string& name : answers.value().unknown)
        FUZZ_CHECK(!name.empty() && counted.find(name) != std::string::npos);
}

void table(const std::string& text) {
    CsvTable rows(text, "file");
    for (size_t row = 0; row < rows.rows(); ++row)
        FUZZ_CHECK(rows.number(row, "tokens") >= 0 && rows.integer(row, "calls") >= 0);
    const std::string said = rows.status().message();
    FUZZ_CHECK(said.empty() || (fuzz::is_one_line(said) && said.rfind("file:", 0) == 0));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const auto which = input.number<uint8_t>() % 5;
    const std::string text = input.rest();
    if (which == 0) simulator_profile(text);
    if (which == 1) board_profile(text);
    if (which == 2) model_shapes(text);
    if (which == 3) table(text);
    if (which == 4) doctors_profile(text);
    return 0;
}
