#include "base/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "base/format.hpp"

namespace rknpu2 {

FileDescriptor::~FileDescriptor() {
    if (is_open()) ::close(number_);
}

bool FileDescriptor::close() {
    return ::close(std::exchange(number_, -1)) == 0;
}

Result<std::string> read_regular_file(const std::string& path, uint64_t most) {
    const auto cannot = [&](const char* why) {
        return Status(StatusCode::kIo, format("%s: cannot be read: %s", path.c_str(), why));
    };
    // Opening a pipe must not wait for somebody who writes to it.
    const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (!file.is_open() || ::fstat(file.number(), &info) != 0) return cannot(std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return cannot("it is not a regular file");
    if (static_cast<uint64_t>(info.st_size) > most)
        return cannot(format("it is larger than %" PRIu64 " MiB", most >> 20).c_str());
    std::string content(static_cast<size_t>(info.st_size), '\0');
    size_t filled = 0;
    while (filled < content.size()) {
        const ssize_t got = ::read(file.number(), content.data() + filled, content.size() - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return cannot(std::strerror(errno));
        if (got == 0) break;  // it became shorter meanwhile
        filled += static_cast<size_t>(got);
    }
    content.resize(filled);
    return content;
}

}  // namespace rknpu2
