// SPDX-License-Identifier: MIT
// Files that somebody else may have put there, opened without waiting and read within a limit; and files that
// are written whole.
//
// Every file of ours is opened by open_file(): a host may run with its standard streams closed (a daemon,
// `2>&-`), and what it writes to descriptor 2 must not end up in a file of ours.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>

#include "base/status.hpp"

namespace rknpu2 {

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
    int release() { return std::exchange(number_, -1); }
    // Says whether all that was written has arrived.
    bool close();

  private:
    int number_ = -1;
};

// open() and openat(): closed at exec, and never descriptor 0, 1 or 2. Not open, with errno, when that fails.
FileDescriptor open_file(const char* path, int flags, mode_t mode = 0);
FileDescriptor open_file_at(int directory, const char* path, int flags, mode_t mode = 0);

// A stream for writing to a new, empty file of that name. Null, with errno, when that fails.
std::FILE* open_stream_to(const std::string& path);

struct OpenedFile {
    FileDescriptor file;
    uint64_t bytes = 0;
};
// Opens a regular file for reading, without waiting for a pipe's writer. Else kIo, with the path in the
// message.
Result<OpenedFile> open_regular_file(const std::string& path);

// All of a regular file of at most `most` bytes; follows links. kIo, with the path in the message, when it is
// something else (a pipe, a device, a directory), larger, or cannot be read.
Result<std::string> read_regular_file(const std::string& path, uint64_t most);

// The path with the process id for its first "%p".
std::string with_process_id(std::string path_pattern);

// Returns what write_file_atomically() replaces: `path`, or what it leads to as a link, whether there is a file
// yet or not. None for a terminal, a pipe, and files in /dev and /proc that stand for what is open.
std::optional<std::string> replaceable_file(const std::string& path);

// While it lives, a write of this thread past RLIMIT_FSIZE fails with EFBIG; without it, SIGXFSZ would end the
// process.
class NoFileSizeSignal {
  public:
    NoFileSizeSignal();
    ~NoFileSizeSignal();
    NoFileSizeSignal(const NoFileSizeSignal&) = delete;
    NoFileSizeSignal& operator=(const NoFileSizeSignal&) = delete;

  private:
    bool blocked_ = false;  // by us
    sigset_t before_;
};

// All `bytes` at the offset. kIo without a path when there are fewer, or when that fails otherwise.
Status read_at(int file, void* to, size_t bytes, uint64_t offset);
// The limit of the size of files is a failure like others.
Status write_at(int file, const void* from, size_t bytes, uint64_t offset);

// Writes a file so that a reader sees the old or the new content, whole, even after the power was cut. What is
// not replaceable is written to. kIo, with the path in the message. Meanwhile there is FILE.<process id>.part;
// a link in its place is not followed.
Status write_file_atomically(const std::string& path, const std::string& content);

}  // namespace rknpu2
