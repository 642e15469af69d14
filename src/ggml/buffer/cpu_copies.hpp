// SPDX-License-Identifier: MIT
// Stacks of experts in the layout that the host's CPU backend computes with fastest.
//
// ggml's CPU backend has kernels that want several rows of a weight interleaved. It offers them as a buffer
// type of its own: what is written to such a buffer is laid out anew. llama.cpp puts weights there when a
// model runs on the CPU, so experts that we leave to our inner CPU backend would be slower than without us:
// half as fast for single tokens in Q4_0. Hence a copy is made, when a stack is first computed by the CPU,
// and stands in for the weight in the node that is computed. Types without such a layout have no copy.
//
// Like packed weights, copies are derived: they belong to the buffer of the raw weight, go with it, and are
// dropped when it is written to. Cost: the stack's bytes once more; of a mapped file the raw pages are given
// back. Thread safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "base/status.hpp"
#include "ggml/host/host.hpp"

namespace rknpu2 {

struct CpuCopy {
    CpuCopy(const Host& owner, const ggml_tensor& raw) : host(owner), tensor(raw) {}
    ~CpuCopy();
    CpuCopy(const CpuCopy&) = delete;
    CpuCopy& operator=(const CpuCopy&) = delete;

    const Host& host;
    ggml_backend_buffer_t buffer = nullptr;
    ggml_tensor tensor;  // takes the place of the raw weight
};

class CpuCopies {
  public:
    // For the weight of a GGML_OP_MUL_MAT_ID that has data. Null where the CPU backend computes with the raw
    // weight as well, or there is no memory for a copy (a warning, once). `mapped`: the raw bytes are those
    // of a file that is mapped and shared; their pages are given back once they are copied.
    std::shared_ptr<const CpuCopy> get(Host& host, const ggml_tensor* node, size_t offset, bool mapped);

    // Bytes [offset, offset + bytes) of the buffer have been or are about to be written.
    void invalidate(size_t offset, size_t bytes);
    bool empty() const;

  private:
    struct Entry {
        size_t bytes = 0;
        std::shared_ptr<const CpuCopy> copy;  // null: there is none
    };

    mutable std::mutex mutex_;
    std::map<size_t, Entry> entries_;  // by offset
};

}  // namespace rknpu2
