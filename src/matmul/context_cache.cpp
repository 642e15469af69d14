#include "matmul/context_cache.hpp"

#include "base/format.hpp"

namespace rknpu2 {
Result<View> CachedContext::view(Operand operand, size_t row_index, const DeviceMemoryPool::Slice& slice,
                                 size_t bytes) {
    const View view{slice.id, context_->operand_bytes(operand, row_index)};
    if (imports_.contains(view)) return view;
    if (view.bytes > bytes) {
        return Status(StatusCode::kDeviceError,
                      format("the runtime wants %zu bytes where the layout has %zu", view.bytes, bytes));
    }
    Result<std::unique_ptr<NpuMemory>> imported = DeviceMemoryPool::import_into(*context_, slice, view.bytes);
    RKNPU2_RETURN_IF_ERROR(imported.status());
    imports_.emplace(view, Import{imported.take(), slice.slab, slice.offset});
    return view;
}

Status CachedContext::bind(Operand operand, const View& view, View& bound) {
    if (bound == view) return {};
    bound = {};
    RKNPU2_RETURN_IF_ERROR(context_->bind(operand, *imports_.at(view).memory));
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
    return context_->sync_from_device(*imports_.at(result_).memory);
}

void CachedContext::forget(const DeviceMemoryPool::Slice& slice) {
    std::erase_if(imports_, [&](const auto& entry) {
        const auto& [view, import] = entry;
        const bool touches = import.slab == slice.slab && import.offset < slice.offset + slice.bytes &&
                             slice.offset < import.offset + view.bytes;
        for (View* bound : {&activations_, &weights_, &result_}) {
            if (touches && *bound == view) *bound = {};
        }
        return touches;
    });
}

Result<CachedContext*> ContextCache::get(const ContextKey& key) {
    for (auto entry = order_.begin(); entry != order_.end(); ++entry) {
        if ((*entry)->key() != key) continue;
        order_.splice(order_.begin(), order_, entry);
        return order_.front().get();
    }
    if (order_.size() >= capacity_) order_.pop_back();
    Result<std::unique_ptr<NpuContext>> made =
        runtime_.create_context({key.arithmetic, key.K, key.N, rows_, key.core, key.domain});
    RKNPU2_RETURN_IF_ERROR(made.status());
    order_.push_front(std::make_unique<CachedContext>(key, made.take()));
    return order_.front().get();
}

void ContextCache::drop(const CachedContext* context) {
    std::erase_if(order_, [&](const auto& entry) { return entry.get() == context; });
}

void ContextCache::forget(const DeviceMemoryPool::Slice& slice) {
    for (const auto& entry : order_)
        entry->forget(slice);
}

}  // namespace rknpu2
