// SPDX-License-Identifier: MIT
// Work that may crash or hang, such as what a vendor's library does, in a process of its own that tells what
// it does by messages. What it told stays, whatever becomes of it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/status.hpp"
#include "system/file.hpp"

namespace rknpu2 {

class WatchedProcess {
  public:
    // What the copy has of the connection.
    class Link {
      public:
        explicit Link(int socket) : socket_(socket) {}
        void tell(const std::string& message) const;
        // Returns once the other side has called answer(), so that nothing happens before that.
        void ask(const std::string& message) const;

      private:
        int socket_;
    };

    // A copy of this process does `work` and ends, with the exit status 0 after it returns. Only from a
    // process with one thread, since the copy has no other. The copy dies with this process.
    static Result<WatchedProcess> start(const std::function<void(const Link& link)>& work);

    WatchedProcess(WatchedProcess&&) noexcept;
    WatchedProcess& operator=(WatchedProcess&&) = delete;
    ~WatchedProcess();  // kills it when it has not ended

    // The next message. None when there are no more, since it has ended by itself or because nothing came for
    // `patience` (empty: for ever) and it was killed; ending() tells.
    std::optional<std::string> next(std::optional<std::chrono::milliseconds> patience);
    // Lets a copy that asks go on.
    void answer() const;

    // Once next() gave none: empty after a good end, else what happened, for people.
    const std::string& ending() const { return ending_; }
    // It was killed and is there all the same: it hangs in the kernel.
    bool stuck() const { return stuck_; }

  private:
    WatchedProcess(pid_t pid, FileDescriptor socket) : pid_(pid), socket_(std::move(socket)) {}

    bool receive(void* to, size_t bytes) const;
    bool is_reaped(int& status) const;
    void await_end();
    void kill_it(const std::string& why);

    pid_t pid_;  // 0: gone
    FileDescriptor socket_;
    std::string ending_;
    bool stuck_ = false;
};

}  // namespace rknpu2
