// SPDX-License-Identifier: MIT
// One product on the NPU: a context with its operands, made ready and run.
#pragma once

#include <functional>
#include <memory>

#include "base/status.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// The value goes to `to`, when there is one.
template <typename T>
Status take(Result<T> from, T& to) {
    if (from.ok()) to = from.take();
    return from.status();
}

struct Product {
    using Fill = std::function<void(NpuMemory& a, NpuMemory& b)>;

    ContextSpec spec;
    std::unique_ptr<NpuContext> lender;  // has made `whole`; null: the operands are the context's own
    std::unique_ptr<NpuContext> context;
    std::unique_ptr<NpuMemory> whole;  // what the operands are slices of
    std::unique_ptr<NpuMemory> a, b, c;

    // Makes the context, and the lender when the operands are to be `slices`. What was made stays after a
    // failure; this holds for all that follow.
    Status make(NpuRuntime& runtime, const ContextSpec& of, bool slices = false);
    // Memory for the operands of row count number `index`.
    Status allocate(size_t index);
    // Writes the operands, makes them visible and binds them. The result's memory gets a pattern, so that a
    // run which never happened is seen.
    Status prepare(size_t index, const Fill& fill);
    // The operands, to this or a context like it.
    Status bind_to(NpuContext& to);
    // Multiplies, and makes the result visible.
    Status run();
};

// make(), allocate() and prepare() with one row count. All bytes of A and B are 1.
Status prepare_ones(NpuRuntime& runtime, const ContextSpec& spec, Product& product);

}  // namespace rknpu2
