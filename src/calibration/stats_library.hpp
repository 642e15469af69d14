// SPDX-License-Identifier: MIT
// The files of activation statistics that weights may be packed with, and the choices of planes and bits that follow
// from each.
//
// An entry is found by the weight itself (name, shape, fingerprint of its bytes), so files of any number of
// models can lie in one directory. A file is read when the first weight that it knows is packed. Thread safe.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "calibration/bit_choice.hpp"
#include "calibration/plane_choice.hpp"
#include "config/config.hpp"

namespace rknpu2 {

inline constexpr const char* kStatisticsSuffix = ".rknpucal";

// What of a model's statistics is wanted.
struct WantedStats {
    Moments moments = Moments::kLeaveOut;
    double compact_bytes = Config().compact_bytes;
};

class StatsLibrary {
  public:
    // One model's. A weight of the same name that differs is reported, once.
    explicit StatsLibrary(ModelStats statistics, const WantedStats& wanted = {});

    // Every file of the directory whose name ends in kStatisticsSuffix, the youngest first; one that cannot
    // be used is reported and left out. A directory that is not there has none.
    explicit StatsLibrary(const std::filesystem::path& directory, const WantedStats& wanted = {});

    struct Found {
        const ActivationStats& entry;  // lives as long as the library
        PlaneDecision planes;
        BitDecision bits;         // with `compact`
        const std::string& path;  // of the file; empty when the statistics came from memory
    };
    std::optional<Found> find(const WeightSource& weight);
    // Has the one model second moments, or a model of which a weight was found? Not when the first weight that the one
    // model has by name was another.
    bool has_moments() const { return has_moments_; }

  private:
    struct Model {
        std::string path;
        bool loaded = false;
        std::unordered_set<uint64_t> fingerprints;  // of the entries, known before they are kept
        ModelStats statistics;
        PlaneChoice planes;
        BitChoice bits;
    };
    static std::optional<Found> find_in(const Model& model, const WeightSource& weight, uint64_t fingerprint);
    void load(Model& model, ModelStats statistics);

    const WantedStats wanted_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Model>> models_;
    bool of_one_model_;
    std::atomic<bool> has_moments_{false};
    bool other_model_reported_ = false;
    bool found_one_ = false;
};

// What the setting GGML_RKNPU2_STATISTICS asks for; null when that is nothing. Fails when it names a file
// that cannot be used.
Result<std::unique_ptr<StatsLibrary>> open_stats_library(const Config& config);

}  // namespace rknpu2
