// Files that somebody else may have put there: opened without waiting, read whole within a limit.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/status.hpp"

namespace rknpu2 {

// Owns an open file.
class FileDescriptor {
  public:
    FileDescriptor() = default;
    explicit FileDescriptor(int number) : number_(number) {}
    FileDescriptor(FileDescriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        std::swap(number_, other.number_);
        return *this;
    }
    ~FileDescriptor();

    int number() const { return number_; }
    bool is_open() const { return number_ >= 0; }
    // Says whether all that was written has arrived.
    bool close();

  private:
    int number_ = -1;
};

// All of a regular file of at most `most` bytes. kIo, with the path in the message, when it is something else
// (a pipe, a device, a directory), larger, or cannot be read. Follows links.
Result<std::string> read_regular_file(const std::string& path, uint64_t most);

}  // namespace rknpu2
