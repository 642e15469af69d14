// SPDX-License-Identifier: MIT
// A cache of packed weights in a folder of its own, and devices that use it as processes would.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.hpp"
#include "matmul/matrices.hpp"
#include "matmul/npu_device.hpp"
#include "support/fake_runtime.hpp"

namespace rknpu2::testing {

class WeightCacheTest : public ::testing::Test {
  protected:
    WeightCacheTest() {
        std::string pattern = ::testing::TempDir() + "rknpu2_cache_XXXXXX";
        root_ = mkdtemp(pattern.data());
        config_.threads = 2;
        config_.weight_cache_directory = root_ + "/a/weights";
        set_log_sink([this](LogLevel level, const std::string& line) {
            if (level == LogLevel::kWarning) warnings_.push_back(line);
        });
    }
    ~WeightCacheTest() override {
        set_log_sink({});
        std::filesystem::remove_all(root_);
    }

    std::shared_ptr<NpuDevice> device(const ModelStats* gathered = nullptr) {
        auto npu = std::make_shared<NpuDevice>(std::make_unique<FakeRuntime>(state_), config_, counters_);
        if (gathered != nullptr) npu->use_stats(std::make_unique<StatsLibrary>(*gathered));
        return npu;
    }

    // By a device of its own, as another process would.
    std::vector<float> multiply(const Matrices& x, const ModelStats* gathered = nullptr) {
        return multiply_source(x, x.source(), gathered);
    }
    std::vector<float> multiply_source(const Matrices& x, const WeightSource& source,
                                       const ModelStats* gathered = nullptr) {
        std::vector<float> out(x.M * x.N, std::nanf(""));
        const auto npu = device(gathered);
        const auto packed = npu->pack(source);
        EXPECT_TRUE(packed.ok()) << packed.status().to_string();
        EXPECT_TRUE(npu->multiply(*packed.value(), x.a.data(), x.M, out.data()).ok());
        return out;
    }

    std::vector<std::filesystem::path> files() const {
        std::vector<std::filesystem::path> found;
        for (const auto& entry : std::filesystem::directory_iterator(config_.weight_cache_directory))
            found.push_back(entry.path());
        return found;
    }
    std::filesystem::path only_file() const {
        EXPECT_EQ(files().size(), 1U);
        return files().at(0);
    }
    static std::string content(const std::filesystem::path& path) {
        std::ostringstream text;
        text << std::ifstream(path, std::ios::binary).rdbuf();
        return text.str();
    }
    static void write(const std::filesystem::path& path, const std::string& text) {
        std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    }
    void expect_counts(uint64_t loaded, uint64_t written, uint64_t rejected, const std::string& what = "") {
        EXPECT_EQ(counts().loaded, loaded) << what;
        EXPECT_EQ(counts().written, written) << what;
        EXPECT_EQ(counts().rejected, rejected) << what;
    }
    const WeightCacheCounters& counts() const { return counters_.weight_cache; }

    std::string root_;
    Config config_;
    FakeState state_;
    Counters counters_;
    std::vector<std::string> warnings_;
};

}  // namespace rknpu2::testing
