// Files that somebody else may have put there: opened without waiting, read whole within a limit. And files
// that are written whole.
#pragma once

#include <cstdint>
#include <optional>
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

// Opens a regular file for reading, without waiting for a pipe's writer. Else kIo, with the path in the
// message.
Result<FileDescriptor> open_regular_file(const std::string& path);

// All of a regular file of at most `most` bytes. kIo, with the path in the message, when it is something else
// (a pipe, a device, a directory), larger, or cannot be read. Follows links.
Result<std::string> read_regular_file(const std::string& path, uint64_t most);

// The path with the process id for its first "%p".
std::string with_process_id(std::string path_pattern);

// What write_file_atomically() replaces: `path`, or the file that it leads to as a link; there need not be
// one yet. None when it is a terminal, a pipe, or one of the files in /dev and /proc that stand for what is
// open.
std::optional<std::string> replaceable_file(const std::string& path);

// Writes a file so that a reader sees either the old or the new content, whole, even after the power was cut.
// What is not replaceable is written to. kIo, with the path in the message. FILE.<process id>.part is there
// meanwhile; a link in its place is not followed.
Status write_file_atomically(const std::string& path, const std::string& content);

}  // namespace rknpu2
