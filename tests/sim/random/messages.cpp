// SPDX-License-Identifier: MIT
#include "sim/random/messages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

namespace rknnsim_random {

Messages::Messages() : fd_(memfd_create("messages", MFD_CLOEXEC)) {
    // Appending, so that writers need no common position.
    if (fd_ < 0 || fcntl(fd_, F_SETFL, O_APPEND) != 0) throw std::runtime_error("no file for messages");
}

Messages::~Messages() {
    close(fd_);
}

void Messages::capture() const {
    dup2(fd_, STDERR_FILENO);
}

void Messages::clear() {
    seen_ = 0;
    if (ftruncate(fd_, 0) != 0) throw std::runtime_error("cannot empty the file for messages");
}

std::string Messages::fresh() {
    const off_t end = lseek(fd_, 0, SEEK_END);
    if (end <= static_cast<off_t>(seen_)) return "";
    std::string text(static_cast<size_t>(end) - seen_, '\0');
    const ssize_t got = pread(fd_, text.data(), text.size(), static_cast<off_t>(seen_));
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    seen_ += text.size();
    return text;
}

std::string Messages::tail(size_t bytes) const {
    const auto end = static_cast<size_t>(lseek(fd_, 0, SEEK_END));
    std::string text(end < bytes ? end : bytes, '\0');
    const ssize_t got = pread(fd_, text.data(), text.size(), static_cast<off_t>(end - text.size()));
    text.resize(got < 0 ? 0 : static_cast<size_t>(got));
    return text;
}

size_t count_lines(const std::string& text, const std::string& prefix) {
    size_t count = 0;
    for (size_t at = 0; at < text.size();) {
        if (text.compare(at, prefix.size(), prefix) == 0) ++count;
        const size_t end = text.find('\n', at);
        if (end == std::string::npos) break;
        at = end + 1;
    }
    return count;
}

}  // namespace rknnsim_random
