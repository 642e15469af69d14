// SPDX-License-Identifier: MIT
// A node FLASH_ATTN_EXT whose products the NPU does, and whose odd tokens the host's CPU backend computes.
#pragma once

#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/node/attention.hpp"

namespace rknpu2 {

// Some of its sequences, one after the other, in a place of `attention`: for who has the device and its lane.
class NodeAttention {
  public:
    NodeAttention(Host& host, OneThreadCpus& one_thread_cpus, NpuAttention& attention, size_t place)
        : host_(host), one_thread_cpus_(one_thread_cpus), attention_(attention), place_(place) {}

    // The sequences are layers `layer`, `layer` + 1, ... of `attention`. The node must stay as it is until all is done.
    void begin(const ggml_tensor* node, uint64_t layer, int domain);
    // As those of NpuAttention.
    bool may_step() const { return attention_.may_step(place_); }
    Result<bool> step();

  private:
    void begin_sequence();

    Host& host_;
    OneThreadCpus& one_thread_cpus_;
    NpuAttention& attention_;
    const size_t place_;
    const ggml_tensor* node_ = nullptr;
    uint64_t layer_ = 0;
    int domain_ = 0;
    int64_t sequence_ = 0;
};

// Takes the device, and computes the node alone. False: the NPU has no room for it, and the CPU must compute it;
// counted, and told once. `abort` is asked between its steps; its yes leads to kAborted.
Result<bool> attend_alone(Host& host, OneThreadCpus& one_thread_cpus, const ggml_tensor* node,
                          ggml_abort_callback abort, void* abort_data);

}  // namespace rknpu2
