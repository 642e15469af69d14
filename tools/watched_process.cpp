// SPDX-License-Identifier: MIT
#include "watched_process.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kToDie{5000};  // a process that has closed everything, or was killed, and is not gone
                                      // by then hangs in the kernel

void send_all(int socket, const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
        const ssize_t count = send(socket, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) std::_Exit(EXIT_FAILURE);  // nobody listens any more
        sent += static_cast<size_t>(count);
    }
}

[[noreturn]] void be_the_copy(int socket, const std::function<void(const WatchedProcess::Link&)>& work) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int status = EXIT_FAILURE;
    try {
        work(WatchedProcess::Link(socket));
        status = EXIT_SUCCESS;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", printable(error.what()).c_str());
    }
    std::exit(status);
}

// Empty: a good end.
std::string text_of_status(int status) {
    if (WIFSIGNALED(status))
        return format("ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    const int code = WEXITSTATUS(status);
    return code == 0 ? "" : format("ended with status %d", code);
}

}  // namespace

// Length and bytes.
void WatchedProcess::Link::tell(const std::string& message) const {
    const auto length = static_cast<uint32_t>(message.size());
    send_all(socket_, std::string(reinterpret_cast<const char*>(&length), sizeof length) + message);
}

void WatchedProcess::Link::ask(const std::string& message) const {
    tell(message);
    char answer = 0;
    ssize_t count = 0;
    do {
        count = read(socket_, &answer, 1);
    } while (count < 0 && errno == EINTR);
    if (count != 1) std::_Exit(EXIT_FAILURE);
}

void WatchedProcess::answer() const {
    static_cast<void>(send(socket_.number(), "", 1, MSG_NOSIGNAL));
}

Result<WatchedProcess> WatchedProcess::start(const std::function<void(const Link& link)>& work) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return Status(StatusCode::kIo, format("no pair of sockets: %s", strerror(errno)));
    FileDescriptor ours(ends[0]);
    FileDescriptor theirs(ends[1]);
    std::fflush(nullptr);  // or the copy writes it, too
    const pid_t pid = fork();
    if (pid < 0) return Status(StatusCode::kIo, format("no process: %s", strerror(errno)));
    if (pid == 0) {
        ours = FileDescriptor();
        be_the_copy(theirs.number(), work);
    }
    return WatchedProcess(pid, std::move(ours));
}

WatchedProcess::WatchedProcess(WatchedProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)),
      socket_(std::move(other.socket_)),
      ending_(std::move(other.ending_)),
      stuck_(other.stuck_) {}

WatchedProcess::~WatchedProcess() {
    if (pid_ != 0) kill_it("not needed any more");
}

std::optional<std::string> WatchedProcess::next(std::optional<milliseconds> patience) {
    if (pid_ == 0) return std::nullopt;
    const int64_t us = patience ? patience->count() * 1000 : 0;  // 0: for ever
    const timeval limit{us / 1000000, us % 1000000};
    setsockopt(socket_.number(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    uint32_t length = 0;
    std::string message;
    if (receive(&length, sizeof length)) {
        message.resize(length);
        if (receive(message.data(), length)) return message;
    }
    if (errno == EAGAIN) {
        kill_it(format("gave no answer for %.3g s and was stopped", double(us) / 1000000));
    } else {
        await_end();
    }
    return std::nullopt;
}

// False when it has closed its end, or with EAGAIN when it says nothing.
bool WatchedProcess::receive(void* to, size_t bytes) const {
    for (size_t got = 0; got < bytes;) {
        const ssize_t count = read(socket_.number(), static_cast<char*>(to) + got, bytes - got);
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) errno = 0;
        if (count <= 0) return false;
        got += static_cast<size_t>(count);
    }
    return true;
}

// False when it is still there after kToDie.
bool WatchedProcess::is_reaped(int& status) const {
    const Clock::time_point start = Clock::now();
    while (waitpid(pid_, &status, WNOHANG) == 0) {
        if (Clock::now() - start > kToDie) return false;
        std::this_thread::sleep_for(milliseconds(1));
    }
    return true;
}

// It has closed its end, which is what an ending process does first.
void WatchedProcess::await_end() {
    int status = 0;
    if (!is_reaped(status)) return kill_it("closed all its files and did not end");
    pid_ = 0;
    ending_ = text_of_status(status);
}

void WatchedProcess::kill_it(const std::string& why) {
    ending_ = why;
    kill(pid_, SIGKILL);
    int status = 0;
    stuck_ = !is_reaped(status);
    if (stuck_) ending_ += ", but is still there: it hangs in the kernel, restart the board";
    pid_ = 0;
}

}  // namespace rknpu2
