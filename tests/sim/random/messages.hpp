// SPDX-License-Identifier: MIT
// What the simulator says on stderr, caught so that a step can be told from the next.
//
// The file is shared with the parent process, which shows the end of it when the child died: a sanitizer's
// report stands there.
#pragma once

#include <cstddef>
#include <string>

namespace rknnsim_random {

class Messages {
  public:
    Messages();  // throws std::runtime_error when there is no memory file
    ~Messages();
    Messages(const Messages&) = delete;
    Messages& operator=(const Messages&) = delete;

    // Sends this process's stderr here, from now on.
    void capture() const;
    // Forgets everything so far.
    void clear();
    // What came since the last call, or since clear().
    std::string fresh();
    // The last `bytes` of everything.
    std::string tail(size_t bytes) const;

  private:
    int fd_;
    size_t seen_ = 0;
};

// How many lines of `text` begin with `prefix`.
size_t count_lines(const std::string& text, const std::string& prefix);

}  // namespace rknnsim_random
