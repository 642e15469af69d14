// SPDX-License-Identifier: MIT
// What happened in this process, as numbers: matmuls, runs, bytes, refusals, time by phase.
//
// They are behind GGML_RKNPU2_STATS, the quickstart's summary and the tests that prove where something ran.
// Counting costs an atomic add; weights and refusals are rare and take a lock. Times are sums of wall time in
// each phase, to be read as shares.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "config/device_lock.hpp"
#include "plan/attention_policy.hpp"
#include "plan/policy.hpp"
#include "plan/support.hpp"

namespace rknpu2 {

struct RuntimeInfo;

enum class Phase {
    kMemory,
    kPack,
    kLoad,
    kStore,
    kQuantise,
    kNpu,
    kDequantise,
    kReference,
    kCpu,
    kPlan,
    kSoftmax
};
inline constexpr int kPhases = static_cast<int>(Phase::kSoftmax) + 1;

// What the cache of packed weights did (weight_cache.hpp).
struct WeightCacheCounters {
    std::atomic<uint64_t> loaded{0};
    std::atomic<uint64_t> loaded_ahead{0};  // of those, before a graph was begun, many at a time
    std::atomic<uint64_t> loaded_bytes{0};
    std::atomic<uint64_t> rejected{0};  // files that were there and could not be used
    std::atomic<uint64_t> written{0};
    std::atomic<uint64_t> written_bytes{0};
    std::atomic<uint64_t> not_written{0};  // for want of room or permission
};

// What went wrong on the NPU and what was done about it (device/recovery.hpp). Multiplications that are
// computed together count as one attempt.
struct FaultCounters {
    std::atomic<uint64_t> failed_runs{0};  // calls of the run function that were answered with an error
    std::atomic<uint64_t> failed{0};       // attempts that failed, for whatever reason
    std::atomic<uint64_t> retried{0};      // further attempts in new contexts
    std::atomic<uint64_t> reset{0};        // further attempts after everything was dropped
    std::atomic<uint64_t> by_cpu{0};       // multiplications that the CPU did in the end
    std::atomic<uint64_t> given_up{0};     // attempts after which nothing was left to do
};

// Attention on the NPU (attention/npu_attention.hpp).
struct AttentionCounters {
    std::atomic<uint64_t> nodes{0};                  // whose products the NPU did
    std::atomic<uint64_t> nodes_of_flows{0};         // those of them that were part of a flow
    std::atomic<uint64_t> runs{0};                   // of its products
    std::atomic<uint64_t> scores{0};                 // that the CPU weighed
    std::atomic<uint64_t> packed_bytes{0};           // of keys and values
    std::atomic<uint64_t> tokens_without_halves{0};  // computed by the CPU: they see what has no half
    std::atomic<uint64_t> without_memory{0};  // nodes that the CPU computed for want of memory or contexts
    std::atomic<uint64_t> few_tokens{0};      // on the CPU by our own code: sequences of nodes
    // By ggml's: no memory, a head that is too wide, or a host that calls no function of ours.
    std::atomic<uint64_t> few_tokens_by_host{0};
};

struct ContextCounters {
    std::atomic<uint64_t> kept{0};     // at most; 0: there is no NPU
    std::atomic<uint64_t> lowered{0};  // times that a failure made it fewer
};

// Maintenance of the CPU's cache, by what it was done for (coherency.hpp).
struct MaintenanceCounter {
    std::atomic<uint64_t> calls{0};
    std::atomic<uint64_t> bytes{0};
};
struct CoherencyCounters {
    MaintenanceCounter weights;       // memory that weights were packed or loaded into
    MaintenanceCounter activations;   // cubes, before the first run that reads them
    MaintenanceCounter result_areas;  // memory of results, when it was made
    MaintenanceCounter results;       // after the run
};

struct WeightRecord {
    std::string name;
    std::string type;
    size_t K = 0;
    size_t N = 0;
    std::string precision;  // "int8", "fp16" or "reference"
    size_t packed_bytes = 0;
    bool with_stats = false;  // of activations, when it was packed
    size_t planes = 1;        // of activations
    bool rotated = false;
    int expert = -1;             // which of a stack of experts; the others have records of the same name
    const void* data = nullptr;  // tells apart those that only ggml has named; never read
};

class Counters {
  public:
    std::atomic<uint64_t> npu_matmuls{0};
    std::atomic<uint64_t> reference_matmuls{0};
    std::atomic<uint64_t> int4_matmuls{0};
    std::atomic<uint64_t> int8_matmuls{0};
    std::atomic<uint64_t> fp16_matmuls{0};
    std::atomic<uint64_t> runs{0};
    std::atomic<uint64_t> graphs{0};
    std::atomic<uint64_t> cpu_segments{0};
    std::atomic<uint64_t> cpu_nodes{0};
    std::atomic<uint64_t> fused_nodes{0};           // computed in the pass over results of multiplications
    std::atomic<uint64_t> flows{0};                 // stretches of graphs whose rows went through in chunks
    std::atomic<uint64_t> flow_chunks{0};           // those chunks
    std::atomic<uint64_t> flow_nodes{0};            // their nodes, multiplications among them
    std::atomic<uint64_t> prompt_matmuls{0};        // multiplications of so many rows that they could flow
    std::atomic<uint64_t> flow_matmuls{0};          // those of them that were part of a flow
    std::atomic<uint64_t> flows_shortened{0};       // begun again with short chunks, for want of memory
    std::atomic<uint64_t> flows_without_memory{0};  // given up for want of memory, the device's or the host's
    std::atomic<uint64_t> flows_without_contexts{0};  // given up for want of contexts, and the like
    std::atomic<uint64_t> failures{0};
    std::atomic<uint64_t> activations_quantised{0};  // matrices made ready for the NPU
    std::atomic<uint64_t> split_rows{0};             // rows of activations that int4 had to cut into pieces
    std::atomic<uint64_t> activations_shared{0};     // and those that another multiplication had left
    std::atomic<uint64_t> cpu_tasks{0};              // parts quantised or dequantised
    std::atomic<uint64_t> overlapped_tasks{0};       // those of them that began while the NPU was at work
    std::atomic<uint64_t> weight_bytes{0};           // streamed by runs
    std::atomic<uint64_t> activation_bytes{0};       // written for the NPU
    std::atomic<uint64_t> result_bytes{0};           // read back from the NPU

    // Multiplications by plain matrices that the policy left to the CPU.
    std::atomic<uint64_t> matrices_on_cpu{0};
    // Stacks of experts laid out for the CPU (ggml/buffer/cpu_copies.hpp).
    std::atomic<uint64_t> cpu_copies{0};
    std::atomic<uint64_t> cpu_copy_bytes{0};
    std::atomic<uint64_t> cpu_copies_refused{0};  // for want of memory

    WeightCacheCounters weight_cache;
    AttentionCounters attention;
    FaultCounters faults;
    ContextCounters contexts;
    CoherencyCounters coherency;
    LockCounters device_lock;

    void add_time(Phase phase, uint64_t nanoseconds) { time_ns_[static_cast<size_t>(phase)] += nanoseconds; }
    uint64_t time_ns(Phase phase) const { return time_ns_[static_cast<size_t>(phase)]; }
    // Each distinct weight is listed once, whenever it is packed again; the experts of a stack as one.
    void add_weight(const WeightRecord& record);
    // A call that chooses among experts was computed there.
    void add_choice(const TargetChoice& choice) {
        choices_[static_cast<size_t>(choice.reason)] += 1;
        if (choice.reason != TargetReason::kReference)
            ++(choice.target == Target::kNpu ? experts_npu_ : experts_cpu_);
    }
    // A node of attention was left to the CPU.
    void add_attention_on_cpu(AttentionReason reason) { attention_on_cpu_[static_cast<size_t>(reason)] += 1; }
    // A stretch of many rows ended before the graph did. `what`: the operation that it ended before, and why.
    void add_flow_stop(const std::string& what);
    void add_refusal(Reason reason) { refusals_[static_cast<size_t>(reason)] += 1; }

    // The JSON text: see docs/statistics.md for the fields.
    std::string to_json(const Config& config, const RuntimeInfo& runtime, const std::string& version) const;

  private:
    std::array<std::atomic<uint64_t>, kPhases> time_ns_{};
    std::array<std::atomic<uint64_t>, kReasons> refusals_{};
    std::array<std::atomic<uint64_t>, kAttentionReasons> attention_on_cpu_{};
    std::array<std::atomic<uint64_t>, kTargetReasons> choices_{};
    std::atomic<uint64_t> experts_npu_{0};
    std::atomic<uint64_t> experts_cpu_{0};

    struct Listed {
        WeightRecord record;
        std::set<int> experts;  // empty for a plain matrix
    };
    mutable std::mutex mutex_;
    std::map<std::string, Listed> weights_;  // by name, type and shape
    std::map<std::string, uint64_t> flow_stops_;
};

// Adds the time from construction to destruction to a phase.
class PhaseTimer {
  public:
    PhaseTimer(Counters& counters, Phase phase);
    ~PhaseTimer();
    // The time belongs to another phase, from its start on.
    void becomes(Phase phase) { phase_ = phase; }
    PhaseTimer(const PhaseTimer&) = delete;
    PhaseTimer& operator=(const PhaseTimer&) = delete;

  private:
    Counters& counters_;
    Phase phase_;
    uint64_t start_ns_;
};

}  // namespace rknpu2
