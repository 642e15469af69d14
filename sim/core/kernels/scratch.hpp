// SPDX-License-Identifier: MIT
// Working memory of one running multiplication: a few buffers that only grow.
//
// A ScratchPool lends one Scratch to each run in progress, so as many exist as runs were ever simultaneous. A
// loan takes one short lock; nothing is allocated in the steady state.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/aligned_buffer.hpp"

namespace rknnsim {

class Scratch {
  public:
    enum Slot { kA, kB, kSums, kOutput, kResult, kSlots };

    // Room for `count` elements, contents undefined; nullptr when the host has no memory left.
    template <typename T>
    T* get(Slot slot, size_t count) {
        rknpu2::AlignedBuffer& buffer = buffers_[slot];
        if (buffer.size() < count * sizeof(T)) {
            buffer = {};
            auto grown = rknpu2::AlignedBuffer::allocate(count * sizeof(T));
            if (!grown.ok()) return nullptr;
            buffer = grown.take();
        }
        return buffer.as<T>();
    }
    // What `get` gave last.
    template <typename T>
    T* held(Slot slot) const {
        return buffers_[slot].as<T>();
    }

  private:
    rknpu2::AlignedBuffer buffers_[kSlots];
};

class ScratchPool {
  public:
    std::unique_ptr<Scratch> borrow() {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (free_.empty()) return std::make_unique<Scratch>();
        std::unique_ptr<Scratch> scratch = std::move(free_.back());
        free_.pop_back();
        return scratch;
    }
    void give_back(std::unique_ptr<Scratch> scratch) {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.push_back(std::move(scratch));
    }
    // Frees what is not on loan.
    void trim() {
        const std::lock_guard<std::mutex> lock(mutex_);
        free_.clear();
    }

  private:
    std::mutex mutex_;
    std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace rknnsim
