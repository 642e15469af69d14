// SPDX-License-Identifier: MIT
// A node FLASH_ATTN_EXT whose products the NPU does, and whose odd tokens the host's CPU backend computes.
#pragma once

#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/node/attention.hpp"

namespace rknpu2 {

// Computes all sequences of the node, for who has the device and its lane. The sequences are layers `layer`,
// `layer` + 1, ... of `attention` (NpuAttention::run). Results and failures as there.
Status attend(Host& host, OneThreadCpus& one_thread_cpus, NpuAttention& attention, const ggml_tensor* node,
              uint64_t layer, int domain, const NpuAttention::Work& work);

// Takes the device, and computes the node alone. False: the NPU has no room for it, and the CPU must compute it;
// counted, and told once.
Result<bool> attend_alone(Host& host, OneThreadCpus& one_thread_cpus, const ggml_tensor* node);

}  // namespace rknpu2
