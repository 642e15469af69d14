// SPDX-License-Identifier: MIT
// A directory of files that can be made again, with a bound on what they take together.
//
// Files are known by name and never change. One is written under another name and renamed when it is whole,
// so any number of processes may read and write at once, and the last rename wins. There is no index.
//
// What lies there is taken for ours, so nobody else may put anything there. The directory is made for its
// owner alone. A directory or file that belongs to somebody else (the superuser counts as ourselves), or that
// others may write to, is not used. A link on the way to the directory is followed if it is ours; one in the
// place of a file is not. The directory is opened once and held: moving or replacing it changes nothing.
//
// Room is made at the first use, since the bound may be lower than before, and for each file that is written.
// The longest unused files go first (reading a file sets its time), but never one that was used since this
// object was made: of a model that is larger than the bound, a part stays here. Only names that end in the
// suffix are ever removed, and unfinished files an hour old. Thread safe.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "system/file.hpp"

namespace rknpu2 {

class FileCache {
  public:
    FileCache(std::string path, std::string suffix, uint64_t limit_bytes);

    std::string path_of(const std::string& name) const { return path_ + "/" + name + suffix_; }

    // For reading; not open if there is no such file. Fails when there is something else of that name, or it
    // cannot be read. A directory that cannot be used has no files (start() says why).
    Result<OpenedFile> open(const std::string& name);

    // A file that is being written; it goes when nobody commits it. Does not outlive the directory.
    class Unfinished {
      public:
        Unfinished(int directory, FileDescriptor file, std::string name)
            : directory_(directory), file_(std::move(file)), name_(std::move(name)) {}
        Unfinished(Unfinished&& other) noexcept
            : directory_(other.directory_),
              file_(std::move(other.file_)),
              name_(std::exchange(other.name_, {})) {}
        Unfinished& operator=(Unfinished&&) = delete;
        ~Unfinished();
        int number() const { return file_.number(); }

      private:
        friend class FileCache;
        int directory_;
        FileDescriptor file_;
        std::string name_;
    };
    // Makes room for a file of that size and starts it; nothing when there is no room to be made.
    Result<std::optional<Unfinished>> start(uint64_t bytes);
    // Gives it its name, in place of what had it before.
    Status commit(Unfinished file, const std::string& name);

  private:
    Status prepare();
    Status open_directory();
    bool make_room(uint64_t bytes);

    const std::string path_;
    const std::string suffix_;
    const uint64_t limit_bytes_;
    const std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();

    std::atomic<uint64_t> started_{0};
    std::mutex mutex_;  // guards what follows
    std::optional<Status> prepared_;
    FileDescriptor directory_;            // does not change once it is prepared
    std::set<std::string> used_names_;    // of files, by this object
    std::optional<uint64_t> used_bytes_;  // about: other processes write, too
};

}  // namespace rknpu2
