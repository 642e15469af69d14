// SPDX-License-Identifier: MIT
// Random numbers for tests: the same ones each time, others on request, and a failure says how to repeat it.
//
//   Random random;                       // in a test body
//   const size_t M = random.size(1, 40);
//
// The seed is RKNPU2_TEST_SEED (a number; "time" takes the clock), 1 when it is not set, mixed with the
// test's name, so that a test draws the same numbers alone and in the whole suite. When the test has failed
// by the time the generator goes out of scope, one line with the command that repeats it is printed.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>

namespace rknpu2::test {

class Random {
  public:
    Random() : seed_(base_seed()) {
        const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
        if (info != nullptr) name_ = std::string(info->test_suite_name()) + "." + info->name();
        uint64_t mixed = seed_ ^ 0xCBF29CE484222325U;  // FNV-1a over the name
        for (const char c : name_)
            mixed = (mixed ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
        engine_.seed(mixed);
    }
    // These numbers and no others: what comes of them is written down somewhere.
    explicit Random(uint64_t seed) : seed_(seed) { engine_.seed(seed); }
    ~Random() {
        if (name_.empty() || !::testing::Test::HasFailure()) return;
        char program[4096] = {};
        if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) program[0] = '\0';
        ADD_FAILURE() << "repeat with: RKNPU2_TEST_SEED=" << seed_ << " " << program
                      << " --gtest_filter=" << name_;
    }
    Random(const Random&) = delete;
    Random& operator=(const Random&) = delete;

    uint64_t bits() { return engine_(); }
    // Uniform in [low, high], both included.
    size_t size(size_t low, size_t high) { return low + bits() % (high - low + 1); }
    bool one_in(size_t n) { return bits() % n == 0; }
    // Uniform in [-1, 1).
    float uniform() { return static_cast<float>(bits() >> 40) * 0x1p-23F - 1.0F; }
    // About normal: the sum of four uniform ones.
    float normal() { return (uniform() + uniform() + uniform() + uniform()) * 0.866F; }
    // Any finite float: every exponent is as likely as any other.
    float any_finite() {
        for (;;) {
            const float value = std::bit_cast<float>(static_cast<uint32_t>(bits()));
            if (std::isfinite(value)) return value;
        }
    }
    // NaN of either sign, or an infinity.
    float not_finite() {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
        const float values[] = {kInfinity, -kInfinity, kNaN, -kNaN};
        return values[bits() % 4];
    }

  private:
    static uint64_t base_seed() {
        const char* text = std::getenv("RKNPU2_TEST_SEED");
        if (text == nullptr || *text == '\0') return 1;
        if (std::string(text) == "time")
            return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
        return std::strtoull(text, nullptr, 0);
    }

    uint64_t seed_;
    std::string name_;
    std::mt19937_64 engine_;
};

}  // namespace rknpu2::test
