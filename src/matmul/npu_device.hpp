// SPDX-License-Identifier: MIT
// The NPU of this machine as the rest of the plug-in sees it: pack a weight, multiply by it.
//
// One object a process and runtime, shared by every model, context and thread. It keeps what calls use
// (npu_resources.hpp), and brings weights into device memory. A row of a result depends on its own row of
// activations and on the weight only: not on M, the other rows, the cores or the threads, nor on other
// weights that share a run (the naive precision excepted, which has one scale for all rows).
//
// When the NPU fails, what GGML_RKNPU2_ON_ERROR says is done. If that does not help, the call fails and the
// device stays usable. A result is the fault-free one, bit by bit, unless the CPU computed it.
//
// Thread safe, but for use_stats(), use_lock() and use_start_wait(), which come before everything else.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "calibration/stats_library.hpp"
#include "matmul/multiplication.hpp"
#include "system/start_wait.hpp"
#include "weights/packer.hpp"
#include "weights/weight_cache.hpp"

namespace rknpu2 {

class NpuDevice : public std::enable_shared_from_this<NpuDevice> {
  public:
    // Use through a shared_ptr: packed weights keep their device alive. `coherency` null: owner.
    NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Counters& counters,
              std::unique_ptr<Coherency> coherency = nullptr);

    const RuntimeInfo& info() const { return npu_.runtime->info(); }
    const Config& config() const { return npu_.config; }
    const Coherency& coherency() const { return *npu_.coherency; }
    Counters& counters() { return npu_.counters; }
    Status check_process() const { return npu_.check_process(); }
    // For an NpuFlow, the other way to multiply.
    NpuResources& resources() { return npu_; }

    // What weights that are packed from now on may use.
    void use_stats(std::unique_ptr<StatsLibrary> library) { library_ = std::move(library); }
    // What keeps other processes from the NPU during a multiplication; null: nothing.
    void use_lock(std::unique_ptr<DeviceLock> lock) { npu_.lock = std::move(lock); }
    // Patience with a first weight that finds no device memory; null: none.
    void use_start_wait(std::unique_ptr<StartWait> wait) { start_wait_ = std::move(wait); }

    // Device memory for weights that will be multiplied by the same activations, side by side, so that a run
    // can do several of them. One for each source, in their order. When there is none, `attempts` says
    // whether to try again as GGML_RKNPU2_ON_ERROR has it. kTrial: weights that somebody measures with. They wait
    // for memory at the start only, are neither kept nor listed, and do not end the patience with a model's.
    enum class Attempts { kOne, kAsSet, kTrial };
    Result<std::vector<ReservedWeight>> reserve(std::span<const WeightSource> sources,
                                                Attempts attempts = Attempts::kAsSet);
    // Did the last weight find no device memory, and has none been given back since?
    bool is_full();
    bool has_weight_cache() const { return cache_ != nullptr; }
    // Loads what the cache has of them, each on one thread, many at a time. pack() is still to be called for
    // each. Without a cache nothing happens.
    void load(std::span<ReservedWeight> weights);
    // The precision must not be kReference, which has no packed form.
    Result<std::shared_ptr<const PackedWeight>> pack(ReservedWeight reserved);
    Result<std::shared_ptr<const PackedWeight>> pack(const WeightSource& source);

    using Product = Multiplication::Product;
    // All products; those that want their activations in the same form share the work on them, and runs. The
    // results do not depend on what is done together. With an epilogue, for which all weights must have the
    // same N, the results go there; the outputs may then hold anything.
    Status multiply(std::span<const Product> products, const Activations& input,
                    Epilogue* epilogue = nullptr);
    Status multiply(const PackedWeight& weight, const Activations& input, float* out, size_t planes = 0) {
        const Product product{&weight, out, planes};
        return multiply({&product, 1}, input);
    }
    Status multiply(const PackedWeight& weight, const float* a, size_t M, float* out, size_t planes = 0) {
        return multiply(weight, {a, M, 0}, out, planes);
    }

    // Grows when a multiplication waits for another thread or process, when one fails, and when the CPU does one instead:
    // times of such are not the NPU's.
    uint64_t disturbances() const;

    // A multiplication by a weight that is not packed.
    struct StoredProduct {
        WeightSource source;
        float* out = nullptr;
    };
    // Is the CPU to multiply by weights that could not be packed for this reason (GGML_RKNPU2_ON_ERROR)?
    bool does_without_packing(const Status& failure) const;
    // Does so, in float64 arithmetic, and counts it among the faults. The epilogue is as in multiply().
    Status multiply_stored(std::span<const StoredProduct> products, const Activations& input,
                           Epilogue* epilogue = nullptr);
    // Multiplies in float64 arithmetic on the CPU by the weight as it is stored.
    Status multiply_reference(const WeightSource& source, const float* a, size_t M, float* out);

    // A backend was freed. Without weights, what attention has left is worth nothing.
    void drop_if_idle();

    // A version for Activations that no other matrix has, at any time.
    uint64_t new_version() { return ++last_version_; }

  private:
    Recipe recipe_for(const WeightSource& source, const std::optional<StatsLibrary::Found>& found) const;
    Status check_moments(const WeightSource& source, const std::optional<StatsLibrary::Found>& found);
    Status allocate_cells(std::span<ReservedWeight> group);
    Status allocate_or_recover(std::span<ReservedWeight> group, const std::string& names, Attempts attempts);
    void look_up(ReservedWeight& reserved, ThreadPool& pool);
    Result<std::shared_ptr<const PackedWeight>> load_or_pack(ReservedWeight& reserved);
    void note_unpacked(const Status& failure, const std::string& name);
    void note_written(const WeightCells& cells);
    void release(const WeightCells& cells);

    NpuResources npu_;
    std::atomic<uint64_t> last_version_{0};
    std::atomic<uint64_t> waits_{0};  // of multiplications, for other threads
    PackingProgress packing_{"packing weights for the NPU"};
    PackingProgress loading_{"loading packed weights"};
    std::unique_ptr<StatsLibrary> library_;  // may be null
    std::atomic<bool> eight_bits_told_{false};
    std::unique_ptr<WeightCache> cache_;     // may be null
    std::unique_ptr<StartWait> start_wait_;  // may be null

    // Guarded by the mutex of the resources:
    Multiplication::Buffers buffers_;
    size_t packed_weights_ = 0;
    bool full_ = false;  // the last weight found no memory, whatever was tried, and none was given back since
};

}  // namespace rknpu2
