// SPDX-License-Identifier: MIT
// rknpu2-bench predict: what a model of a board says of whole language models.
#include <cstdio>
#include <memory>

#include "base/status.hpp"
#include "commands.hpp"
#include "predict/check.hpp"
#include "predict/embedded.hpp"
#include "predict/report.hpp"
#include "predict/trace_file.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

struct Options {
    std::vector<std::string> models;
    std::vector<std::string> designs = {"plugin"};
    std::vector<std::string> precisions = {"fast"};
    std::string sync = "owner";
    std::string profile;
    int banks = 0;
    Goal goal;
    std::string format = "text";
    std::string trace;
    bool check = false;
};

Status print(const std::string& text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    if (written && std::fflush(stdout) == 0) return {};
    return {StatusCode::kIo, "cannot write the output"};
}

// "all" stands for every one.
Result<std::vector<Design>> chosen_designs(const std::vector<std::string>& names) {
    if (names == std::vector<std::string>{"all"}) return designs();
    std::vector<Design> chosen;
    for (const std::string& name : names) {
        Result<Design> design = find_design(name);
        if (!design.ok()) return design.status();
        chosen.push_back(design.value());
    }
    return chosen;
}

Result<std::vector<Prediction>> predict_all(const Options& options, const BoardProfile& board) {
    const Result<std::vector<Design>> chosen = chosen_designs(options.designs);
    if (!chosen.ok()) return chosen.status();
    const Result<Sync> sync = find_sync(options.sync);
    if (!sync.ok()) return sync.status();
    std::vector<Prediction> predictions;
    for (const std::string& name : options.models.empty() ? default_models() : options.models) {
        const Result<ModelShape> model = find_model_shape(name);
        if (!model.ok()) return model.status();
        for (const Design& design : chosen.value()) {
            for (const std::string& precision : options.precisions) {
                const Result<Planes> planes = find_planes(precision);
                if (!planes.ok()) return planes.status();
                predictions.push_back(predict({.model = model.value(),
                                               .design = design,
                                               .planes = planes.value(),
                                               .board = board,
                                               .sync = sync.value()},
                                              options.goal));
            }
        }
    }
    return predictions;
}

// Whether the bars were met.
Result<bool> show_check(const BoardProfile& board) {
    const Result<std::vector<CheckRow>> rows = check_model(board);
    if (!rows.ok()) return rows.status();
    RKNPU2_RETURN_IF_ERROR(print(check_text(rows.value())));
    for (const CheckRow& row : rows.value())
        if (!row.ok()) return false;
    return true;
}

Result<bool> run(const Options& options) {
    const Result<BoardProfile> board = load_board_profile(options.profile, options.banks);
    if (!board.ok()) return board.status();
    if (options.check) return show_check(board.value());
    const auto engines = published_engines(embedded_engines(), "engines.csv");
    if (!engines.ok()) return engines.status();
    const Result<std::vector<Prediction>> predictions = predict_all(options, board.value());
    if (!predictions.ok()) return predictions.status();
    const std::vector<Prediction>& all = predictions.value();
    if (!options.trace.empty()) {
        if (all.size() != 1) {
            return Status(
                StatusCode::kInvalidArgument,
                "--trace shows one layer of one prediction: name one --model, --design and --precision");
        }
        RKNPU2_RETURN_IF_ERROR(write_file_atomically(options.trace, layer_trace_json(all.front())));
    }
    RKNPU2_RETURN_IF_ERROR(print(options.format == "csv"    ? predictions_csv(all)
                                 : options.format == "json" ? predictions_json(all, engines.value())
                                                            : predictions_text(all, engines.value())));
    return true;
}

}  // namespace

void add_predict(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "predict",
        "Models whole language models on a board: tokens a second, and where the time goes. "
        "docs/performance.md says what is modelled and how wrong it is.");
    command->add_option("--model", options->models,
                        "names or files of bench/shapes/*.txt; default: five models");
    command->add_option("--design", options->designs, "plugin: what the plug-in does; plain; or all")
        ->capture_default_str();
    command->add_option("--precision", options->precisions, "fast, balanced+statistics, balanced")
        ->capture_default_str();
    command
        ->add_option(
            "--coherency", options->sync,
            "how the CPU's cache is kept in step with the NPU: owner, lines; or none, as a board would "
            "that needs nothing")
        ->capture_default_str();
    command->add_option(
        "--profile", options->profile,
        "a file like bench/profiles/board.profile, or one that rknpu2-doctor --profile has written");
    command
        ->add_option("--banks", options->banks,
                     "of the core's buffer for a tile of activations; default: the profile's")
        ->check(CLI::Range(1, 11));
    command->add_option("--prompt", options->goal.prompt, "tokens")
        ->check(CLI::Range(1, 8192))
        ->capture_default_str();
    command
        ->add_option("--context", options->goal.context, "tokens before the one that decode is modelled for")
        ->check(CLI::Range(0, 32768))
        ->capture_default_str();
    command->add_option("--format", options->format)
        ->check(CLI::IsMember({"text", "csv", "json"}))
        ->capture_default_str();
    command->add_option("--trace", options->trace,
                        "write a timeline of one layer to this file, for Perfetto");
    command->add_flag("--check", options->check,
                      "compare the model with published figures instead; exit status 1 if a bar is missed");
    command->callback([options] {
        const Result<bool> outcome = run(*options);
        if (outcome.ok() && outcome.value()) return;
        if (!outcome.ok()) std::fprintf(stderr, "rknpu2-bench: %s\n", outcome.status().message().c_str());
        throw CLI::RuntimeError(1);
    });
}

}  // namespace rknpu2
