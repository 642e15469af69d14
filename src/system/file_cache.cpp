// SPDX-License-Identifier: MIT
#include "system/file_cache.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>
#include <vector>

#include "base/checked.hpp"
#include "base/format.hpp"

namespace rknpu2 {
namespace {

constexpr const char* kUnfinished = ".unfinished-";
constexpr std::chrono::hours kUnfinishedFor{1};

Status failed(const char* what, const std::string& path) {
    return {StatusCode::kIo, format("cannot %s %s: %s", what, path.c_str(), std::strerror(errno))};
}

// Since 1970.
std::chrono::nanoseconds time_of(const timespec& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

struct Entry {
    std::string name;
    uint64_t bytes;
    std::chrono::nanoseconds used;
};

// The regular files of ours. Unfinished ones that nobody will finish are removed on the way.
std::vector<Entry> entries_of(int directory, const std::string& suffix, std::chrono::nanoseconds now) {
    std::vector<Entry> entries;
    FileDescriptor again = open_file_at(directory, ".", O_RDONLY | O_DIRECTORY);
    DIR* const listing = again.is_open() ? ::fdopendir(again.number()) : nullptr;
    if (listing == nullptr) return entries;
    again.release();  // closedir() closes it
    while (const dirent* const entry = ::readdir(listing)) {
        const std::string name = entry->d_name;
        struct stat info {};
        if (::fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode))
            continue;
        if (name.starts_with(kUnfinished)) {
            if (time_of(info.st_mtim) + kUnfinishedFor < now) ::unlinkat(directory, name.c_str(), 0);
        } else if (name.ends_with(suffix)) {
            entries.push_back({name, static_cast<uint64_t>(info.st_size), time_of(info.st_mtim)});
        }
    }
    ::closedir(listing);
    return entries;
}

bool is_ours(const struct stat& info) {
    return info.st_uid == ::geteuid() || info.st_uid == 0;
}

bool others_may_write(const struct stat& info) {
    return (info.st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

// What is missing of a path, each for its owner alone.
Status make_directories(const std::string& path) {
    for (size_t end = path.find('/', 1); true; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        struct stat info {};
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            // A file system that cannot be written to may say so before it says that the directory exists.
            const int reason = errno;
            if (::stat(part.c_str(), &info) != 0) {
                errno = reason;
                return failed("make the directory", part);
            }
        }
        if (::lstat(part.c_str(), &info) == 0 && S_ISLNK(info.st_mode) && !is_ours(info)) {
            return {StatusCode::kIo,
                    format("%s is a link of somebody else's: name a directory of your own", part.c_str())};
        }
        if (end == std::string::npos) return {};
    }
}

}  // namespace

FileCache::Unfinished::~Unfinished() {
    if (!name_.empty()) ::unlinkat(directory_, name_.c_str(), 0);
}

FileCache::FileCache(std::string path, std::string suffix, uint64_t limit_bytes)
    : path_(std::move(path)), suffix_(std::move(suffix)), limit_bytes_(limit_bytes) {}

Status FileCache::prepare() {
    const std::lock_guard lock(mutex_);
    if (prepared_) return *prepared_;
    prepared_ = open_directory();
    // The bound may have been lowered since the files were written.
    if (prepared_->ok()) make_room(0);
    return *prepared_;
}

Status FileCache::open_directory() {
    RKNPU2_RETURN_IF_ERROR(make_directories(path_));
    FileDescriptor directory = open_file(path_.c_str(), O_RDONLY | O_DIRECTORY);
    if (!directory.is_open() && errno == ENOTDIR)
        return {StatusCode::kIo, format("%s is not a directory", path_.c_str())};
    struct stat info {};
    if (!directory.is_open() || ::fstat(directory.number(), &info) != 0 ||
        ::faccessat(directory.number(), ".", R_OK | X_OK, AT_EACCESS) != 0) {
        return failed("use the directory", path_);
    }
    if (!is_ours(info)) {
        return {StatusCode::kIo, format("%s belongs to somebody else (user %u): name a directory of your own",
                                        path_.c_str(), info.st_uid)};
    }
    if (others_may_write(info))
        return {StatusCode::kIo, format("others may write to %s: chmod go-w makes it safe", path_.c_str())};
    directory_ = std::move(directory);
    return {};
}

Result<OpenedFile> FileCache::open(const std::string& name) {
    if (!prepare().ok()) return OpenedFile{};
    // Opening a pipe must not wait for somebody who writes to it.
    OpenedFile opened{
        open_file_at(directory_.number(), (name + suffix_).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)};
    if (!opened.file.is_open()) {
        if (errno == ENOENT) return opened;
        return Status(StatusCode::kIo, format("cannot be opened: %s", std::strerror(errno)));
    }
    struct stat info {};
    if (::fstat(opened.file.number(), &info) != 0 || !S_ISREG(info.st_mode))
        return Status(StatusCode::kIo, "not a regular file");
    if (!is_ours(info)) return Status(StatusCode::kIo, "belongs to somebody else");
    if (others_may_write(info)) return Status(StatusCode::kIo, "others may write to it");
    opened.bytes = static_cast<uint64_t>(info.st_size);
    // Not everybody who may read may do this; then the file counts as unused.
    static_cast<void>(::futimens(opened.file.number(), nullptr));
    const std::lock_guard lock(mutex_);
    used_names_.insert(name + suffix_);
    return opened;
}

// With the lock.
bool FileCache::make_room(uint64_t bytes) {
    if (used_bytes_ && saturating_add(*used_bytes_, bytes) <= limit_bytes_) {
        *used_bytes_ += bytes;
        return true;
    }
    timespec clock{};
    clock_gettime(CLOCK_REALTIME, &clock);
    const std::chrono::nanoseconds now = time_of(clock);
    // Other processes may still want what was used since this one began. A board without a battery gets the time
    // after it has started, so that moment is told by today's clock; times to come are from a wrong clock.
    const std::chrono::nanoseconds since = now - (std::chrono::steady_clock::now() - since_);
    const auto is_in_use = [&](const Entry& entry) {
        return used_names_.count(entry.name) > 0 || (entry.used >= since && entry.used <= now);
    };
    std::vector<Entry> entries = entries_of(directory_.number(), suffix_, now);
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.used < b.used; });
    uint64_t used = 0;
    for (const Entry& entry : entries)
        used = saturating_add(used, entry.bytes);
    for (const Entry& entry : entries) {
        if (bytes > limit_bytes_ || saturating_add(used, bytes) <= limit_bytes_) break;
        if (!is_in_use(entry) && ::unlinkat(directory_.number(), entry.name.c_str(), 0) == 0)
            used -= entry.bytes;
    }
    const bool fits = saturating_add(used, bytes) <= limit_bytes_;
    used_bytes_ = used + (fits ? bytes : 0);
    return fits;
}

Result<std::optional<FileCache::Unfinished>> FileCache::start(uint64_t bytes) {
    RKNPU2_RETURN_IF_ERROR(prepare());
    {
        const std::lock_guard lock(mutex_);
        if (!make_room(bytes)) return std::optional<Unfinished>();
    }
    // Other processes may use the same number in another name space; then the next one is free.
    for (;;) {
        std::string name = format("%s%d-%" PRIu64, kUnfinished, static_cast<int>(::getpid()), started_++);
        FileDescriptor file =
            open_file_at(directory_.number(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
        if (file.is_open())
            return std::optional<Unfinished>(Unfinished(directory_.number(), std::move(file), name));
        if (errno != EEXIST) return failed("write to", path_);
    }
}

Status FileCache::commit(Unfinished file, const std::string& name) {
    const std::string path = path_of(name);
    if (!file.file_.close()) return failed("write", path);
    const int directory = directory_.number();
    if (::renameat(directory, file.name_.c_str(), directory, (name + suffix_).c_str()) != 0)
        return failed("replace", path);
    file.name_.clear();
    const std::lock_guard lock(mutex_);
    used_names_.insert(name + suffix_);
    return {};
}

}  // namespace rknpu2
