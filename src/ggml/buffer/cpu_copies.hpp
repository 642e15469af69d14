// SPDX-License-Identifier: MIT
// Stacks of experts in the layout that the host's CPU backend computes with fastest.
//
// ggml's CPU backend has kernels that want several rows of a weight interleaved. What is written to a buffer
// of a type of their own is laid out so. llama.cpp puts weights there when a model runs on the CPU, so experts
// that we leave to our inner CPU backend would be slower than without us: half as fast for single tokens in
// Q4_0. So a stack is copied when the CPU first computes it, and the copy stands in for the weight. Types
// without such a layout have no copy.
//
// Like packed weights, copies belong to the buffer of the raw weight, go with it, and are dropped when it is
// written to. Cost: the stack's bytes once more; of a mapped file the raw pages are given back. Thread safe.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "ggml/host/host.hpp"

namespace rknpu2 {

// Is there memory for `bytes` of a derived form of experts? A share of the machine's memory must stay free.
// kOutOfMemory: "needs 900 MiB; ..."
Status check_memory(size_t bytes);

// Takes the place of the raw weight; owns its buffer. Null: there is none.
using CpuCopy = std::shared_ptr<const ggml_tensor>;

class CpuCopies {
  public:
    // For the weight of a MUL_MAT_ID that has data, `offset` bytes into the buffer. Null where the
    // CPU backend computes with the raw weight as fast, or there is no memory for a copy (a warning, once).
    // `mapped`: the raw bytes are those of a shared mapping of a file; their pages are given back once they
    // are copied.
    CpuCopy get(Host& host, const ggml_tensor* node, size_t offset, bool mapped);

    // Bytes [offset, offset + bytes) of the buffer have been or are about to be written.
    void invalidate(size_t offset, size_t bytes);

  private:
    struct Entry {
        size_t bytes = 0;
        CpuCopy copy;
    };

    std::mutex mutex_;
    std::map<size_t, Entry> entries_;  // by offset
};

}  // namespace rknpu2
