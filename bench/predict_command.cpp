// SPDX-License-Identifier: MIT
// rknpu2-bench predict: what a model of a board says of whole language models.
#include <memory>

#include "base/key_values.hpp"
#include "commands.hpp"
#include "predict/prediction.hpp"

namespace rknpu2 {
namespace {

struct Options {
    std::vector<std::string> models = default_models();
    std::vector<std::string> designs = {"plugin"};
    std::vector<std::string> precisions = {"fast"};
    std::string sync = "owner";
    std::string attention = "auto";
    int64_t ubatch = 512;
    std::vector<std::string> schedule;
    std::string profile;
    Goal goal;
    std::string format = "text";
};

// The value with that name in its array of names, which has it.
template <typename Value, size_t count>
Value called(const std::string& name, const std::array<const char*, count>& names) {
    return static_cast<Value>(std::find(names.begin(), names.end(), name) - names.begin());
}

EngineSchedule schedule_of(const std::vector<std::string>& changes) {
    EngineSchedule schedule;
    for (const std::string& change : changes) {
        const size_t end = change.find('=');
        const auto* const number =
            std::ranges::find(kScheduleNumbers, change.substr(0, end), &ScheduleNumber::name);
        const double value =
            end == std::string::npos ? -1 : parse_number(change.substr(end + 1)).value_or(-1);
        if (number == std::end(kScheduleNumbers) || !(value >= 0 && value <= 4096))
            throw CLI::ValidationError("--schedule", "\"" + change + "\" is no NAME=NUMBER of it");
        schedule.*number->member = static_cast<int64_t>(value);
    }
    return schedule;
}

std::vector<Prediction> predict_all(const Options& options, const BoardProfile& board) {
    std::vector<Prediction> predictions;
    for (const std::string& name : options.models) {
        const ModelShape model = value_of(find_model_shape(name));
        for (const std::string& design : options.designs) {
            for (const std::string& precision : options.precisions) {
                predictions.push_back(
                    predict({.model = model,
                             .design = called<Design>(design, kDesignNames),
                             .planes = called<Planes>(precision, kPlanesNames),
                             .board = board,
                             .sync = called<Sync>(options.sync, kSyncNames),
                             .attention = called<AttentionOn>(options.attention, kAttentionNames),
                             .ubatch = options.ubatch,
                             .engine = schedule_of(options.schedule)},
                            options.goal));
            }
        }
    }
    return predictions;
}

void run(const Options& options) {
    const BoardProfile board = value_of(load_board_profile(options.profile));
    const std::vector<Prediction> predictions = predict_all(options, board);
    show(options.format == "csv"    ? predictions_csv(predictions)
         : options.format == "json" ? predictions_json(predictions)
                                    : predictions_text(predictions));
}

}  // namespace

void add_predict(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* command = app.add_subcommand(
        "predict",
        "Models whole language models on a board: tokens a second, and where the time goes. "
        "docs/performance.md says what is modelled and how wrong it is.");
    command->add_option("--model", options->models,
                        "names of bench/models.csv, or files like it of one model; default: five models");
    command->add_option("--design", options->designs, "plugin: what the plug-in does; plain: for comparison")
        ->check(CLI::IsMember(kDesignNames))
        ->capture_default_str();
    command->add_option("--precision", options->precisions)
        ->check(CLI::IsMember(kPlanesNames))
        ->capture_default_str();
    command
        ->add_option(
            "--coherency", options->sync,
            "how the CPU's cache is kept in step with the NPU: owner, lines; or none, as a board would "
            "that needs nothing")
        ->check(CLI::IsMember(kSyncNames))
        ->capture_default_str();
    command->add_option("--profile", options->profile,
                        "a file like bench/profiles/board.profile, or one of a doctor's report "
                        "(scripts/profile_of_report.py)");
    command->add_option("--prompt", options->goal.prompt, "tokens")
        ->check(CLI::Range(1, 32768))
        ->capture_default_str();
    command->add_option("--ubatch", options->ubatch, "tokens of a graph, at most")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    command
        ->add_option("--attention", options->attention, "where it is computed, as GGML_RKNPU2_ATTENTION says")
        ->check(CLI::IsMember(kAttentionNames))
        ->capture_default_str();
    command
        ->add_option("--context", options->goal.context, "tokens before the one that decode is modelled for")
        ->check(CLI::Range(0, 32768))
        ->capture_default_str();
    command->add_option(
        "--schedule", options->schedule,
        "NAME=NUMBER: what would be if the plug-in had another number (bench/predict/stages.hpp, "
        "EngineSchedule)");
    add_format(*command, options->format);
    command->callback([options] { run(*options); });
}

}  // namespace rknpu2
