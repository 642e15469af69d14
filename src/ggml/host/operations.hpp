// SPDX-License-Identifier: MIT
// Operations by name: ggml numbers them anew in nearly every release, so a host's numbers are looked up in the
// host's own table of names.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ggml/api/tensors.hpp"

namespace rknpu2 {

// The operations that the plug-in knows by name; kOther is any other one.
enum class Op : uint8_t {
    kOther,
    kNone,
    kAdd,
    kClamp,
    kCustom,
    kDiv,
    kFlashAttention,
    kGlu,
    kL2Norm,
    kMapCustom1,
    kMapCustom2,
    kMapCustom3,
    kMul,
    kMatMul,
    kMatMulExperts,
    kNorm,
    kAdamwStep,
    kSgdStep,
    kPermute,
    kReshape,
    kRmsNorm,
    kRope,
    kScale,
    kSetRows,
    kSqr,
    kSqrt,
    kSub,
    kTranspose,
    kUnary,
    kView,
};
inline constexpr size_t kOps = static_cast<size_t>(Op::kView) + 1;

inline bool is_matmul(Op op) {
    return op == Op::kMatMul || op == Op::kMatMulExperts;
}

// Operations that move no data.
inline bool is_no_op(Op op) {
    return op == Op::kNone || op == Op::kReshape || op == Op::kView || op == Op::kPermute ||
           op == Op::kTranspose;
}

// Does a pointer that a host's table is thought to have point into something that is loaded? Else it is not followed.
bool is_in_a_library(const void* pointer);

// ggml's name of an operation ("MUL_MAT"); "" for kOther.
const char* ggml_name_of(Op op);

// One host's numbers. Immutable once read; any thread.
class Operations {
  public:
    // Reads the host's names. Returns the name of the first operation that the host does not have, or "".
    std::string read(const char* (*name_of)(ggml_op));

    Op of(const ggml_tensor* node) const {
        const uint32_t number = node->op;
        return number < kNumbers ? ops_[number] : Op::kOther;
    }
    // The host's number of an operation other than kOther.
    ggml_op number_of(Op op) const { return static_cast<ggml_op>(numbers_[static_cast<size_t>(op)]); }

  private:
    static constexpr size_t kNumbers = 256;  // more than any ggml has: 102 in 0.25.3

    std::array<Op, kNumbers> ops_{};
    std::array<uint32_t, kOps> numbers_{};
};

}  // namespace rknpu2
