// SPDX-License-Identifier: MIT
// Keeps processes from using one device at the same time: two that submit to an RK3588's NPU at once can
// freeze the board.
//
// Advisory locks (flock) on two files. A process first locks the queue file, then the device file, then
// unlocks the queue. So at most one process waits for the device itself, and one that gave it back cannot take
// it again before the waiting one has had it. The kernel drops the locks of a process that dies. A wait of
// more than a second is a line that names who holds the device.
//
// Whoever can open a file can hold its lock for ever, so the files are for those who may use the device: they
// get the group of its node in /dev (DeviceUsers), and nobody may only read them. They are opened for reading
// alone and nothing in them is believed, so they may belong to another user. A link, anything else but a
// file, and a file that more users could hold are refused, or mended where the file is ours.
//
// A lock belongs to the process that opened it. fork() closes the child's descriptors, so that the child
// neither keeps nor drops the parent's lock; there the object must be left alone.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "system/file.hpp"

namespace rknpu2 {

struct LockCounters {
    std::atomic<uint64_t> taken{0};
    std::atomic<uint64_t> waits{0};  // times that another process had it
    std::atomic<uint64_t> waited_ns{0};
};

// Who may use a device.
struct DeviceUsers {
    std::optional<gid_t> group;  // besides the owner; none: that of whoever makes the files
    bool everybody = false;

    mode_t mode() const { return everybody ? 0666 : 0660; }
    // As the first of these device nodes that is there says: its group, and everybody if all users may read
    // and write it.
    static DeviceUsers of(const std::vector<std::string>& nodes);
};

class DeviceLock {
  public:
    // The file is made if it is not there, and one more beside it, PATH.queue.
    static Result<std::unique_ptr<DeviceLock>> open(const std::string& path, LockCounters& counters,
                                                    const DeviceUsers& users = {});
    // What GGML_RKNPU2_LOCK says; null for none. `nodes`: of the device.
    static Result<std::unique_ptr<DeviceLock>> open(const Config& config, bool simulated,
                                                    const std::vector<std::string>& nodes,
                                                    LockCounters& counters);
    ~DeviceLock();

    // Waits until the device is ours. From one thread at a time, and not when it is ours already.
    Status acquire();
    void release();
    // While it is ours, and by the thread that has it: does another process wait for it? Also true when the files were removed: a
    // process that comes then makes others, and would not meet us.
    bool is_waited_for() const;

    // The device from take() to the end of a scope, however that is left, or to end().
    class Turn {
      public:
        Turn() = default;  // nothing is held
        // acquire(). Without a lock (null) nobody is waited for, and nothing is held.
        static Result<Turn> take(DeviceLock* lock);
        Turn(Turn&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)) {}
        Turn& operator=(Turn&& other) noexcept {
            std::swap(lock_, other.lock_);
            return *this;
        }
        ~Turn() { end(); }

        bool held() const { return lock_ != nullptr; }
        bool is_waited_for() const { return held() && lock_->is_waited_for(); }
        void end() {
            if (held()) std::exchange(lock_, nullptr)->release();
        }

      private:
        DeviceLock* lock_ = nullptr;
    };

  private:
    struct File {
        std::string path;
        FileDescriptor descriptor;  // known to the forks (device_lock.cpp)
        uint64_t device = 0;
        uint64_t inode = 0;

        // In place of what is open now.
        Status open(const DeviceUsers& users);
        bool replaced() const;
    };

    DeviceLock(const std::string& path, LockCounters& counters, const DeviceUsers& users);
    Status reopen_replaced();
    Status take(const File& file);
    Status take_both();
    void start_watching();
    void watch();

    LockCounters& counters_;
    const DeviceUsers users_;
    File queue_;
    File device_;
    // Tells of long waits; there once the first wait was.
    std::mutex mutex_;  // guards stop_, and which files those above are
    std::condition_variable stopped_;
    bool stop_ = false;
    std::atomic<int64_t> waiting_since_ns_{0};  // 0: not waiting
    std::thread watcher_;
};

// Returns the path of the lock of this machine's NPU. All users must share it, so it is not in XDG_RUNTIME_DIR.
std::string default_lock_path();

}  // namespace rknpu2
