// SPDX-License-Identifier: MIT
#include "device/context_cache.hpp"

#include <algorithm>

#include "base/format.hpp"

namespace rknpu2 {
Result<View> CachedContext::view(Operand operand, size_t row_index, const DeviceMemoryPool::Slice& slice,
                                 size_t bytes) {
    const View view{slice.id, context_->operand_bytes(operand, row_index), &slice.memory(), slice.offset,
                    slice.alone()};
    if (view.bytes > bytes) {
        return Status(StatusCode::kDeviceError,
                      format("the runtime wants %zu bytes where the layout has %zu", view.bytes, bytes));
    }
    if (view.whole || imports_.contains(view)) return view;
    Result<std::unique_ptr<NpuMemory>> imported = DeviceMemoryPool::import_into(*context_, slice, view.bytes);
    RKNPU2_RETURN_IF_ERROR(imported.status());
    imports_.emplace(view, imported.take());
    return view;
}

Status CachedContext::bind(Operand operand, const View& view, View& bound) {
    if (bound == view) return {};
    bound = {};
    RKNPU2_RETURN_IF_ERROR(context_->bind(operand, view.whole ? *view.memory : *imports_.at(view)));
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

void CachedContext::forget(const DeviceMemoryPool::Slice& slice) {
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
    ++call_;
    keep_at_most(capacity_);
}

Result<CachedContext*> ContextCache::get(const ContextKey& key) {
    if (const auto known = by_key_.find(key); known != by_key_.end()) {
        order_.splice(order_.begin(), order_, known->second);
        order_.front().call = call_;
        return order_.front().context.get();
    }
    if (order_.size() >= capacity_ && order_.back().call != call_) drop_last();
    Result<std::unique_ptr<NpuContext>> made =
        runtime_.create_context({key.arithmetic, key.K, key.N, rows_, key.core, key.domain});
    RKNPU2_RETURN_IF_ERROR(made.status());
    order_.push_front({std::make_unique<CachedContext>(key, made.take(), coherency_), call_});
    by_key_.emplace(key, order_.begin());
    return order_.front().context.get();
}

void ContextCache::drop(const CachedContext* context) {
    const auto entry = std::find_if(order_.begin(), order_.end(),
                                    [&](const Kept& kept) { return kept.context.get() == context; });
    if (entry == order_.end()) return;
    by_key_.erase(entry->context->key());
    order_.erase(entry);
}

void ContextCache::drop_last() {
    by_key_.erase(order_.back().context->key());
    order_.pop_back();
}

void ContextCache::clear() {
    by_key_.clear();
    order_.clear();
}

void ContextCache::keep_at_most(size_t capacity) {
    capacity_ = capacity;
    while (order_.size() > capacity_)
        drop_last();
}

void ContextCache::forget(const DeviceMemoryPool::Slice& slice) {
    if (slice.id == 0) return;
    for (const Kept& kept : order_)
        kept.context->forget(slice);
}

}  // namespace rknpu2
