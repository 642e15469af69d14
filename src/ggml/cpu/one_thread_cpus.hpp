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
    OneThreadCpus(const OneThreadCpus&) = delete;
    OneThreadCpus& operator=(const OneThreadCpus&) = delete;

    // For the calling thread alone until it is given back; null if the host has no CPU backend or no memory.
    ggml_backend_t take() noexcept;
    void give_back(ggml_backend_t backend) noexcept;

  private:
    ggml_backend_t make();

    Host& host_;
    std::mutex mutex_;  // guards what follows
    std::vector<ggml_backend_t> all_;
    std::vector<ggml_backend_t> idle_;  // has room for all
};

}  // namespace rknpu2
