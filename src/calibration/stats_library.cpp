// SPDX-License-Identifier: MIT
#include "calibration/stats_library.hpp"

#include <algorithm>
#include <cinttypes>
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "calibration/imatrix_file.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;

// When each was written, the youngest first.
std::vector<std::pair<fs::file_time_type, fs::path>> files_of(const fs::path& directory) {
    std::vector<std::pair<fs::file_time_type, fs::path>> found;
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
        std::error_code unreadable;
        const fs::file_time_type written = fs::last_write_time(at->path(), unreadable);
        if (at->path().extension() == kStatisticsSuffix) found.emplace_back(written, at->path());
    }
    std::sort(found.begin(), found.end(), std::greater<>());
    return found;
}

// Without those of too few rows; kInvalidArgument with the path when none is left. `tell`: of what was left out.
Result<ModelStats> without_thin(ModelStats statistics, const std::string& path, bool tell) {
    uint64_t most = 0;
    const size_t all = statistics.size();
    const size_t thin = std::erase_if(statistics, [&](const auto& item) {
        most = std::max(most, item.second.rows);
        return item.second.rows < kFewestRows;
    });
    if (statistics.empty()) {
        Status none(StatusCode::kInvalidArgument,
                    format("at most %" PRIu64 " rows of activations were seen of any weight, and %" PRIu64
                           " are needed: let the model read a longer text, or let scripts/calibrate.sh do it",
                           most, kFewestRows));
        return std::move(none).with_context(path);
    }
    if (thin > 0 && tell) {
        log(LogLevel::kWarning,
            "%s: statistics of %zu of %zu weights are of fewer than %" PRIu64 " rows, and not used",
            path.c_str(), thin, all, kFewestRows);
    }
    return statistics;
}

// What a file of ours holds; one line when that cannot be used.
std::optional<ModelStats> read_usable(const std::string& path, Moments moments, bool tell) {
    Result<ModelStats> statistics = read_stats(path, moments);
    if (statistics.ok()) statistics = without_thin(statistics.take(), path, tell);
    if (statistics.ok()) return statistics.take();
    log(LogLevel::kWarning, "activation statistics are not used: %s", statistics.status().message().c_str());
    return std::nullopt;
}

bool any_moments(const ModelStats& statistics) {
    return std::any_of(statistics.begin(), statistics.end(),
                       [](const auto& item) { return item.second.moments != nullptr; });
}

}  // namespace

StatsLibrary::StatsLibrary(ModelStats statistics, const WantedStats& wanted)
    : wanted_(wanted), of_one_model_(true) {
    load(*models_.emplace_back(std::make_unique<Model>()), std::move(statistics));
}

// What a file holds is looked at once, and kept only when a weight asks for it.
StatsLibrary::StatsLibrary(const fs::path& directory, const WantedStats& wanted)
    : wanted_(wanted), of_one_model_(false) {
    for (const auto& [written, path] : files_of(directory)) {
        const std::optional<ModelStats> statistics = read_usable(path.string(), Moments::kLeaveOut, true);
        if (!statistics) continue;
        auto model = std::make_unique<Model>();
        model->path = path.string();
        for (const auto& [name, entry] : *statistics)
            model->fingerprints.insert(entry.fingerprint);
        models_.push_back(std::move(model));
    }
}

void StatsLibrary::load(Model& model, ModelStats statistics) {
    if (any_moments(statistics)) has_moments_ = true;
    model.planes = choose_planes(statistics);
    model.bits = choose_bits(statistics, wanted_.compact_bytes);
    model.statistics = std::move(statistics);
    model.loaded = true;
}

std::optional<StatsLibrary::Found> StatsLibrary::find_in(const Model& model, const WeightSource& weight,
                                                         uint64_t fingerprint) {
    const auto found = model.statistics.find(weight.name);
    if (found == model.statistics.end()) return std::nullopt;
    const ActivationStats& entry = found->second;
    const bool same = entry.fingerprint == ActivationStats::kAnyWeight ||
                      (entry.N == weight.N && entry.fingerprint == fingerprint);
    if (entry.K != weight.K || !same) return std::nullopt;
    return Found{entry, model.planes.at(weight.name), model.bits.at(weight.name), model.path};
}

std::optional<StatsLibrary::Found> StatsLibrary::find(const WeightSource& weight) {
    const std::lock_guard lock(mutex_);
    if (models_.empty()) return std::nullopt;
    const uint64_t fingerprint = weight_fingerprint(weight);
    for (const auto& model : models_) {
        if (!model->loaded) {
            if (model->fingerprints.count(fingerprint) == 0) continue;
            std::optional<ModelStats> statistics = read_usable(model->path, wanted_.moments, false);
            if (!statistics) {
                model->fingerprints.clear();
                continue;
            }
            load(*model, std::move(*statistics));
        }
        if (std::optional<Found> found = find_in(*model, weight, fingerprint)) {
            if (found->entry.moments != nullptr) has_moments_ = true;
            found_one_ = true;
            return found;
        }
    }
    const bool differs = of_one_model_ && models_[0]->statistics.contains(weight.name);
    if (differs && !found_one_) has_moments_ = false;
    if (differs && !std::exchange(other_model_reported_, true)) {
        log(LogLevel::kWarning,
            "the activation statistics are not of this model (%s differs), and are not used for it: "
            "scripts/calibrate.sh makes them",
            weight.name.c_str());
    }
    return std::nullopt;
}

Result<std::unique_ptr<StatsLibrary>> open_stats_library(const Config& config) {
    const WantedStats wanted{config.precision == Precision::kCompact ? Moments::kRead : Moments::kLeaveOut,
                             config.compact_bytes};
    if (config.activation_stats == "none") return std::unique_ptr<StatsLibrary>();
    if (config.activation_stats == "auto") {
        // What is being gathered does not depend on what was gathered before.
        if (config.activation_stats_directory.empty() || !config.calibrate_file.empty())
            return std::unique_ptr<StatsLibrary>();
        return std::make_unique<StatsLibrary>(fs::path(config.activation_stats_directory), wanted);
    }
    Result<ModelStats> read = read_stats_of_any_kind(config.activation_stats);
    if (read.ok()) read = without_thin(read.take(), config.activation_stats, true);
    RKNPU2_RETURN_IF_ERROR(read.status().with_context("GGML_RKNPU2_STATISTICS"));
    return std::make_unique<StatsLibrary>(read.take(), wanted);
}

}  // namespace rknpu2
