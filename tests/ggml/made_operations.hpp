// SPDX-License-Identifier: MIT
// Operations of a host that numbers them as no ggml does, so that nobody relies on a number.
#pragma once

#include "ggml/host/operations.hpp"

namespace rknpu2::test {

// Number 0, which Op::kOther has, is an operation that we do not know; then come ours, the last one first.
inline Operations made_operations() {
    Operations operations;
    operations.read([](ggml_op number) {
        return number == 0 ? "ANOTHER_ONE" : ggml_name_of(static_cast<Op>(kOps - number));
    });
    return operations;
}

}  // namespace rknpu2::test
