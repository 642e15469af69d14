// SPDX-License-Identifier: MIT
// Digests that are the same on every architecture: a file of lines `name digest`, checked in, and a test that
// makes the lines anew.
//
//   Golden golden(FILE);
//   golden.check("rotate_rows 3x576", bytes);   // for each tier: all must give the bytes of the file
//   golden.finish();                            // each line of the file was checked
//
// RKNPU2_WRITE_DIGESTS=1 in the environment writes the file instead and fails the test, so that nobody leaves
// it on.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/hash.hpp"

namespace rknpu2::test {

// Results as bytes. A NaN of any sign and payload counts as one and the same: architectures differ in them,
// and no kernel promises one.
class Bytes {
  public:
    void add(float x) {
        constexpr uint32_t kNaN = 0x7FC00000U;
        append(std::isnan(x) ? kNaN : std::bit_cast<uint32_t>(x));
    }
    void add(double x) {
        constexpr uint64_t kNaN = 0x7FF8000000000000U;
        append(std::isnan(x) ? kNaN : std::bit_cast<uint64_t>(x));
    }
    void add(int8_t x) { append(x); }
    void add(uint8_t x) { append(x); }
    void add(uint16_t x) { append(x); }
    void add(int32_t x) { append(x); }
    template <typename T>
    void add(const T* values, size_t count) {
        for (size_t i = 0; i < count; ++i)
            add(values[i]);
    }

    std::string digest() const { return hash128(bytes_.data(), bytes_.size()).hex(); }
    bool empty() const { return bytes_.empty(); }
    void flip_a_bit() { bytes_.at(bytes_.size() / 2) ^= 1U; }

  private:
    // Both architectures are little-endian.
    template <typename T>
    void append(T value) {
        const size_t old = bytes_.size();
        bytes_.resize(old + sizeof value);
        std::memcpy(bytes_.data() + old, &value, sizeof value);
    }

    std::vector<uint8_t> bytes_;
};

class Golden {
  public:
    explicit Golden(std::string path) : path_(std::move(path)) {
        const char* const write = std::getenv("RKNPU2_WRITE_DIGESTS");
        writing_ = write != nullptr && *write == '1';
        std::ifstream file(path_);
        for (std::string line; std::getline(file, line);) {
            const size_t blank = line.rfind(' ');
            if (!line.empty() && line[0] != '#') wanted_[line.substr(0, blank)] = line.substr(blank + 1);
        }
    }

    bool matches(const std::string& name, const Bytes& bytes) const {
        const auto found = wanted_.find(name);
        return found != wanted_.end() && found->second == bytes.digest();
    }

    void check(const std::string& name, const char* tier, const Bytes& bytes) {
        ASSERT_FALSE(bytes.empty()) << name;
        const auto [entry, first] = made_.emplace(name, bytes.digest());
        EXPECT_EQ(entry->second, bytes.digest()) << name << ": tier " << tier << " differs from the others";
        if (!writing_) {
            EXPECT_TRUE(matches(name, bytes))
                << name << ", tier " << tier << ": other bits than in " << path_;
        }
    }

    void finish() const {
        if (writing_) {
            std::ofstream file(path_);
            file << "# Digests of what kernels make of seeded inputs (tests/support/golden.hpp); "
                    "RKNPU2_WRITE_DIGESTS=1 writes them anew.\n";
            for (const auto& [name, digest] : made_)
                file << name << ' ' << digest << '\n';
            FAIL() << "wrote " << path_
                   << ": look at what changed, then run again without RKNPU2_WRITE_DIGESTS";
        }
        EXPECT_FALSE(made_.empty());
        EXPECT_EQ(made_.size(), wanted_.size()) << path_ << " has lines that nothing checks, or lacks some";
    }

  private:
    std::string path_;
    bool writing_ = false;
    std::map<std::string, std::string> wanted_, made_;
};

}  // namespace rknpu2::test
