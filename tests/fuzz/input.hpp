// SPDX-License-Identifier: MIT
// Takes an input apart: numbers off its front, zeros when it is used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace rknpu2::fuzz {

class Input {
  public:
    Input(const uint8_t* data, size_t size) : at_(data), left_(size) {}

    size_t left() const { return left_; }

    template <typename T>
    T number() {
        T value{};
        const size_t count = sizeof value < left_ ? sizeof value : left_;
        if (count > 0) std::memcpy(&value, at_, count);
        at_ += count;
        left_ -= count;
        return value;
    }

    std::string rest() {
        std::string text(reinterpret_cast<const char*>(at_), left_);
        left_ = 0;
        return text;
    }

    // A size of every magnitude: one byte says how many bits of the eight that follow count.
    uint64_t size() {
        const unsigned bits = number<uint8_t>() % 65;
        const auto value = number<uint64_t>();
        return bits == 0 ? 0 : value >> (64 - bits);
    }

  private:
    const uint8_t* at_;
    size_t left_;
};

}  // namespace rknpu2::fuzz
