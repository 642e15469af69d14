// SPDX-License-Identifier: MIT
// The contexts we keep: one for each (arithmetic, K, N, core, domain) in use, the least recently used dropped
// first.
//
// Making a context is slow on the chip and a process may not have any number of them (context_limit.hpp), so
// they are shared by every weight of the same shape and kept. A cached context remembers the parts of device
// memory it has imported and what is bound to it. Memory is known by a slice id and a length, never by an
// address. Not thread safe as a whole; different contexts may be used by different threads.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <utility>

#include "device/coherency.hpp"
#include "device/device_memory.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

// `bytes` from the beginning of a slice; more than the slice has where others lie behind it (RunList). Its
// memory is bound as it is where the slice is all of it, else an import of the part.
struct View {
    uint64_t slice = 0;  // 0: none
    size_t bytes = 0;
    NpuMemory* memory = nullptr;  // that the slice is of
    size_t offset = 0;            // there
    bool whole = false;           // bound as it is

    auto operator<=>(const View&) const = default;  // NOLINT(modernize-use-nullptr): the check trips over <=>
};

// What tells one context from another: all of a ContextSpec but the row counts, which are the same for all.
struct ContextKey {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t K = 0;
    size_t N = 0;
    int core = 0;
    int domain = 0;

    auto operator<=>(const ContextKey&) const = default;  // NOLINT(modernize-use-nullptr): as above
};

class CachedContext {
  public:
    CachedContext(const ContextKey& key, std::unique_ptr<NpuContext> context, Coherency& coherency)
        : key_(key), context_(std::move(context)), coherency_(coherency) {}

    const ContextKey& key() const { return key_; }

    // The operand when row count `row_index` is selected, from the beginning of `slice` on, where there are
    // `bytes` bytes of it. Fails if the runtime wants more. What is not the whole of its memory is imported
    // at the first call; all others may be made on any thread while the context runs.
    Result<View> view(Operand operand, size_t row_index, const DeviceMemoryPool::Slice& slice, size_t bytes);

    // The CPU has written activations to the view.
    Status activations_written(const View& view) {
        return coherency_.activations_written(*context_, *view.memory, view.bytes);
    }

    // Selects the row count and binds what is not bound already.
    Status prepare(size_t row_index, const View& activations, const View& weights, const View& result);
    // Runs what prepare() bound and makes the result visible to the CPU.
    Status run();

    // Drops all views that touch a slice that is about to be freed.
    void forget(const DeviceMemoryPool::Slice& slice);

  private:
    Status bind(Operand operand, const View& view, View& bound);

    ContextKey key_;
    std::unique_ptr<NpuContext> context_;
    Coherency& coherency_;
    std::map<View, std::unique_ptr<NpuMemory>> imports_;  // destroyed before the context
    size_t row_index_ = SIZE_MAX;
    View activations_;
    View weights_;
    View result_;
};

class ContextCache {
  public:
    // rows: the row counts that every context is made for.
    ContextCache(NpuRuntime& runtime, Coherency& coherency, std::vector<size_t> rows, size_t capacity)
        : runtime_(runtime), coherency_(coherency), rows_(std::move(rows)), capacity_(capacity) {}

    // What is asked for from now on stays until the next call begins, or drop() or clear(), also when it is
    // more than `capacity`.
    void begin_call();
    Result<CachedContext*> get(const ContextKey& key);
    // After a failed run a context is not trusted any more.
    void drop(const CachedContext* context);
    void forget(const DeviceMemoryPool::Slice& slice);  // nothing, when it is none
    void clear();
    // From now on; those beyond, the least recently used, are dropped.
    void keep_at_most(size_t capacity);
    size_t size() const { return order_.size(); }
    size_t capacity() const { return capacity_; }

  private:
    struct Kept {
        std::unique_ptr<CachedContext> context;
        uint64_t call;  // that asked for it last
    };
    using Order = std::list<Kept>;
    void drop_last();

    NpuRuntime& runtime_;
    Coherency& coherency_;
    std::vector<size_t> rows_;
    size_t capacity_;
    uint64_t call_ = 0;
    Order order_;  // most recently used first
    std::map<ContextKey, Order::iterator> by_key_;
};

}  // namespace rknpu2
