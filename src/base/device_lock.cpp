#include "base/device_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>

#include "base/format.hpp"
#include "base/log.hpp"

namespace rknpu2 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kName = "ggml-rknpu2.lock";
constexpr mode_t kMode = 0644;
constexpr std::chrono::seconds kLongWait{1};
constexpr std::chrono::milliseconds kWatchEvery{100};

int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

Status cannot(const std::string& path, const char* why) {
    return {StatusCode::kIo,
            format("cannot lock the NPU: %s: %s (GGML_RKNPU2_LOCK names another file, or none)", path.c_str(),
                   why)};
}

// In a directory that everybody may write to without the sticky bit, anybody may replace the file.
Status check_directory(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == 0 ? "/" : path.substr(0, slash);
    struct stat info {};
    if (stat(directory.c_str(), &info) != 0) return cannot(directory, std::strerror(errno));
    if ((info.st_mode & S_IWOTH) != 0 && (info.st_mode & S_ISVTX) == 0)
        return cannot(directory, "may be written to by everybody and has no sticky bit");
    return {};
}

// Such as "process 1234 (llama-server)", from the kernel's table of locks.
std::string holder_of(uint64_t device, uint64_t inode) {
    const std::string place =
        format("%02x:%02x:%llu", major(device), minor(device), static_cast<unsigned long long>(inode));
    std::ifstream locks("/proc/locks");
    for (std::string line; std::getline(locks, line);) {
        int pid = 0;
        // "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; those that wait have "->" for their kind.
        if (std::sscanf(line.c_str(), "%*s FLOCK ADVISORY WRITE %d", &pid) != 1) continue;
        if (line.find(" " + place + " ") == std::string::npos || pid <= 0) continue;
        std::ifstream comm(format("/proc/%d/comm", pid));
        std::string name;
        std::getline(comm, name);
        return format("process %d (%s)", pid, name.c_str());
    }
    return "a process that cannot be seen from here";
}

int lock_file(int descriptor, int operation) {
    int answer = 0;
    do {
        answer = flock(descriptor, operation);
    } while (answer != 0 && errno == EINTR);
    return answer;
}

}  // namespace

std::string default_lock_path() {
    struct stat info {};
    const bool shared = stat("/run/lock", &info) == 0 && S_ISDIR(info.st_mode) &&
                        (info.st_mode & (S_IWOTH | S_ISVTX)) == (S_IWOTH | S_ISVTX);
    return std::string(shared ? "/run/lock/" : "/tmp/") + kName;
}

// Never writes: O_RDONLY is enough for flock(), so files of other users serve as well.
Status DeviceLock::File::open() {
    RKNPU2_RETURN_IF_ERROR(check_directory(path));
    const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    FileDescriptor opened(::open(path.c_str(), flags));
    if (!opened.is_open() && errno == ENOENT) {
        opened = FileDescriptor(::open(path.c_str(), flags | O_CREAT | O_EXCL, kMode));
        // Whatever the umask: other users are to open it.
        if (opened.is_open()) static_cast<void>(fchmod(opened.number(), kMode));
        if (!opened.is_open() && errno == EEXIST) opened = FileDescriptor(::open(path.c_str(), flags));
    }
    if (!opened.is_open()) return cannot(path, errno == ELOOP ? "is a symbolic link" : std::strerror(errno));
    struct stat info {};
    if (fstat(opened.number(), &info) != 0 || !S_ISREG(info.st_mode))
        return cannot(path, "is not a regular file");
    descriptor = std::move(opened);
    device = info.st_dev;
    inode = info.st_ino;
    return {};
}

bool DeviceLock::File::replaced() const {
    struct stat info {};
    return lstat(path.c_str(), &info) != 0 || info.st_dev != device || info.st_ino != inode;
}

DeviceLock::DeviceLock(const std::string& path, LockCounters& counters) : counters_(counters) {
    queue_.path = path + ".queue";
    device_.path = path;
}

DeviceLock::~DeviceLock() {
    if (watcher_.joinable()) {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        stopped_.notify_all();
        watcher_.join();
    }
}

Result<std::unique_ptr<DeviceLock>> DeviceLock::open(const std::string& path, LockCounters& counters) {
    std::unique_ptr<DeviceLock> lock(new DeviceLock(path, counters));
    RKNPU2_RETURN_IF_ERROR(lock->device_.open());
    RKNPU2_RETURN_IF_ERROR(lock->queue_.open());
    return lock;
}

Result<std::unique_ptr<DeviceLock>> DeviceLock::open(const Config& config, bool simulated,
                                                     LockCounters& counters) {
    if (config.lock == "none" || (config.lock == "auto" && simulated)) return std::unique_ptr<DeviceLock>();
    return open(config.lock == "auto" ? default_lock_path() : config.lock, counters);
}

Status DeviceLock::reopen_replaced() {
    const std::lock_guard lock(mutex_);  // watch() tells whose they are
    for (File* const file : {&device_, &queue_})
        if (file->replaced()) RKNPU2_RETURN_IF_ERROR(file->open());
    return {};
}

Status DeviceLock::take(const File& file) {
    if (lock_file(file.descriptor.number(), LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK) return cannot(file.path, std::strerror(errno));
    start_watching();
    if (waiting_since_ns_ == 0) {
        ++counters_.waits;
        waiting_since_ns_ = now_ns();
    }
    if (lock_file(file.descriptor.number(), LOCK_EX) == 0) return {};
    return cannot(file.path, std::strerror(errno));
}

Status DeviceLock::take_both() {
    RKNPU2_RETURN_IF_ERROR(take(queue_));
    Status status = take(device_);
    lock_file(queue_.descriptor.number(), LOCK_UN);
    return status;
}

// Somebody may have removed a file (cleaning /tmp does), also while we waited for it: who comes later makes
// another, and would not meet us.
Status DeviceLock::acquire() {
    Status status = take_both();
    while (status.ok() && (device_.replaced() || queue_.replaced())) {
        release();
        status = reopen_replaced();
        if (status.ok()) status = take_both();
    }
    if (const int64_t since = waiting_since_ns_.exchange(0); since != 0)
        counters_.waited_ns += static_cast<uint64_t>(now_ns() - since);
    if (status.ok()) ++counters_.taken;
    return status;
}

Result<DeviceLock::Turn> DeviceLock::Turn::take(DeviceLock* lock) {
    Turn turn;
    if (lock == nullptr) return turn;
    RKNPU2_RETURN_IF_ERROR(lock->acquire());
    turn.lock_ = lock;
    return turn;
}

void DeviceLock::release() {
    lock_file(device_.descriptor.number(), LOCK_UN);
}

// Without a thread for it a long wait goes without its line.
void DeviceLock::start_watching() {
    if (watcher_.joinable()) return;
    try {
        watcher_ = std::thread([this] { watch(); });
    } catch (const std::system_error&) {
    }
}

// A blocked flock() can tell nothing, hence a thread that looks now and then.
void DeviceLock::watch() {
    int64_t told = 0;  // of which wait
    std::unique_lock lock(mutex_);
    while (!stopped_.wait_for(lock, kWatchEvery, [this] { return stop_; })) {
        const int64_t since = waiting_since_ns_;
        if (since == 0 || since == told || now_ns() - since < std::chrono::nanoseconds(kLongWait).count())
            continue;
        told = since;
        log(LogLevel::kWarning, "waiting for the NPU, which %s holds (%s)",
            holder_of(device_.device, device_.inode).c_str(), device_.path.c_str());
    }
}

}  // namespace rknpu2
