// SPDX-License-Identifier: MIT
// Locks parts of an address range: several threads may hold a part shared, or one holds it alone. Threads
// whose parts do not overlap never wait.
//
// A thread must not take a second part of one lock while it holds a first. Cost: linear in the parts that are
// held.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

namespace rknnsim {

class RangeLock {
  public:
    void take(size_t begin, size_t end, bool shared);
    // What take() was given.
    void give_back(size_t begin, size_t end, bool shared);

    class Hold {
      public:
        Hold(RangeLock& lock, size_t begin, size_t end, bool shared)
            : lock_(lock), begin_(begin), end_(end), shared_(shared) {
            lock_.take(begin, end, shared);
        }
        ~Hold() { lock_.give_back(begin_, end_, shared_); }
        Hold(const Hold&) = delete;
        Hold& operator=(const Hold&) = delete;

      private:
        RangeLock& lock_;
        const size_t begin_, end_;
        const bool shared_;
    };

  private:
    struct Part {
        size_t begin, end;
        bool shared;

        bool operator==(const Part&) const = default;
    };

    std::mutex mutex_;  // guards what follows
    std::condition_variable given_back_;
    std::vector<Part> parts_;
};

}  // namespace rknnsim
