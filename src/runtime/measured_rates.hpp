// SPDX-License-Identifier: MIT
// How fast a board was found to be, as far as the choice between NPU and CPU asks (plan/rates_of_board.hpp).
//
// A rate that is not there is the model's. The text form is `name = value` lines, those of a profile: the doctor writes the NPU's into
// the board's profile (board_profile.hpp), and a measurement writes all into a file of its own (rates_choice.hpp).
#pragma once

#include <array>
#include <optional>
#include <string>

#include "base/key_values.hpp"

namespace rknpu2 {

enum class Rate {
    kNpuRunUs,        // a run call, and binding its operands
    kNpuStreamGbps,   // weights that one row passes by, of all cores in use
    kCpuFourBitGbps,  // stored bytes of weights that one row of activations is multiplied by, of all threads
    kCpuFourBitMacs,  // multiply-adds a nanosecond, with several rows
    kCpuEightBitGbps,
    kCpuEightBitMacs,
    kCpuRegionUs,  // a multiplication's own time on threads that are at work
    kCpuWakeUs,    // more, when they have slept
};
inline constexpr size_t kRates = static_cast<size_t>(Rate::kCpuWakeUs) + 1;

class MeasuredRates {
  public:
    std::optional<double> operator[](Rate rate) const { return values_[static_cast<size_t>(rate)]; }
    void set(Rate rate, double value) { values_[static_cast<size_t>(rate)] = value; }
    // True if it is a rate's name; kInvalidArgument for a value that no board has.
    Result<bool> take(const KeyValue& entry);
    // All that the other has.
    void take(const MeasuredRates& other);

    bool is_empty() const;
    bool is_complete() const;
    // Does any value lie out of its range? Then something went wrong.
    Status check() const;
    // A line for each.
    std::string lines() const;
    // Such as "NPU 28.1 GB/s, CPU 23.9 (4 bits) and 24.2 GB/s (8 bits)"; nothing of what it lacks.
    std::string summary() const;

    bool operator==(const MeasuredRates&) const = default;

  private:
    std::array<std::optional<double>, kRates> values_;
};

}  // namespace rknpu2
