// Work that may crash or hang, such as what a vendor's library does, in a process of its own that tells what
// it does by messages. What it told stays, whatever becomes of it.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/file.hpp"
#include "base/status.hpp"

namespace rknpu2 {

class WatchedProcess {
  public:
    using Send = std::function<void(const std::string& message)>;

    // A copy of this process does `work` and ends, with the exit status 0 after it returns. Only from a
    // process with one thread, since the copy has no other. The copy dies with this process.
    static Result<WatchedProcess> start(const std::function<void(const Send& send)>& work);

    WatchedProcess(WatchedProcess&&) noexcept;
    WatchedProcess& operator=(WatchedProcess&&) = delete;
    ~WatchedProcess();  // kills it when it has not ended

    // The next message. None when there are no more, since it has ended by itself or because nothing came for
    // `patience` (empty: for ever) and it was killed; ending() tells.
    std::optional<std::string> next(std::optional<std::chrono::milliseconds> patience);

    // Once next() gave none: empty after a good end, else what happened, for people.
    const std::string& ending() const { return ending_; }
    // It was killed and is there all the same: it hangs in the kernel.
    bool stuck() const { return stuck_; }

  private:
    WatchedProcess(pid_t pid, FileDescriptor pipe) : pid_(pid), pipe_(std::move(pipe)) {}

    std::optional<std::string> take_message();
    void end(const std::string& why);

    pid_t pid_;  // 0: gone
    FileDescriptor pipe_;
    std::string received_;
    std::string ending_;
    bool stuck_ = false;
};

}  // namespace rknpu2
