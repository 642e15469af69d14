// SPDX-License-Identifier: MIT
// The contexts we keep: one for each (arithmetic, K, N, core, domain) in use; the least recently used goes
// first.
//
// Making a context is slow, and a process may not have any number of them (recovery.hpp), so weights of
// a shape share one. It remembers the parts of device memory that it has imported and what is bound to it, by
// slice id and length, never by an address. Not thread safe as a whole; different contexts may be used by
// different threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "device/device_memory.hpp"

namespace rknpu2 {

// The first `bytes` from where a slice begins. They may reach into the slices behind it, when one run reads
// several cells (RunList).
struct View {
    uint64_t slice = 0;  // 0: none
    size_t bytes = 0;
    NpuMemory* memory = nullptr;  // that the slice is of
    size_t offset = 0;            // there
    bool whole = false;           // it is all of the memory, which is bound as it is; else an import is

    auto operator<=>(const View&) const = default;  // NOLINT(modernize-use-nullptr): the check trips over <=>
};

// What tells one context from another: all of a ContextSpec but the row counts, which are the same for all.
struct ContextKey {
    NpuArithmetic arithmetic = NpuArithmetic::kInt8;
    size_t K = 0;
    size_t N = 0;
    int core = 0;
    int domain = 0;
    // Who uses it. Attention asks for views while a flow's multiplications run, so none of its contexts is theirs.
    enum Set : uint8_t { kProducts, kAttention } set = kProducts;

    auto operator<=>(const ContextKey&) const = default;  // NOLINT(modernize-use-nullptr): as above
};

class CachedContext {
  public:
    // Imports that a context of attention keeps; those of products are as many as the weights.
    static constexpr size_t kMostImports = 512;

    CachedContext(const ContextKey& key, std::unique_ptr<NpuContext> context, Coherency& coherency)
        : key_(key), context_(std::move(context)), coherency_(coherency) {}

    const ContextKey& key() const { return key_; }

    // The operand when row count `row_index` is selected, from the beginning of `slice` on, where there are
    // `bytes`. Fails if the runtime wants more. May be called on any thread while the context runs; prepare() imports.
    Result<View> described(Operand operand, size_t row_index, const Slice& slice, size_t bytes) const;
    // The same, and imports what must be. Not while the context runs, unless it has been imported.
    Result<View> view(Operand operand, size_t row_index, const Slice& slice, size_t bytes);

    // As view() until that has succeeded once, then as described(): a runtime that refuses such slices says so before a run
    // wants one.
    Result<View> tried(Operand operand, size_t row_index, const Slice& slice, size_t bytes);

    Status activations_written(const View& view) {
        return coherency_.activations_written(*context_, *view.memory, view.bytes);
    }

    // Selects the row count and binds what is not bound already; imports what has not been.
    Status prepare(size_t row_index, const View& activations, const View& weights, const View& result);
    // Runs what prepare() bound and makes the result visible to the CPU.
    Status run();
    // How the first run failed that did so here. The context is not trusted any more: whatever asks for a run after that fails
    // likewise, until drop_failed(). For the thread that has its runs.
    const Status& failure() const { return failure_; }
    void fail(const Status& failure) { failure_ = failure; }

    // Drops all views that touch a slice that is about to be freed.
    void forget(const Slice& slice);

  private:
    Status import(const View& view);
    Status bind(Operand operand, const View& view, View& bound);

    ContextKey key_;
    std::unique_ptr<NpuContext> context_;
    Coherency& coherency_;
    std::map<View, std::unique_ptr<NpuMemory>> imports_;  // destroyed before the context
    size_t row_index_ = SIZE_MAX;
    View activations_;
    View weights_;
    View result_;
    Status failure_;
    bool has_tried_ = false;
};

class ContextCache {
  public:
    // rows: the row counts that contexts are made for, the first bucket_count() of them.
    ContextCache(NpuRuntime& runtime, Coherency& coherency, std::vector<size_t> rows, size_t capacity)
        : runtime_(runtime), coherency_(coherency), rows_(std::move(rows)), capacity_(capacity) {}

    // What is asked for from now on stays until the next call begins, even beyond `capacity`. Nothing runs now.
    void begin_call();
    Result<CachedContext*> get(const ContextKey& key);
    // Those that have failed, while none of the set runs.
    void drop_failed(ContextKey::Set set);
    void drop_set(ContextKey::Set set);
    void forget(const Slice& slice);
    void clear() { kept_.clear(); }
    // From now on; those beyond, the least recently used, are dropped.
    void keep_at_most(size_t capacity);
    size_t size() const { return kept_.size(); }
    size_t capacity() const { return capacity_; }

  private:
    struct Kept {
        std::unique_ptr<CachedContext> context;
        uint64_t used = 0;  // the number of get() that asked for it last
    };
    using Contexts = std::map<ContextKey, Kept>;
    Contexts::iterator oldest();

    NpuRuntime& runtime_;
    Coherency& coherency_;
    std::vector<size_t> rows_;
    size_t capacity_;
    uint64_t uses_ = 0;
    uint64_t uses_before_ = 0;  // the running call
    Contexts kept_;
};

}  // namespace rknpu2
