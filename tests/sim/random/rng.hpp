// SPDX-License-Identifier: MIT
// Random numbers for random programs: splitmix64, so that a seed means the same on every machine and with
// every standard library, and so that a step can carry the seed of its data instead of the data.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rknnsim_random {

class Rng {
  public:
    explicit Rng(uint64_t seed) : state_(seed) {}

    uint64_t bits() {
        uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        return z ^ (z >> 31);
    }
    // Uniform in [low, high], both included.
    int64_t range(int64_t low, int64_t high) {
        return low + static_cast<int64_t>(bits() % static_cast<uint64_t>(high - low + 1));
    }
    bool one_in(int64_t n) { return range(1, n) == 1; }
    // As range(), but every order of magnitude is about as likely as any other.
    int64_t skewed(int64_t low, int64_t high) {
        const int64_t span = high - low + 1;
        int width = 1;
        while ((int64_t{1} << width) < span)
            ++width;
        const int64_t top = int64_t{1} << range(0, width);
        return low + range(0, (top < span ? top : span) - 1);
    }
    template <typename T, size_t N>
    const T& pick(const T (&values)[N]) {
        return values[static_cast<size_t>(range(0, static_cast<int64_t>(N) - 1))];
    }
    template <typename Container>
    auto& pick(Container& values) {
        return values[static_cast<size_t>(range(0, static_cast<int64_t>(values.size()) - 1))];
    }

  private:
    uint64_t state_;
};

}  // namespace rknnsim_random
