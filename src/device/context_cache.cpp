// SPDX-License-Identifier: MIT
#include "device/context_cache.hpp"

#include <algorithm>

#include "base/format.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {

Result<View> CachedContext::described(Operand operand, size_t row_index, const Slice& slice,
                                      size_t bytes) const {
    const View view{slice.id, context_->operand_bytes(operand, row_index), &slice.memory(), slice.offset,
                    slice.alone()};
    if (view.bytes <= bytes) return view;
    return Status(StatusCode::kDeviceError,
                  format("the runtime wants %zu bytes where the layout has %zu", view.bytes, bytes));
}

Result<View> CachedContext::view(Operand operand, size_t row_index, const Slice& slice, size_t bytes) {
    const View view = RKNPU2_TAKE(described(operand, row_index, slice, bytes));
    RKNPU2_RETURN_IF_ERROR(import(view));
    return view;
}

Result<View> CachedContext::tried(Operand operand, size_t row_index, const Slice& slice, size_t bytes) {
    if (has_tried_) return described(operand, row_index, slice, bytes);
    const View view = RKNPU2_TAKE(this->view(operand, row_index, slice, bytes));
    has_tried_ = true;
    return view;
}

Status CachedContext::import(const View& view) {
    if (view.whole || imports_.contains(view)) return {};
    if (key_.set == ContextKey::kAttention && imports_.size() >= kMostImports) {
        std::erase_if(imports_, [&](const auto& entry) {
            return entry.first != activations_ && entry.first != weights_ && entry.first != result_;
        });
    }
    imports_[view] = RKNPU2_TAKE(context_->import_slice(*view.memory, view.offset, view.bytes));
    return {};
}

Status CachedContext::bind(Operand operand, const View& view, View& bound) {
    if (bound == view) return {};
    RKNPU2_RETURN_IF_ERROR(import(view));
    bound = {};
    NpuMemory* const memory = view.whole ? view.memory : imports_.at(view).get();
    RKNPU2_RETURN_IF_ERROR(
        context_->bind(operand, *memory));  // NOLINT(clang-analyzer-core.*): a view has one
    bound = view;
    return {};
}

Status CachedContext::prepare(size_t row_index, const View& activations, const View& weights,
                              const View& result) {
    if (row_index != row_index_) {
        row_index_ = SIZE_MAX;
        activations_ = {};
        result_ = {};
        RKNPU2_RETURN_IF_ERROR(context_->select_rows(row_index));
        row_index_ = row_index;
    }
    RKNPU2_RETURN_IF_ERROR(bind(Operand::kActivations, activations, activations_));
    RKNPU2_RETURN_IF_ERROR(bind(Operand::kWeights, weights, weights_));
    return bind(Operand::kResult, result, result_);
}

Status CachedContext::run() {
    RKNPU2_RETURN_IF_ERROR(context_->run());
    return coherency_.result_needed(*context_, *result_.memory, result_.bytes);
}

void CachedContext::forget(const Slice& slice) {
    const NpuMemory* const memory = &slice.memory();
    const auto touches = [&](const View& view) {
        return view.memory == memory && view.offset < slice.offset + slice.bytes &&
               slice.offset < view.offset + view.bytes;
    };
    for (View* const bound : {&activations_, &weights_, &result_})
        if (touches(*bound)) *bound = {};
    std::erase_if(imports_, [&](const auto& entry) { return touches(entry.first); });
}

void ContextCache::begin_call() {
    uses_before_ = uses_;
    for (const ContextKey::Set set : {ContextKey::kProducts, ContextKey::kAttention})
        drop_failed(set);
    keep_at_most(capacity_);
}

ContextCache::Contexts::iterator ContextCache::oldest() {
    const auto used = [](const auto& entry) { return entry.second.used; };
    return std::ranges::min_element(kept_, {}, used);
}

Result<CachedContext*> ContextCache::get(const ContextKey& key) {
    auto known = kept_.find(key);
    if (known == kept_.end()) {
        if (kept_.size() >= capacity_ && oldest()->second.used <= uses_before_) kept_.erase(oldest());
        std::vector<size_t> rows = rows_;
        rows.resize(std::min(rows.size(), bucket_count(key.arithmetic)));
        std::unique_ptr<NpuContext> made = RKNPU2_TAKE(
            runtime_.create_context({key.arithmetic, key.K, key.N, std::move(rows), key.core, key.domain}));
        known =
            kept_.emplace(key, Kept{std::make_unique<CachedContext>(key, std::move(made), coherency_)}).first;
    }
    known->second.used = ++uses_;
    return known->second.context.get();
}

void ContextCache::drop_failed(ContextKey::Set set) {
    std::erase_if(kept_, [&](const auto& entry) {
        return entry.first.set == set && !entry.second.context->failure().ok();
    });
}

void ContextCache::drop_set(ContextKey::Set set) {
    std::erase_if(kept_, [&](const auto& entry) { return entry.first.set == set; });
}

void ContextCache::keep_at_most(size_t capacity) {
    capacity_ = capacity;
    while (kept_.size() > capacity_)
        kept_.erase(oldest());
}

void ContextCache::forget(const Slice& slice) {
    for (const auto& [key, kept] : kept_)
        kept.context->forget(slice);
}

}  // namespace rknpu2
