// The NPU of this machine as the rest of the plug-in sees it: pack a weight, multiply by it.
//
// One object a process and runtime, shared by every model, context and thread. A multiplication has the whole
// NPU to itself (a lock): it quantises the activations once into memory that all cores read - unless the one
// before has left them there -, gives each core its tiles, and turns results into floats on the thread that
// ran them. A row of a result depends on its own row of activations and on the weight only: not on M, the
// other rows, the cores or the threads (the naive precision excepted, which has one scale for all rows).
//
// A failing run fails the call with a Status; the context it happened in is thrown away and the device stays
// usable.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/config.hpp"
#include "base/status.hpp"
#include "base/thread_pool.hpp"
#include "matmul/activations.hpp"
#include "matmul/context_cache.hpp"
#include "matmul/device_memory.hpp"
#include "matmul/packed_weight.hpp"
#include "matmul/packing_progress.hpp"
#include "matmul/statistics.hpp"
#include "matmul/statistics_library.hpp"
#include "matmul/weight_cache.hpp"
#include "matmul/weight_source.hpp"
#include "matmul/work_areas.hpp"
#include "runtime/npu_runtime.hpp"

namespace rknpu2 {

class NpuDevice : public std::enable_shared_from_this<NpuDevice> {
  public:
    // Use through a shared_ptr: packed weights keep their device alive.
    NpuDevice(std::unique_ptr<NpuRuntime> runtime, const Config& config, Statistics& statistics);
    ~NpuDevice();

    const RuntimeInfo& info() const { return runtime_->info(); }
    const Config& config() const { return config_; }
    Statistics& statistics() { return statistics_; }

    // What weights that are packed from now on may use. Before the first pack().
    void use_statistics(std::unique_ptr<StatisticsLibrary> library);

    // Thread safe. The precision must not be kReference, which has no packed form.
    Result<std::shared_ptr<PackedWeight>> pack(const WeightSource& source);

    // out[m * N + n] = sum over k of a[m * K + k] * weight[n][k], m < M. `planes`: 1 leaves out the second
    // plane of a weight that has two, to measure what it is worth; 0: as packed. Thread safe.
    Status multiply(const PackedWeight& weight, const Activations& input, float* out, size_t planes = 0);
    Status multiply(const PackedWeight& weight, const float* a, size_t M, float* out, size_t planes = 0) {
        return multiply(weight, {a, M, 0}, out, planes);
    }
    // A version for Activations that no other matrix has, at any time. Thread safe.
    uint64_t new_version() { return ++last_version_; }

    // The same by float64 arithmetic on the CPU from the stored weight. Thread safe.
    Status multiply_reference(const WeightSource& source, const float* a, size_t M, float* out);

    // Device memory that packed weights and work areas hold now, in bytes.
    size_t device_bytes();

  private:
    struct Step;
    struct Call;

    Status schedule(Call& call);
    Status add_step(Call& call, size_t chunk, size_t segment, size_t tile,
                    const DeviceMemoryPool::Slice& result);
    Status run(const Call& call);
    Status run_core(const Call& call, int core, const CachedContext*& failed);
    static void dequantise(const Call& call, const Step& step);
    static void prepare_result(const Call& call, size_t chunk, const NTile& tile, float* out);
    Status allocate_cells(PackedWeight& packed);
    Status fill(const WeightSource& source, const ChannelStatistics* statistics, PackedWeight& packed);
    void release(const PackedWeight& weight);
    Recipe recipe_for(const std::optional<StatisticsLibrary::Found>& found) const;

    std::unique_ptr<NpuRuntime> runtime_;
    Config config_;
    Statistics& statistics_;
    ThreadPool pool_;

    std::atomic<uint64_t> last_version_{0};
    PackingProgress progress_;
    std::unique_ptr<StatisticsLibrary> library_;  // may be null
    std::unique_ptr<WeightCache> cache_;          // may be null

    std::mutex mutex_;  // guards what follows
    DeviceMemoryPool memory_;
    ContextCache contexts_;
    WorkAreas areas_;
    ActivationStore activations_;
    std::vector<std::vector<Step>> steps_;  // by core, of the running call
    size_t packed_weights_ = 0;
};

// CPU threads that a configuration asks for: its own number, or the machine's fast cores.
int cpu_threads(const Config& config);

// Threads of the device's own team: those, and one for each NPU core, since a run blocks; but never more than
// there are CPUs only to wait.
int team_size(const Config& config);

// CPUs for our threads: the configured ones, else the Cortex-A76 cores of an RK3588, else any (empty).
std::vector<int> cpu_affinity(const Config& config);

}  // namespace rknpu2
