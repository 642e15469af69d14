// SPDX-License-Identifier: MIT
// CPU backends of one thread each, for threads of ours that want to compute a few rows by the host's own
// functions: so the bits are those that the host would have got.
//
// Thread safe. A backend is made when none is free; all are freed with the object, also those that somebody
// who failed has not given back.
#pragma once

#include <mutex>
#include <vector>

#include "ggml/host/host.hpp"

namespace rknpu2 {

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
