// A directory of files that can be made again, with a bound on what they take together.
//
// Files are known by name and never change: one is written under a name of its own and renamed when it is
// whole, so any number of processes may read and write at once and the last rename wins. There is no index.
// The directory is made for its owner alone; one that everybody may write to is not used, since what lies
// there is taken for ours. Links are not followed.
//
// Room is made by removing files that were longest unused (reading a file sets its time), but never one that
// was used since this object was made: a model that is larger than the bound keeps a part of itself here,
// instead of each of its weights driving out the next. Only names that end in the suffix are ever removed,
// and unfinished files an hour old. Thread safe.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <mutex>
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

class CacheDirectory {
  public:
    CacheDirectory(std::string path, std::string suffix, uint64_t limit_bytes);

    std::string path_of(const std::string& name) const { return path_ + "/" + name + suffix_; }

    struct Opened {
        FileDescriptor file;  // not open: there is none
        uint64_t bytes = 0;
    };
    // For reading. Fails when there is something else of that name, or it cannot be read; a directory that
    // cannot be used has no files (start() says why).
    Result<Opened> open(const std::string& name);

    // A file that is being written; it goes when nobody commits it.
    class Unfinished {
      public:
        Unfinished(FileDescriptor file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
        Unfinished(Unfinished&& other) noexcept
            : file_(std::move(other.file_)), path_(std::exchange(other.path_, {})) {}
        Unfinished& operator=(Unfinished&&) = delete;
        ~Unfinished();
        int number() const { return file_.number(); }

      private:
        friend class CacheDirectory;
        FileDescriptor file_;
        std::string path_;
    };
    // Makes room for a file of that size and starts it; nothing when there is no room to be made.
    Result<std::optional<Unfinished>> start(uint64_t bytes);
    // Gives it its name, in place of what had it before.
    Status commit(Unfinished file, const std::string& name);

  private:
    Status prepare();
    bool make_room(uint64_t bytes);

    const std::string path_;
    const std::string suffix_;
    const uint64_t limit_bytes_;
    timespec since_{};  // as the file system tells time

    std::mutex mutex_;  // guards what follows
    std::optional<Status> prepared_;
    std::optional<uint64_t> used_bytes_;  // about: other processes write, too
};

}  // namespace rknpu2
