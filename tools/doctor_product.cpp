// SPDX-License-Identifier: MIT
#include "doctor_product.hpp"

#include <cstring>

namespace rknpu2 {
namespace {

constexpr int kPattern = 0x55;  // not the simulator's own 0xAA
constexpr size_t kSliceAlign = 4096;
constexpr Operand kOperands[] = {Operand::kActivations, Operand::kWeights, Operand::kResult};

}  // namespace

Status Product::make(NpuRuntime& runtime, const ContextSpec& of, bool slices) {
    spec = of;
    ContextSpec small = of;
    small.K = small.N = 64;
    small.rows = {1};
    if (slices) RKNPU2_RETURN_IF_ERROR(take(runtime.create_context(small), lender));
    return take(runtime.create_context(spec), context);
}

Status Product::allocate(size_t index) {
    size_t offset = kSliceAlign;  // nothing at the front: an offset that is ignored is seen
    if (lender) {
        size_t bytes = offset;
        for (const Operand operand : kOperands)
            bytes += round_up(context->operand_bytes(operand, index), kSliceAlign);
        RKNPU2_RETURN_IF_ERROR(take(lender->allocate(bytes), whole));
    }
    std::unique_ptr<NpuMemory>* const to[] = {&a, &b, &c};
    for (size_t i = 0; i < 3; ++i) {
        const size_t bytes = context->operand_bytes(kOperands[i], index);
        RKNPU2_RETURN_IF_ERROR(
            take(lender ? context->import_slice(*whole, offset, bytes) : context->allocate(bytes), *to[i]));
        offset += round_up(bytes, kSliceAlign);
    }
    return {};
}

Status Product::prepare(size_t index, const Fill& fill) {
    RKNPU2_RETURN_IF_ERROR(context->select_rows(index));
    fill(*a, *b);
    std::memset(c->data(), kPattern, c->size());
    // Results, too: else the cache may write the pattern back later. What is not native is copied by bind().
    // A sync of an import is a question of its own (doctor_trials.cpp).
    if (lender) {
        RKNPU2_RETURN_IF_ERROR(lender->sync_to_device(*whole));
    } else {
        RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*c));
        if (spec.ac_layout == Layout::kNative) RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*a));
        if (spec.b_layout == Layout::kNative) RKNPU2_RETURN_IF_ERROR(context->sync_to_device(*b));
    }
    return bind_to(*context);
}

Status Product::bind_to(NpuContext& to) {
    RKNPU2_RETURN_IF_ERROR(to.bind(Operand::kActivations, *a));
    RKNPU2_RETURN_IF_ERROR(to.bind(Operand::kWeights, *b));
    return to.bind(Operand::kResult, *c);
}

Status Product::run() {
    RKNPU2_RETURN_IF_ERROR(context->run());
    return lender ? lender->sync_from_device(*whole) : context->sync_from_device(*c);
}

Status prepare_ones(NpuRuntime& runtime, const ContextSpec& spec, Product& product) {
    RKNPU2_RETURN_IF_ERROR(product.make(runtime, spec));
    RKNPU2_RETURN_IF_ERROR(product.allocate(0));
    return product.prepare(0, [](NpuMemory& a, NpuMemory& b) {
        std::memset(a.data(), 1, a.size());
        std::memset(b.data(), 1, b.size());
    });
}

}  // namespace rknpu2
