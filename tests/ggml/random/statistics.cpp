// SPDX-License-Identifier: MIT
#include "ggml/random/statistics.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <vector>

#include "calibration/activation_stats.hpp"

namespace rknpu2::test {
namespace {

constexpr size_t kLongest = 640;

std::string name_of(size_t K) {
    return "of_" + std::to_string(K);
}

ActivationStats entry_of(size_t K) {
    constexpr size_t kRows = 2 * kFewestRows;
    std::mt19937 random(static_cast<uint32_t>(K));
    std::normal_distribution<float> normal;
    std::vector<float> rows(kRows * K);
    for (float& x : rows)
        x = normal(random);
    ActivationStats entry;
    entry.N = 1;  // any: no fingerprint is compared
    entry.K = K;
    entry.rows = kRows;
    entry.mean.assign(K, 0.0F);
    entry.mean_square.assign(K, 1.0F);
    MomentSums sums(K);
    sums.add(rows.data(), kRows);
    entry.moments = sums.moments();
    return entry;
}

}  // namespace

std::string name_with_statistics(const Step& step) {
    const char* const precision = std::getenv("GGML_RKNPU2_PRECISION");
    const bool compact = precision != nullptr && std::string(precision) == "compact";
    return compact && step.op == "weight" ? name_of(static_cast<size_t>(step.parameters[0])) : step.name;
}

MadeStatistics::MadeStatistics(const Environment& environment) {
    const auto compact = [](const auto& setting) {
        return setting.first == "GGML_RKNPU2_PRECISION" && setting.second == "compact";
    };
    if (std::ranges::none_of(environment, compact)) return;
    ModelStats statistics;
    for (size_t K = 1; K <= kLongest; ++K)
        if (K <= 100 || K % 32 == 0) statistics.emplace(name_of(K), entry_of(K));
    path_ =
        (std::filesystem::temp_directory_path() / ("rknpu2-random-" + std::to_string(getpid()) + ".rknpucal"))
            .string();
    std::ofstream(path_, std::ios::binary) << encode_stats(statistics);
}

MadeStatistics::~MadeStatistics() {
    if (!path_.empty()) unlink(path_.c_str());
}

}  // namespace rknpu2::test
