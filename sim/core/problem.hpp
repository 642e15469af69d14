// SPDX-License-Identifier: MIT
// What one context multiplies: checked once at creation, constant afterwards but for the shape in force.
//
// A Request is what the caller asked for, in the runtime's numbers. check_request() turns it into a Problem,
// or says why the runtime would refuse it. Sizes are never padded silently: a K or N off its alignment is
// refused. describe() gives the shape and size of each operand, which is what the caller must allocate.
#pragma once

#include <array>
#include <vector>

#include "core/outcome.hpp"
#include "core/settings.hpp"
#include "core/types.hpp"

namespace rknnsim {

// Shapes that one context may have.
inline constexpr size_t kMaxShapes = 512;

struct RequestedShape {
    int64_t M, K, N;
};

struct Request {
    int type = 0;
    int b_layout = 0;
    int b_quant = 0;
    int ac_layout = 0;
    int ac_quant = 0;
    int domain = 0;
    int group_size = 0;
    bool dynamic = false;
    RequestedShape info{};               // K and N as the info structure gives them
    std::vector<RequestedShape> shapes;  // one unless dynamic
};

enum class QuantMode { kPerLayer, kPerChannel, kPerGroup };

struct Shape {
    size_t M, K, N;

    bool operator==(const Shape&) const = default;
};

struct Problem {
    MatmulType type = MatmulType::kI8I8I32;
    Layout b_layout = Layout::kNormal;
    bool ac_native = false;
    QuantMode quant = QuantMode::kPerLayer;
    size_t group_size = 0;  // of kPerGroup
    int domain = 0;
    bool dynamic = false;
    // K and N of the shape in force. Shapes differ in them only if B is transposed.
    size_t K = 0;
    size_t N = 0;
    std::vector<Shape> shapes;  // one unless dynamic

    // Do K or N differ between the shapes?
    bool varies() const;

    // Per-channel and per-group contexts compute nothing: C is all zeros, as on the chip.
    bool result_is_zero() const { return quant != QuantMode::kPerLayer; }
};

struct OperandDesc {
    Operand which = Operand::kA;
    DType type = DType::kInt8;
    std::vector<size_t> dims;
    size_t bytes = 0;
};

Outcome check_request(const Request& request, const Settings& settings, Problem* problem);

OperandDesc describe(const Problem& problem, Operand which, const Shape& shape);

}  // namespace rknnsim
