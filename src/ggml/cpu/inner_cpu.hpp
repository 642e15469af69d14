// SPDX-License-Identifier: MIT
// The CPU backend that we own: it computes what the NPU does not, so that whole layers stay on one device.
//
// It is the host's own CPU backend, made when first needed, with a thread pool that lives as long as it does.
// Few nodes, as between two matmuls of a generated token, are computed by one thread: waking others would
// take longer. Weights in our memory that the NPU could multiply by are replaced by copies that suit the CPU (cpu_copies.hpp), and
// attention of few tokens is computed by our own code (attention_of_few.hpp). One object for each backend, used by one thread
// at a time, as ggml prescribes.
//
// The pool's threads, and the caller during compute(), run on the CPUs of GGML_RKNPU2_AFFINITY; the caller
// has its own affinity back afterwards. A CPU backend built with OpenMP computes with OpenMP's threads, which
// are the host's as well and outlive us; they have the host's affinity back when the object is destroyed by
// the thread that computed last. If fewer threads can be had than the host wants, those are used: ggml ends
// the process when it cannot start one.
#pragma once

#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "ggml/buffer/cpu_copies.hpp"
#include "ggml/cpu/attention_of_few.hpp"
#include "ggml/host/host_tensor.hpp"
#include "ggml/node/node.hpp"

namespace rknpu2 {

// Is a node enough work for several threads?
bool is_for_team(const GgmlFunctions& ggml, const ggml_tensor* node);

// May a node that the CPU computes read a copy in place of its weight?
bool has_copy(const GgmlFunctions& ggml, const ggml_tensor* node, const NodeDecision& decision);

class InnerCpu {
  public:
    // `abort` is asked between nodes; its yes leads to GGML_STATUS_ABORTED.
    InnerCpu(Host& host, ggml_abort_callback abort, void* abort_data)
        : host_(host), abort_(abort), abort_data_(abort_data), attention_of_few_(host) {}
    ~InnerCpu();
    InnerCpu(const InnerCpu&) = delete;
    InnerCpu& operator=(const InnerCpu&) = delete;

    void set_threads(int threads) { threads_ = threads > 1 ? threads : 1; }
    // With which it computes, if they can be had: no more than the CPUs of GGML_RKNPU2_AFFINITY.
    int threads() const;

    // Computes nodes [first, last) of the graph. `decisions`: of these; empty: all as they are.
    ggml_status compute(ggml_cgraph* graph, int first, int last,
                        std::span<const NodeDecision> decisions = {});

  private:
    Status create();
    Status create_pool(int wanted);
    bool use_pool(ggml_threadpool_params params, const std::vector<int>& cpus);
    void set_pool(ggml_threadpool_t pool);
    void free_pool();
    bool has_openmp() const;
    void give_threads_back();
    void use_stand_ins(ggml_cgraph& part, std::span<const NodeDecision> decisions);
    ggml_tensor* stand_in(ggml_tensor* node, const NodeDecision& decision);
    ggml_tensor* attention_stand_in(ggml_tensor* node);
    bool calls_functions();

    Host& host_;
    const ggml_abort_callback abort_;
    void* const abort_data_;
    int threads_ = 0;  // 0: not told yet
    ggml_backend_t backend_ = nullptr;
    ggml_threadpool_t pool_ = nullptr;
    decltype(&::ggml_threadpool_free) free_pool_ = nullptr;
    int pool_threads_ = 0;        // threads() that it was made for
    int granted_threads_ = 1;     // of them, what there is
    bool pins_ = false;           // does ggml change the affinity of who calls it?
    std::vector<int> host_cpus_;  // of the caller, before that
    std::thread::id caller_;      // the last one
    int current_threads_ = 0;
    int team_threads_ = 0;  // of the last computation by several

    // The running call's multiplications with copies of their weights, attentions, and all its nodes.
    std::deque<HostTensor> stand_ins_;
    std::vector<CpuCopy> copies_;
    AttentionOfFew attention_of_few_;
    std::vector<ggml_tensor*> nodes_;
};

// CPU backends of one thread each, for threads of ours that want to compute a few rows by the host's own
// functions: so the bits are those that the host would have got. Thread safe. A backend is made when none is
// free; all are freed with the object, also those that somebody who failed has not given back.
class OneThreadCpus {
  public:
    explicit OneThreadCpus(Host& host) : host_(host) {}
    ~OneThreadCpus();

    // For the calling thread alone until it is given back; null if the host has no CPU backend or no memory.
    ggml_backend_t take() noexcept;
    void give_back(ggml_backend_t backend) noexcept;

  private:
    Host& host_;
    std::mutex mutex_;  // guards what follows
    std::vector<ggml_backend_t> all_;
    std::vector<ggml_backend_t> idle_;  // has room for all
};

// How many threads a CPU backend of the host's computes with from now on.
void set_cpu_threads(const Host& host, ggml_backend_t backend, int threads);

// Computes one node by a CPU backend, as a graph of its own without use counts.
ggml_status compute_node(const Host& host, ggml_backend_t backend, ggml_tensor* node);

}  // namespace rknpu2
