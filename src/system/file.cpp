// SPDX-License-Identifier: MIT
#include "system/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <climits>
#include <cstring>
#include <filesystem>

#include "base/format.hpp"

namespace rknpu2 {

namespace {

Status cannot_write(const std::string& path) {
    return {StatusCode::kIo, format("cannot write %s: %s", path.c_str(), std::strerror(errno))};
}

Status cannot_read(const std::string& path, const char* why) {
    return {StatusCode::kIo, format("%s: cannot be read: %s", path.c_str(), why)};
}

// Calls some(at), which moves a few of the bytes from `at` on and returns how many, until all have been moved.
// False: it failed, with errno, or there are no more (0).
template <typename Some>
bool all_of(size_t bytes, const Some& some) {
    for (size_t at = 0; at < bytes;) {
        const ssize_t count = some(at);
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = 0;
        if (count <= 0) return false;
        at += static_cast<size_t>(count);
    }
    return true;
}

// Writes `path`, of which messages speak as `name`.
Status write_file(const std::string& path, const std::string& name, const std::string& content, int flags) {
    const NoFileSizeSignal no_signal;
    FileDescriptor file = open_file(path.c_str(), O_WRONLY | flags, 0666);
    if (!file.is_open()) return cannot_write(name);
    const auto write = [&](size_t at) {
        return ::write(file.number(), content.data() + at, content.size() - at);
    };
    if (!all_of(content.size(), write)) return cannot_write(name);
    if (::fsync(file.number()) != 0 && errno != EINVAL && errno != EROFS) return cannot_write(name);
    return file.close() ? Status() : cannot_write(name);
}

// The directory has the new name only once it is on the disk itself. Not every file system can do that.
void sync_directory_of(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const FileDescriptor file = open_file(directory.c_str(), O_RDONLY | O_DIRECTORY);
    if (file.is_open()) static_cast<void>(::fsync(file.number()));
}

// The same file under a number that is none of the standard streams'.
FileDescriptor above_standard(int number) {
    if (number < 0 || number > STDERR_FILENO) return FileDescriptor(number);
    const FileDescriptor low(number);
    return FileDescriptor(::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

sigset_t file_size_signal() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGXFSZ);
    return set;
}

}  // namespace

NoFileSizeSignal::NoFileSizeSignal() {
    const sigset_t set = file_size_signal();
    blocked_ = pthread_sigmask(SIG_BLOCK, &set, &before_) == 0 && sigismember(&before_, SIGXFSZ) == 0;
}

// The signal is this thread's own, as a write causes it.
NoFileSizeSignal::~NoFileSizeSignal() {
    if (!blocked_) return;
    const int error = errno;
    const sigset_t set = file_size_signal();
    const timespec now{};
    while (sigtimedwait(&set, nullptr, &now) > 0 || errno == EINTR) {
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = error;
}

Status write_at(int file, const void* from, size_t bytes, uint64_t offset) {
    const NoFileSizeSignal no_signal;
    const auto put = [&](size_t at) {
        return ::pwrite(file, static_cast<const char*>(from) + at, bytes - at,
                        static_cast<off_t>(offset + at));
    };
    return all_of(bytes, put)
               ? Status()
               : Status(StatusCode::kIo, format("cannot be written: %s", std::strerror(errno)));
}

Status read_at(int file, void* to, size_t bytes, uint64_t offset) {
    const auto get = [&](size_t at) {
        return ::pread(file, static_cast<char*>(to) + at, bytes - at, static_cast<off_t>(offset + at));
    };
    if (all_of(bytes, get)) return {};
    if (errno == 0) return {StatusCode::kIo, "cut short"};
    return {StatusCode::kIo, format("cannot be read: %s", std::strerror(errno))};
}

FileDescriptor open_file(const char* path, int flags, mode_t mode) {
    return above_standard(::open(path, flags | O_CLOEXEC, mode));
}

FileDescriptor open_file_at(int directory, const char* path, int flags, mode_t mode) {
    return above_standard(::openat(directory, path, flags | O_CLOEXEC, mode));
}

std::FILE* open_stream_to(const std::string& path) {
    FileDescriptor file = open_file(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    std::FILE* const stream = file.is_open() ? ::fdopen(file.number(), "w") : nullptr;
    if (stream != nullptr) file.release();  // fclose() closes it
    return stream;
}

FileDescriptor::~FileDescriptor() {
    if (is_open()) ::close(number_);
}

bool FileDescriptor::close() {
    return ::close(std::exchange(number_, -1)) == 0;
}

Result<OpenedFile> open_regular_file(const std::string& path) {
    OpenedFile opened{open_file(path.c_str(), O_RDONLY | O_NONBLOCK)};
    struct stat info {};
    if (!opened.file.is_open() || ::fstat(opened.file.number(), &info) != 0)
        return cannot_read(path, std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return cannot_read(path, "it is not a regular file");
    opened.bytes = static_cast<uint64_t>(info.st_size);
    return opened;
}

Result<std::string> read_regular_file(const std::string& path, uint64_t most) {
    const auto [file, bytes] = RKNPU2_TAKE(open_regular_file(path));
    if (bytes > most)
        return cannot_read(path, format("it is larger than %" PRIu64 " MiB", most >> 20).c_str());
    std::string content(static_cast<size_t>(bytes), '\0');
    RKNPU2_RETURN_IF_ERROR(read_at(file.number(), content.data(), content.size(), 0).with_context(path));
    return content;
}

std::string with_process_id(std::string path_pattern) {
    if (const size_t at = path_pattern.find("%p"); at != std::string::npos)
        path_pattern.replace(at, 2, std::to_string(getpid()));
    return path_pattern;
}

std::optional<std::string> replaceable_file(const std::string& path) {
    constexpr int kMostLinks = 40;
    std::string at = path;
    for (int i = 0; i < kMostLinks; ++i) {
        // /dev/stdout and its like: what somebody else has open there must stay.
        if (at.starts_with("/proc/") || (at.starts_with("/dev/") && !at.starts_with("/dev/shm/"))) return {};
        struct stat info {};
        if (::lstat(at.c_str(), &info) != 0 || S_ISREG(info.st_mode)) return at;
        char target[PATH_MAX];
        const ssize_t length = S_ISLNK(info.st_mode) ? ::readlink(at.c_str(), target, sizeof target) : -1;
        if (length < 0) return {};
        at = std::filesystem::path(at).parent_path() / std::string(target, static_cast<size_t>(length));
    }
    return {};
}

Status write_file_atomically(const std::string& path, const std::string& content) {
    const std::optional<std::string> file = replaceable_file(path);
    if (!file) return write_file(path, path, content, O_TRUNC | O_NOCTTY);
    const std::string partial = *file + format(".%d.part", static_cast<int>(getpid()));
    Status status = write_file(partial, path, content, O_CREAT | O_TRUNC | O_NOFOLLOW);
    if (status.ok() && std::rename(partial.c_str(), file->c_str()) != 0) status = cannot_write(path);
    if (status.ok()) sync_directory_of(*file);
    if (!status.ok()) std::remove(partial.c_str());
    return status;
}

}  // namespace rknpu2
