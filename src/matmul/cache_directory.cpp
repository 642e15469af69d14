#include "matmul/cache_directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUnfinished = ".unfinished-";
constexpr time_t kUnfinishedSeconds = 3600;

Status failed(const char* what, const std::string& path) {
    return {StatusCode::kIo, format("cannot %s %s: %s", what, path.c_str(), std::strerror(errno))};
}

bool earlier(const timespec& a, const timespec& b) {
    return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

struct Entry {
    std::string path;
    uint64_t bytes;
    timespec used;
};

// The regular files of ours. Unfinished ones that nobody will finish are removed on the way.
std::vector<Entry> entries_of(const std::string& directory, const std::string& suffix, time_t now) {
    std::vector<Entry> entries;
    std::error_code error;
    for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
        const std::string path = at->path().string();
        struct stat info {};
        if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
        const std::string name = at->path().filename().string();
        if (name.starts_with(kUnfinished)) {
            if (info.st_mtim.tv_sec + kUnfinishedSeconds < now) ::unlink(path.c_str());
        } else if (name.ends_with(suffix)) {
            entries.push_back({path, static_cast<uint64_t>(info.st_size), info.st_mtim});
        }
    }
    return entries;
}

// What is missing of a path, each for its owner alone.
Status make_directories(const std::string& path) {
    for (size_t end = path.find('/', 1); true; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            struct stat info {};
            // Of a directory that is there, a file system that cannot be written to may say so first.
            const int reason = errno;
            if (::stat(part.c_str(), &info) != 0) {
                errno = reason;
                return failed("make the directory", part);
            }
        }
        if (end == std::string::npos) return {};
    }
}

}  // namespace

FileDescriptor::~FileDescriptor() {
    if (is_open()) ::close(number_);
}

bool FileDescriptor::close() {
    return ::close(std::exchange(number_, -1)) == 0;
}

CacheDirectory::Unfinished::~Unfinished() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

CacheDirectory::CacheDirectory(std::string path, std::string suffix, uint64_t limit_bytes)
    : path_(std::move(path)), suffix_(std::move(suffix)), limit_bytes_(limit_bytes) {
    // The clock that files get their times from.
    clock_gettime(CLOCK_REALTIME_COARSE, &since_);
}

Status CacheDirectory::prepare() {
    const std::lock_guard lock(mutex_);
    if (!prepared_) {
        prepared_ = make_directories(path_);
        struct stat info {};
        if (!prepared_->ok()) return *prepared_;
        if (::stat(path_.c_str(), &info) != 0 || ::access(path_.c_str(), R_OK | X_OK) != 0) {
            prepared_ = failed("use the directory", path_);
        } else if (!S_ISDIR(info.st_mode)) {
            prepared_ = Status(StatusCode::kIo, format("%s is not a directory", path_.c_str()));
        } else if ((info.st_mode & S_IWOTH) != 0) {
            prepared_ = Status(StatusCode::kIo,
                               format("everybody may write to %s: chmod o-w makes it safe", path_.c_str()));
        }
    }
    return *prepared_;
}

Result<CacheDirectory::Opened> CacheDirectory::open(const std::string& name) {
    if (!prepare().ok()) return Opened{};
    const std::string path = path_of(name);
    // Opening a pipe must not wait for somebody who writes to it.
    Opened opened{FileDescriptor(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK))};
    if (!opened.file.is_open()) {
        if (errno == ENOENT) return opened;
        return Status(StatusCode::kIo, format("cannot be opened: %s", std::strerror(errno)));
    }
    struct stat info {};
    if (::fstat(opened.file.number(), &info) != 0 || !S_ISREG(info.st_mode))
        return Status(StatusCode::kIo, "not a regular file");
    opened.bytes = static_cast<uint64_t>(info.st_size);
    // Not everybody who may read may do this; then the file counts as unused.
    static_cast<void>(::futimens(opened.file.number(), nullptr));
    return opened;
}

bool CacheDirectory::make_room(uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    if (used_bytes_ && *used_bytes_ + bytes <= limit_bytes_) {
        *used_bytes_ += bytes;
        return true;
    }
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    std::vector<Entry> entries = entries_of(path_, suffix_, now.tv_sec);
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return earlier(a.used, b.used); });
    uint64_t used = 0;
    for (const Entry& entry : entries)
        used += entry.bytes;
    for (const Entry& entry : entries) {
        if (bytes > limit_bytes_ || used + bytes <= limit_bytes_ || !earlier(entry.used, since_)) break;
        if (::unlink(entry.path.c_str()) == 0) used -= entry.bytes;
    }
    const bool fits = used + bytes <= limit_bytes_;
    used_bytes_ = used + (fits ? bytes : 0);
    return fits;
}

Result<std::optional<CacheDirectory::Unfinished>> CacheDirectory::start(uint64_t bytes) {
    RKNPU2_RETURN_IF_ERROR(prepare());
    if (!make_room(bytes)) return std::optional<Unfinished>();
    std::string path = path_ + "/" + kUnfinished + "XXXXXX";
    FileDescriptor file(::mkostemp(path.data(), O_CLOEXEC));  // 0600, and nobody else's
    if (!file.is_open()) return failed("write to", path_);
    return std::optional<Unfinished>(Unfinished(std::move(file), path));
}

Status CacheDirectory::commit(Unfinished file, const std::string& name) {
    if (!file.file_.close()) return failed("write", file.path_);
    const std::string path = path_of(name);
    if (std::rename(file.path_.c_str(), path.c_str()) != 0) return failed("replace", path);
    file.path_.clear();
    return {};
}

}  // namespace rknpu2
