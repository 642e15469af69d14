// SPDX-License-Identifier: MIT
// Packed weights that come from files are the packed weights, bit by bit; and whatever lies in the files'
// place, results stay the same.
#include "weights/weight_cache.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <filesystem>
#include <thread>
#include <utility>

#include "base/format.hpp"
#include "matmul/gathered.hpp"
#include "weights/weight_cache_fixture.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;
using testing::Matrices;
using testing::WeightCacheTest;

TEST_F(WeightCacheTest, LoadedIsPackedBitByBit) {
    const size_t shapes[][3] = {{1, 1, 1},     {3, 7, 200},    {9, 577, 33},  {5, 100, 32},
                                {2, 64, 8224}, {1, 50, 16500}, {4, 1000, 576}};
    uint64_t count = 0;
    for (const Precision precision :
         {Precision::kFast, Precision::kBalanced, Precision::kExact, Precision::kNaive}) {
        config_.precision = precision;
        // A weight of one plane is the same in both precisions, hence a place for each of them.
        config_.weight_cache_directory = root_ + "/a/" + precision_name(precision);
        const uint64_t before = count;
        for (const auto& [M, N, K] : shapes) {
            const Matrices x(M, N, K, static_cast<uint32_t>(M + N + K));
            const ModelStats gathered = testing::gathered_from(x);
            for (const ModelStats* const with : {static_cast<const ModelStats*>(nullptr), &gathered}) {
                // Only rotated weights are packed with statistics.
                if (with != nullptr && !recipe_of(precision).rotate) continue;
                const std::string what = format("%s N=%zu K=%zu statistics: %d", precision_name(precision), N,
                                                K, static_cast<int>(with != nullptr));
                const std::vector<float> packed = multiply(x, with);
                ++count;
                expect_counts(count - 1, count, 0, what);
                EXPECT_EQ(multiply(x, with), packed) << what;
                expect_counts(count, count, 0, what);
            }
        }
        struct stat info {};
        ASSERT_EQ(stat(config_.weight_cache_directory.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0700U);
        EXPECT_EQ(files().size(), count - before) << "something unfinished was left";
    }
    EXPECT_THAT(warnings_, ::testing::IsEmpty());
}

// A row whose largest value rotation spreads worst: it is not rotated, and the file remembers.
TEST_F(WeightCacheTest, AWeightThatRotationHarmsStaysUnrotated) {
    Matrices x(3, 40, 64, 1);
    for (size_t i = 0; i < x.w.size(); ++i)
        x.w[i] = i % 3 == 0 ? 1.0F : -1.0F;
    for (size_t i = 0; i < 2; ++i) {
        const auto npu = device();
        const auto packed = npu->pack(x.source());
        ASSERT_TRUE(packed.ok());
        EXPECT_FALSE(packed.value()->plan.recipe.rotate);
        EXPECT_TRUE(packed.value()->channel_offsets.empty());
        expect_counts(i, 1, 0);
    }
    EXPECT_EQ(multiply(x), multiply(x));
}

// Channels of very large and very small weights, whose scales are kept apart.
TEST_F(WeightCacheTest, FarChannelsAreLoadedAsTheyWerePacked) {
    Matrices x(3, 40, 200, 7);
    for (size_t k = 0; k < x.K; ++k) {
        x.w[5 * x.K + k] *= 1e36F;
        x.w[6 * x.K + k] *= 1e-39F;
    }
    const std::vector<float> expected = multiply(x);
    for (size_t m = 0; m < x.M; ++m) {
        for (const size_t n : {5U, 6U})
            EXPECT_NEAR(expected[m * x.N + n] / x.exact(m, n), 1, 0.05) << m << ", " << n;
    }
    expect_counts(0, 1, 0);
    EXPECT_EQ(multiply(x), expected);
    expect_counts(1, 1, 0);
}

TEST_F(WeightCacheTest, WhateverIsWrongWithAFileItIsReplaced) {
    const Matrices x(3, 70, 200, 2);
    const std::vector<float> expected = multiply(x);
    const fs::path path = only_file();
    const std::string good = content(path);
    std::vector<std::pair<std::string, std::string>> bad = {
        {"empty", ""},
        {"extended", good + "x"},
        {"zeros", std::string(good.size(), '\0')},
        {"of another program", "GGUF" + good.substr(4)},
    };
    for (size_t at = 0; at < 104; ++at) {  // each byte of the header
        bad.emplace_back(format("header %zu", at), good);
        bad.back().second[at] ^= 1;
    }
    for (size_t at = 104; at < good.size(); at += 101) {
        bad.emplace_back(format("payload %zu", at), good);
        bad.back().second[at] ^= 0x40;
    }
    bad.emplace_back("last byte", good);
    bad.back().second.back() ^= 1;
    for (const size_t length : {size_t{1}, size_t{103}, size_t{104}, good.size() / 2, good.size() - 1})
        bad.emplace_back(format("cut to %zu", length), good.substr(0, length));
    uint64_t rejected = 0;
    for (const auto& [what, text] : bad) {
        write(path, text);
        warnings_.clear();
        EXPECT_EQ(multiply(x), expected) << what;
        ++rejected;
        expect_counts(0, 1 + rejected, rejected, what);
        ASSERT_EQ(warnings_.size(), 1U) << what;
        EXPECT_THAT(warnings_[0], ::testing::HasSubstr(path.string())) << what;
        EXPECT_EQ(content(path), good) << what;
    }
    EXPECT_EQ(multiply(x), expected);
    expect_counts(1, 1 + rejected, rejected);
}

TEST_F(WeightCacheTest, AFileOfAnotherWeightIsNotTaken) {
    const Matrices x(3, 70, 200, 2);
    Matrices y(3, 70, 200, 3);
    y.a = x.a;
    multiply(y);
    const fs::path of_y = only_file();
    const std::vector<float> expected = multiply(x);
    for (const fs::path& path : files()) {
        if (path != of_y) fs::copy_file(of_y, path, fs::copy_options::overwrite_existing);
    }
    EXPECT_EQ(multiply(x), expected);
    expect_counts(0, 3, 1);
    EXPECT_THAT(warnings_.at(0), ::testing::HasSubstr("of another weight"));
}

// Whatever decides the packed bytes is part of the key.
TEST_F(WeightCacheTest, AnotherWeightTypePlanOrStatisticsIsAnotherFile) {
    Matrices x(3, 70, 200, 2);
    uint64_t written = 0;
    const auto expect_new = [&](const std::vector<float>& out, const std::string& what) {
        EXPECT_LT(x.error_of(out), 0.1) << what;
        expect_counts(0, ++written, 0, what);
    };
    expect_new(multiply(x), "first");
    x.w.back() += 1.0F;
    expect_new(multiply(x), "last element");
    WeightSource source = x.source();
    source.type_name = "other";
    expect_new(multiply_source(x, source), "type");
    source = x.source();
    source.dequantise = [](const void* row, float* out, int64_t count) {
        std::memcpy(out, row, static_cast<size_t>(count) * sizeof(float));
        out[0] += 1e-3F;
    };
    expect_new(multiply_source(x, source), "conversion of the host");
    for (const int cores : {1, 2}) {
        config_.cores = cores;
        expect_new(multiply(x), "cores");
    }
    for (const Precision precision : {Precision::kFast, Precision::kExact, Precision::kNaive}) {
        config_.precision = precision;
        expect_new(multiply(x), precision_name(precision));
    }
    config_.precision = Precision::kBalanced;
    ModelStats gathered = testing::gathered_from(x);
    expect_new(multiply(x, &gathered), "statistics");
    gathered.at("w").mean[7] += 0.1F;
    expect_new(multiply(x, &gathered), "means");
    gathered.at("w").mean_square[7] *= 1.5F;
    expect_new(multiply(x, &gathered), "mean squares");
    gathered.at("w").output = true;
    expect_new(multiply(x, &gathered), "planes");
}

TEST_F(WeightCacheTest, WhatIsNotAFileIsNotFollowed) {
    const Matrices x(3, 70, 200, 2);
    const std::vector<float> expected = multiply(x);
    const fs::path path = only_file();
    const fs::path elsewhere = root_ + "/elsewhere";
    fs::rename(path, elsewhere);
    const std::string good = content(elsewhere);
    fs::create_symlink(elsewhere, path);
    EXPECT_EQ(multiply(x), expected);
    expect_counts(0, 2, 1);
    EXPECT_FALSE(fs::is_symlink(path)) << "it was not replaced";
    EXPECT_EQ(content(elsewhere), good);
    fs::remove(path);
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(multiply(x), expected);
    expect_counts(0, 3, 2);
    fs::remove(path);
    fs::create_directory(path);
    EXPECT_EQ(multiply(x), expected);
    expect_counts(0, 3, 3);
    EXPECT_EQ(counts().not_written, 1U);
}

TEST_F(WeightCacheTest, ADirectoryThatCannotBeUsedIsOneLine) {
    const Matrices x(3, 70, 200, 2);
    const Matrices y(3, 70, 200, 3);
    write(root_ + "/file", "");
    fs::create_directory(root_ + "/open");
    fs::permissions(root_ + "/open", fs::perms::all);
    fs::create_directory(root_ + "/read-only");
    fs::permissions(root_ + "/read-only", fs::perms::owner_read | fs::perms::owner_exec);
    std::vector<std::string> places = {"/file/weights", "/file", "/open"};
    if (geteuid() != 0) places.emplace_back("/read-only");  // the superuser may write there
    for (const std::string& place : places) {
        config_.weight_cache_directory = root_ + place;
        warnings_.clear();
        const uint64_t before = counts().not_written;
        const auto npu = device();
        for (const Matrices* const m : {&x, &y}) {
            std::vector<float> out(m->M * m->N);
            ASSERT_TRUE(npu->multiply(*npu->pack(m->source()).value(), m->a.data(), m->M, out.data()).ok());
            EXPECT_LT(m->error_of(out), 0.02) << place;
        }
        EXPECT_EQ(counts().not_written, before + 2) << place;
        EXPECT_EQ(warnings_.size(), 1U) << place;
    }
    expect_counts(0, 0, 0);
    EXPECT_TRUE(fs::is_empty(root_ + "/open"));
}

// As on a full disk, files end early (`ulimit -f`); the signal for that, whose default is to end the process,
// does not come.
TEST_F(WeightCacheTest, AFileThatCannotBeWrittenWholeLeavesNothing) {
    const Matrices x(3, 70, 200, 2);
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    const rlimit small{1000, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::vector<float> out = multiply(x);
    ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_LT(x.error_of(out), 0.02);
    EXPECT_EQ(counts().not_written, 1U);
    EXPECT_EQ(warnings_.size(), 1U);
    EXPECT_TRUE(files().empty());
    EXPECT_EQ(multiply(x), out);
    expect_counts(0, 1, 0);
}

TEST_F(WeightCacheTest, TheLongestUnusedFilesMakeRoom) {
    config_.weight_cache_mb = 1;
    config_.precision = Precision::kExact;
    const auto weight = [](uint32_t seed) { return Matrices(1, 400, 500, seed); };  // 0.4 MB each
    multiply(weight(1));
    const fs::path first = only_file();
    multiply(weight(2));
    ASSERT_EQ(files().size(), 2U);
    write(config_.weight_cache_directory + "/notes",
          std::string(1 << 20, 'x'));  // not ours: stays, not counted
    // In use by this device: nothing is removed, the third is not kept.
    {
        const auto npu = device();
        for (const uint32_t seed : {1U, 2U, 3U})
            ASSERT_TRUE(npu->pack(weight(seed).source()).ok());
        EXPECT_EQ(counts().not_written, 1U);
        EXPECT_EQ(counts().loaded, 2U);
        EXPECT_EQ(warnings_.size(), 1U);
    }
    // An hour later the first was used, the second was not.
    const auto now = fs::file_time_type::clock::now();
    for (const fs::path& path : files())
        fs::last_write_time(path, now - std::chrono::hours(path == first ? 1 : 2));
    multiply(weight(3));
    EXPECT_EQ(counts().written, 3U);
    EXPECT_EQ(files().size(), 3U);
    EXPECT_TRUE(fs::exists(first));
    EXPECT_TRUE(fs::exists(config_.weight_cache_directory + "/notes"));
}

// A model that is started again finds all its files and writes none, and has to keep to a lower bound all the
// same.
TEST_F(WeightCacheTest, ALoweredBoundHoldsAtTheNextStart) {
    config_.weight_cache_mb = 2;
    config_.precision = Precision::kExact;
    const auto weight = [](uint32_t seed) { return Matrices(1, 400, 500, seed); };  // 0.4 MB each
    for (const uint32_t seed : {1U, 2U, 3U, 4U}) {
        multiply(weight(seed));
        for (const fs::path& path : files())  // an hour passes
            fs::last_write_time(path, fs::last_write_time(path) - std::chrono::hours(1));
    }
    ASSERT_EQ(files().size(), 4U);
    config_.weight_cache_mb = 1;
    multiply(weight(4));
    EXPECT_EQ(counts().loaded, 1U);
    EXPECT_EQ(files().size(), 2U);
    multiply(weight(3));
    EXPECT_EQ(counts().loaded, 2U) << "the longest unused went, not these";
    expect_counts(2, 4, 0);
}

TEST_F(WeightCacheTest, DevicesThatPackAtOnceDoNotDisturbEachOther) {
    std::vector<Matrices> weights;
    std::vector<std::vector<float>> expected;
    const std::string place = std::exchange(config_.weight_cache_directory, "");  // without it first
    for (uint32_t i = 0; i < 6; ++i) {
        weights.emplace_back(2, 100 + i, 96, i);
        expected.push_back(multiply(weights.back()));
    }
    config_.weight_cache_directory = place;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round) {
                for (size_t i = 0; i < weights.size(); ++i)
                    EXPECT_EQ(multiply(weights[i]), expected[i]);
            }
        });
    }
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(counts().rejected, 0U);
    EXPECT_EQ(counts().not_written, 0U);
    EXPECT_EQ(counts().loaded + counts().written, 120U);
    EXPECT_GE(counts().loaded, 96U);
    EXPECT_EQ(files().size(), weights.size()) << "something unfinished was left";
}

}  // namespace
}  // namespace rknpu2
