// SPDX-License-Identifier: MIT
// rknpu2-bench predict: what a model of a board says of whole language models.
#include <memory>

#include "base/key_values.hpp"
#include "commands.hpp"
#include "predict/drafts.hpp"
#include "predict/generation.hpp"

namespace rknpu2 {
namespace {

struct Options {
    std::vector<std::string> models = default_models();
    std::vector<std::string> designs = {"plugin"};
    std::vector<std::string> precisions = {"fast"};
    std::string sync = "owner";
    std::string attention = "auto";
    std::string matrices = "npu";
    std::vector<double> stored_bits = {4.5};
    double compact_bytes = Config().compact_bytes;
    std::vector<int64_t> contexts = {512};
    std::vector<int64_t> rows = {1};
    bool generation = false;
    std::vector<double> acceptances;
    std::string draft;
    int64_t ubatch = 512;
    std::vector<std::string> schedule;
    std::string profile;
    int64_t prompt = 512;
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

// Each model in each design, stored so, in each precision.
std::vector<Setting> settings_of(const Options& options) {
    const BoardProfile board = value_of(load_board_profile(options.profile));
    std::vector<Setting> settings;
    for (const std::string& name : options.models) {
        const ModelShape model = value_of(find_model_shape(name));
        for (const std::string& design : options.designs) {
            for (const double bits : options.stored_bits) {
                for (const std::string& precision : options.precisions) {
                    settings.push_back({.model = model,
                                        .design = called<Design>(design, kDesignNames),
                                        .planes = called<Planes>(precision, kPlanesNames),
                                        .board = board,
                                        .sync = called<Sync>(options.sync, kSyncNames),
                                        .attention = called<AttentionOn>(options.attention, kAttentionNames),
                                        .matrices = called<MatricesOn>(options.matrices, kMatricesNames),
                                        .stored_bits = bits,
                                        .compact_bytes = options.compact_bytes,
                                        .ubatch = options.ubatch,
                                        .engine = schedule_of(options.schedule)});
                }
            }
        }
    }
    return settings;
}

template <typename Answer>
void show_all(const std::vector<Answer>& answers, const std::string& as,
              std::string (*text)(const std::vector<Answer>&), std::string (*csv)(const std::vector<Answer>&),
              std::string (*json)(const std::vector<Answer>&)) {
    show(as == "csv" ? csv(answers) : as == "json" ? json(answers) : text(answers));
}

// Calls answer(setting, goal) for each context and number of rows.
template <typename Answer, typename Ask>
std::vector<Answer> ask_all(const Options& options, const Ask& ask) {
    std::vector<Answer> answers;
    for (const Setting& setting : settings_of(options)) {
        for (const int64_t context : options.contexts) {
            for (const int64_t rows : options.rows)
                answers.push_back(ask(setting, {.prompt = options.prompt, .context = context, .rows = rows}));
        }
    }
    return answers;
}

std::vector<Drafting> ask_drafts(const Options& options) {
    std::vector<Drafting> all;
    for (const Setting& setting : settings_of(options)) {
        std::optional<Setting> draft;
        if (!options.draft.empty()) {
            draft = setting;
            draft->model = value_of(find_model_shape(options.draft));
        }
        for (const int64_t context : options.contexts)
            std::ranges::copy(draftings_of(setting, draft, context, options.acceptances),
                              std::back_inserter(all));
    }
    return all;
}

void run(const Options& options) {
    if (!options.acceptances.empty()) {
        show_all(ask_drafts(options), options.format, draftings_text, draftings_csv, draftings_json);
    } else if (options.generation) {
        show_all(ask_all<Generation>(options, generation_of), options.format, generations_text,
                 generations_csv, generations_json);
    } else {
        show_all(ask_all<Prediction>(options, predict), options.format, predictions_text, predictions_csv,
                 predictions_json);
    }
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
    command->add_option("--prompt", options->prompt, "tokens")
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
        ->add_option("--matrices", options->matrices,
                     "where they are multiplied: npu and auto as GGML_RKNPU2_MATRICES says; cpu: by the CPU "
                     "backend alone")
        ->check(CLI::IsMember(kMatricesNames))
        ->capture_default_str();
    command->add_option("--bits", options->stored_bits, "of a weight as stored, which the CPU reads")
        ->check(CLI::Range(1.0, 32.0))
        ->capture_default_str();
    command
        ->add_option("--compact-bytes", options->compact_bytes,
                     "with compact: a weight's, on average, as GGML_RKNPU2_COMPACT_BYTES says")
        ->check(CLI::Range(kLeastCompactBytes, kMostCompactBytes))
        ->capture_default_str();
    command->add_option("--context", options->contexts, "tokens before those that decode is modelled for")
        ->check(CLI::Range(0, 32768))
        ->capture_default_str();
    command
        ->add_option("--rows", options->rows,
                     "tokens that decode computes at once: of a draft, or of other sequences")
        ->check(CLI::Range(1, 64))
        ->capture_default_str();
    command->add_flag(
        "--generation", options->generation,
        "one table: decode on the NPU, by the CPU alone, and by the plug-in's choice of each matrix");
    command
        ->add_option("--accept", options->acceptances,
                     "one table: what drafting is worth when guesses are right with such probabilities")
        ->check(CLI::Range(0.0, 1.0));
    command->add_option(
        "--draft", options->draft,
        "with --accept: the model that guesses, as in --model; default: guesses are looked up");
    command->add_option(
        "--schedule", options->schedule,
        "NAME=NUMBER: what would be if the plug-in had another number (bench/predict/stages.hpp, "
        "EngineSchedule)");
    add_format(*command, options->format);
    command->callback([options] { run(*options); });
}

}  // namespace rknpu2
