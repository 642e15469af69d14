// SPDX-License-Identifier: MIT
#include "watched_process.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <thread>
#include <utility>

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
      received_(std::move(other.received_)),
      ending_(std::move(other.ending_)),
      stuck_(other.stuck_) {}

WatchedProcess::~WatchedProcess() {
    if (pid_ != 0) kill_it("not needed any more");
}

std::optional<std::string> WatchedProcess::next(std::optional<milliseconds> patience) {
    const Clock::time_point start = Clock::now();
    while (pid_ != 0) {
        if (std::optional<std::string> message = take_message()) return message;
        int wait = -1;
        if (patience) {
            const auto left = *patience - std::chrono::duration_cast<milliseconds>(Clock::now() - start);
            wait = static_cast<int>(std::max(left, milliseconds(0)).count());
        }
        pollfd polled = {socket_.number(), POLLIN, 0};
        const int ready = poll(&polled, 1, wait);
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0) {
            kill_it(format("gave no answer for %.3g s and was stopped", double(patience->count()) / 1000));
            break;
        }
        char chunk[4096];
        const ssize_t count = read(socket_.number(), chunk, sizeof chunk);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) {
            await_end();
            break;
        }
        received_.append(chunk, static_cast<size_t>(count));
    }
    return std::nullopt;
}

std::optional<std::string> WatchedProcess::take_message() {
    uint32_t length = 0;
    if (received_.size() < sizeof length) return std::nullopt;
    std::memcpy(&length, received_.data(), sizeof length);
    if (received_.size() < sizeof length + length) return std::nullopt;
    std::string message = received_.substr(sizeof length, length);
    received_.erase(0, sizeof length + length);
    return message;
}

// It has closed its end, which is what an ending process does first.
void WatchedProcess::await_end() {
    const Clock::time_point start = Clock::now();
    int status = 0;
    while (waitpid(pid_, &status, WNOHANG) == 0) {
        if (Clock::now() - start > kToDie) return kill_it("closed all its files and did not end");
        std::this_thread::sleep_for(milliseconds(1));
    }
    pid_ = 0;
    ending_ = text_of_status(status);
}

void WatchedProcess::kill_it(const std::string& why) {
    ending_ = why;
    kill(pid_, SIGKILL);
    const Clock::time_point start = Clock::now();
    while (waitpid(pid_, nullptr, WNOHANG) == 0) {
        if (Clock::now() - start > kToDie) {
            stuck_ = true;
            ending_ += ", but is still there: it hangs in the kernel, restart the board";
            break;
        }
        std::this_thread::sleep_for(milliseconds(1));
    }
    pid_ = 0;
}

}  // namespace rknpu2
