// CPU backends of one thread each, for threads of ours that want to compute a few rows by the host's own
// functions: so the bits are those that the host would have got.
//
// Thread safe. A backend is made when none is free.
#pragma once

#include <mutex>
#include <vector>

#include "ggml/host.hpp"

namespace rknpu2 {

class OneThreadCpus {
  public:
    explicit OneThreadCpus(Host& host) : host_(host) {}
    ~OneThreadCpus();
    OneThreadCpus(const OneThreadCpus&) = delete;
    OneThreadCpus& operator=(const OneThreadCpus&) = delete;

    // For the calling thread alone until it is given back; null if the host has no CPU backend or no memory.
    ggml_backend_t take();
    void give_back(ggml_backend_t backend);

  private:
    Host& host_;
    std::mutex mutex_;  // guards what follows
    std::vector<ggml_backend_t> idle_;
};

}  // namespace rknpu2
