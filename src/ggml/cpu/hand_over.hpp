// SPDX-License-Identifier: MIT
// Memory that goes to the threads of the host's CPU backend, and comes back from them.
//
// The host's barriers order it. The thread sanitizer does not see those of OpenMP, and goes by these calls.
#pragma once

#include <atomic>
#include <cstdint>

namespace rknpu2 {

class HandOver {
  public:
    // Before the host computes, and when it is back.
    static void give() { given_.fetch_add(1, std::memory_order_release); }
    static void take_back() { given_back_.load(std::memory_order_acquire); }
    // In a function of ours that the host calls: before it reads anything, and when it has done all.
    static void take() { given_.load(std::memory_order_acquire); }
    static void give_back() { given_back_.fetch_add(1, std::memory_order_acq_rel); }

  private:
    inline static std::atomic<uint64_t> given_{0}, given_back_{0};
};

}  // namespace rknpu2
