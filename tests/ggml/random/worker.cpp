// SPDX-License-Identifier: MIT
#include "ggml/random/worker.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>

#include "ggml/ggml_host.hpp"
#include "ggml/random/statistics.hpp"

namespace rknpu2::test {
namespace {

// A message is its length and its bytes; numbers and texts one after the other.
class Writer {
  public:
    void number(uint64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
    void text(const void* data, size_t size) {
        number(size);
        bytes_.append(static_cast<const char*>(data), size);
    }
    void text(const std::string& text_value) { text(text_value.data(), text_value.size()); }
    const std::string& bytes() const { return bytes_; }

  private:
    std::string bytes_;
};

class Reader {
  public:
    explicit Reader(std::string bytes) : bytes_(std::move(bytes)) {}
    uint64_t number() {
        uint64_t value = 0;
        std::memcpy(&value, bytes_.data() + at_, sizeof value);
        at_ += sizeof value;
        return value;
    }
    std::string text() {
        const uint64_t size = number();
        at_ += size;
        return bytes_.substr(at_ - size, size);
    }

  private:
    std::string bytes_;
    size_t at_ = 0;
};

bool write_all(int fd, const void* data, size_t size) {
    const auto* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t count = write(fd, at, size);
        if (count <= 0) return false;
        at += count;
        size -= static_cast<size_t>(count);
    }
    return true;
}

bool read_all(int fd, void* data, size_t size, int seconds) {
    auto* at = static_cast<char*>(data);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    while (size > 0) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        pollfd ready{fd, POLLIN, 0};
        if (seconds >= 0 && (left.count() <= 0 || poll(&ready, 1, static_cast<int>(left.count())) <= 0))
            return false;
        const ssize_t count = read(fd, at, size);
        if (count <= 0) return false;
        at += count;
        size -= static_cast<size_t>(count);
    }
    return true;
}

bool send(int fd, const std::string& message) {
    const uint64_t size = message.size();
    return write_all(fd, &size, sizeof size) && write_all(fd, message.data(), size);
}

// `seconds` negative: waits for ever.
bool receive(int fd, std::string& message, int seconds) {
    uint64_t size = 0;
    if (!read_all(fd, &size, sizeof size, seconds)) return false;
    message.resize(size);
    return read_all(fd, message.data(), size, seconds);
}

std::string packed(const Outcome& outcome) {
    Writer writer;
    writer.text(outcome.problem);
    writer.text(&outcome.counters, sizeof outcome.counters);
    writer.number(outcome.aborted);
    writer.number(outcome.failed);
    writer.number(outcome.observations.size());
    for (const Observation& seen : outcome.observations) {
        writer.text(seen.label);
        writer.number(seen.step);
        writer.number(seen.floats ? 1 : 0);
        writer.text(seen.bytes.data(), seen.bytes.size());
    }
    return writer.bytes();
}

Outcome unpacked(std::string bytes) {
    Reader reader(std::move(bytes));
    Outcome outcome;
    outcome.problem = reader.text();
    std::memcpy(&outcome.counters, reader.text().data(), sizeof outcome.counters);
    outcome.aborted = reader.number();
    outcome.failed = reader.number();
    outcome.observations.resize(reader.number());
    for (Observation& seen : outcome.observations) {
        seen.label = reader.text();
        seen.step = reader.number();
        seen.floats = reader.number() != 0;
        const std::string data = reader.text();
        seen.bytes.assign(data.begin(), data.end());
    }
    return outcome;
}

// Ends of pipes that this process holds open for its workers.
std::set<int>& open_ends() {
    static std::set<int> ends;
    return ends;
}

// The child's life. It leaves by exit(), so that a leak checker gets its turn.
[[noreturn]] void live(const Environment& environment, int requests, int answers) {
    setenv("OMP_WAIT_POLICY", "passive", 0);
    // Not strict, which fails the call: what the checker finds is looked at after each graph.
    setenv("RKNNSIM_CHECK", "warn", 1);
    const MadeStatistics statistics(environment);
    setenv("GGML_RKNPU2_STATISTICS", statistics.path(), 0);
    unlink(counters_path().c_str());  // of a process that had this number before and died
    setenv("GGML_RKNPU2_STATS", counters_path().c_str(), 1);
    for (const auto& [name, value] : environment)
        setenv(name.c_str(), value.c_str(), 1);
    {
        const std::unique_ptr<GgmlHost> host = GgmlHost::open_with_device();
        if (!host) std::exit(3);
        std::string message;
        while (receive(requests, message, -1)) {
            Reader reader(message);
            const auto way = static_cast<Way>(reader.number());
            if (!send(answers, packed(execute(*host, parse_recipe(reader.text()), way)))) break;
        }
    }
    unlink(counters_path().c_str());
    std::exit(0);
}

}  // namespace

Worker::Worker(Environment environment) {
    // Ends of pipes to other workers: a child that kept them would keep those alive.
    int requests[2];
    int answers[2];
    if (pipe2(requests, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0)
        throw std::runtime_error("no pipes");
    static int number = 0;
    log_ = (std::filesystem::temp_directory_path() /
            ("rknpu2-random-" + std::to_string(getpid()) + "-" + std::to_string(++number) + ".log"))
               .string();
    std::fflush(nullptr);
    child_ = fork();
    if (child_ < 0) throw std::runtime_error("cannot fork");
    if (child_ == 0) {
        close(requests[1]);
        close(answers[0]);
        // Those to other workers: a child that keeps them keeps those alive.
        for (const int end : open_ends())
            close(end);
        const int log = open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close(log);
        live(environment, requests[0], answers[1]);
    }
    close(requests[0]);
    close(answers[1]);
    to_ = requests[1];
    from_ = answers[0];
    open_ends().insert({to_, from_});
}

void Worker::close_ends() {
    for (const int end : {to_, from_}) {
        open_ends().erase(end);
        close(end);
    }
}

Worker::~Worker() {
    if (alive()) end();
    unlink(log_.c_str());
}

Outcome Worker::compute(const Recipe& recipe, Way way, int seconds) {
    Writer writer;
    writer.number(static_cast<uint64_t>(way));
    writer.text(text_of(recipe));
    std::string answer;
    if (send(to_, writer.bytes()) && receive(from_, answer, seconds)) return unpacked(std::move(answer));
    Outcome outcome;
    int status = 0;
    // What has closed its end is about to die; what has not hangs.
    pollfd closed{from_, POLLIN, 0};
    const bool hangs = poll(&closed, 1, 0) == 0;
    if (hangs) kill(child_, SIGKILL);
    waitpid(child_, &status, 0);
    outcome.problem = hangs ? "it hangs" : death(status);
    unlink(("/tmp/rknpu2-random-" + std::to_string(child_) + ".json").c_str());
    child_ = -1;
    close_ends();
    return outcome;
}

std::string Worker::end() {
    close_ends();
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return status == 0 ? "" : death(status);
}

std::string Worker::death(int status) const {
    if (WIFSIGNALED(status)) return "it dies of signal " + std::to_string(WTERMSIG(status));
    return "it ends with status " + std::to_string(WEXITSTATUS(status));
}

std::string Worker::said() const {
    std::ifstream file(log_);
    const std::string all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    constexpr size_t kMost = 5000;
    return all.size() > kMost ? "... " + all.substr(all.size() - kMost) : all;
}

}  // namespace rknpu2::test
