// SPDX-License-Identifier: MIT
#include "config/device_lock.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>

#include "base/format.hpp"
#include "base/log.hpp"

namespace rknpu2 {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kName = "ggml-rknpu2.lock";
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

// May somebody only read it? Such a user could hold the lock, and not use the device.
bool some_may_only_read(mode_t mode) {
    const auto only_reads = [&](mode_t read, mode_t write) {
        return (mode & read) != 0 && (mode & write) == 0;
    };
    return only_reads(S_IRUSR, S_IWUSR) || only_reads(S_IRGRP, S_IWGRP) || only_reads(S_IROTH, S_IWOTH);
}

bool is_for(const struct stat& info, const DeviceUsers& users) {
    const bool others = (info.st_mode & (S_IROTH | S_IWOTH)) != 0;
    return !some_may_only_read(info.st_mode) && (users.everybody || !others);
}

// A file that we or an older version have made: empty, and without another name.
bool is_ours_to_mend(const struct stat& info) {
    return (info.st_uid == geteuid() || geteuid() == 0) && info.st_size == 0 && info.st_nlink == 1;
}

void give_to(int descriptor, const DeviceUsers& users) {
    // A user outside the group cannot give it the file, which then stays with a group of the maker's.
    if (users.group) static_cast<void>(fchown(descriptor, static_cast<uid_t>(-1), *users.group));
    static_cast<void>(fchmod(descriptor, users.mode()));  // whatever the umask
}

Status not_for_us(const std::string& path) {
    struct stat info {};
    if (lstat(path.c_str(), &info) != 0) return cannot(path, std::strerror(EACCES));
    return cannot(path, format("is for user %u and group %u only", info.st_uid, info.st_gid).c_str());
}

// Open descriptors of locks, which a forked child closes: it would keep the lock of a parent that dies.
class OpenLocks {
  public:
    // Leaked on purpose: a process may fork while it ends.
    static OpenLocks& instance() {
        static auto* const locks = new OpenLocks;
        return *locks;
    }
    void add(int descriptor) {
        const std::lock_guard lock(mutex_);
        descriptors_.push_back(descriptor);
    }
    void remove(int descriptor) {
        const std::lock_guard lock(mutex_);
        std::erase(descriptors_, descriptor);
    }

  private:
    OpenLocks() {
        pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                       [] { instance().in_child(); });
    }
    void in_child() {
        for (const int descriptor : descriptors_)
            ::close(descriptor);
        descriptors_.clear();
        mutex_.unlock();
    }

    std::mutex mutex_;
    std::vector<int> descriptors_;
};

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

DeviceUsers DeviceUsers::of(const std::vector<std::string>& nodes) {
    for (const std::string& node : nodes) {
        struct stat info {};
        if (stat(node.c_str(), &info) != 0) continue;
        constexpr mode_t kAll = S_IROTH | S_IWOTH;
        return {info.st_gid, (info.st_mode & kAll) == kAll};
    }
    return {};
}

// Never writes: O_RDONLY is enough for flock(), so files of other users serve as well.
Status DeviceLock::File::open(const DeviceUsers& users) {
    RKNPU2_RETURN_IF_ERROR(check_directory(path));
    constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    FileDescriptor opened = open_file(path.c_str(), kFlags);
    if (!opened.is_open() && errno == ENOENT) {
        opened = open_file(path.c_str(), kFlags | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR);
        if (opened.is_open()) give_to(opened.number(), users);
        if (!opened.is_open() && errno == EEXIST) opened = open_file(path.c_str(), kFlags);
    }
    if (!opened.is_open() && errno == EACCES) return not_for_us(path);
    if (!opened.is_open()) return cannot(path, errno == ELOOP ? "is a symbolic link" : std::strerror(errno));
    struct stat info {};
    if (fstat(opened.number(), &info) != 0 || !S_ISREG(info.st_mode))
        return cannot(path, "is not a regular file");
    if (!is_for(info, users) && is_ours_to_mend(info)) {
        give_to(opened.number(), users);
        static_cast<void>(fstat(opened.number(), &info));
    }
    if (!is_for(info, users))
        return cannot(path, "could be held by users who may not use the NPU: remove it");
    if (descriptor.is_open()) OpenLocks::instance().remove(descriptor.number());
    OpenLocks::instance().add(opened.number());
    descriptor = std::move(opened);
    device = info.st_dev;
    inode = info.st_ino;
    return {};
}

bool DeviceLock::File::replaced() const {
    struct stat info {};
    return lstat(path.c_str(), &info) != 0 || info.st_dev != device || info.st_ino != inode;
}

DeviceLock::DeviceLock(const std::string& path, LockCounters& counters, const DeviceUsers& users)
    : counters_(counters), users_(users) {
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
    for (const File* const file : {&device_, &queue_})
        if (file->descriptor.is_open()) OpenLocks::instance().remove(file->descriptor.number());
}

Result<std::unique_ptr<DeviceLock>> DeviceLock::open(const std::string& path, LockCounters& counters,
                                                     const DeviceUsers& users) {
    std::unique_ptr<DeviceLock> lock(new DeviceLock(path, counters, users));
    RKNPU2_RETURN_IF_ERROR(lock->device_.open(users));
    RKNPU2_RETURN_IF_ERROR(lock->queue_.open(users));
    return lock;
}

Result<std::unique_ptr<DeviceLock>> DeviceLock::open(const Config& config, bool simulated,
                                                     const std::vector<std::string>& nodes,
                                                     LockCounters& counters) {
    if (config.lock == "none" || (config.lock == "auto" && simulated)) return std::unique_ptr<DeviceLock>();
    return open(config.lock == "auto" ? default_lock_path() : config.lock, counters, DeviceUsers::of(nodes));
}

Status DeviceLock::reopen_replaced() {
    const std::lock_guard lock(mutex_);  // watch() tells whose they are
    for (File* const file : {&device_, &queue_})
        if (file->replaced()) RKNPU2_RETURN_IF_ERROR(file->open(users_));
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

// Somebody may have removed a file, also while we waited for it (cleaning /tmp does). A process that comes later
// makes another, and would not meet us.
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

// Who waits for the device has the queue.
bool DeviceLock::is_waited_for() const {
    if (device_.replaced() || queue_.replaced()) return true;
    if (lock_file(queue_.descriptor.number(), LOCK_EX | LOCK_NB) != 0) return true;
    lock_file(queue_.descriptor.number(), LOCK_UN);
    return false;
}

// Without a thread for it a long wait goes without its line.
void DeviceLock::start_watching() {
    if (watcher_.joinable()) return;
    try {
        watcher_ = std::thread([this] { watch(); });
    } catch (const std::exception&) {
    }
}

// A blocked flock() can tell nothing, so a thread looks now and then.
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
