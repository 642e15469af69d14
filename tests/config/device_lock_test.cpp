// SPDX-License-Identifier: MIT
// One device, several processes: one at a time, each in its turn, and none that dies stops the others.
#include "config/device_lock.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/log.hpp"

namespace rknpu2 {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kMaxProcesses = 4;

// What the processes of a test share.
struct Shared {
    std::atomic<int> ready;
    std::atomic<bool> go;
    std::atomic<int> inside;
    std::atomic<int> overlaps;
    std::array<std::atomic<int>, kMaxProcesses> turns;
};

class DeviceLockTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string pattern = ::testing::TempDir() + "lock-XXXXXX";
        directory_ = mkdtemp(pattern.data());
        path_ = directory_ + "/npu";
        shared_ = static_cast<Shared*>(
            mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        set_log_sink([this](LogLevel, const std::string& line) { lines_.push_back(line); });
    }
    void TearDown() override {
        set_log_sink({});
        munmap(shared_, sizeof(Shared));
        std::filesystem::remove_all(directory_);
    }

    std::unique_ptr<DeviceLock> open() {
        auto lock = DeviceLock::open(path_, counters_);
        EXPECT_TRUE(lock.ok()) << lock.status().to_string();
        return lock.ok() ? lock.take() : nullptr;
    }
    std::string refusal() {
        const auto lock = DeviceLock::open(path_, counters_);
        return lock.ok() ? "opened" : lock.status().message();
    }

    // A child that has the lock; it ends when it is killed, or after `ms`.
    pid_t holder(int ms) {
        const pid_t child = fork();
        if (child == 0) {
            const auto lock = open();
            if (!lock->acquire().ok()) _exit(1);
            shared_->ready = 1;
            usleep(static_cast<useconds_t>(ms) * 1000);
            _exit(0);
        }
        while (shared_->ready == 0)
            usleep(1000);
        return child;
    }

    // Each of `processes` takes it again and again for `ms`; holds it for 200 microseconds.
    void compete(int processes, int ms) {
        std::vector<pid_t> children;
        for (int p = 0; p < processes; ++p) {
            children.push_back(fork());
            if (children.back() != 0) continue;
            const auto lock = open();
            ++shared_->ready;
            while (!shared_->go)
                usleep(100);
            const Clock::time_point end = Clock::now() + milliseconds(ms);
            while (Clock::now() < end) {
                if (!lock->acquire().ok()) _exit(1);
                if (++shared_->inside != 1) ++shared_->overlaps;
                usleep(200);
                --shared_->inside;
                lock->release();
                ++shared_->turns[static_cast<size_t>(p)];
            }
            _exit(counters_.waits > 0 && counters_.waited_ns > 0 ? 0 : 2);
        }
        while (shared_->ready < processes)
            usleep(1000);
        shared_->go = true;
        for (const pid_t child : children) {
            int status = -1;
            waitpid(child, &status, 0);
            EXPECT_EQ(status, 0);
        }
        const auto [least, most] =
            std::minmax_element(shared_->turns.begin(), shared_->turns.begin() + processes);
        std::printf("%d processes: %d to %d turns\n", processes, least->load(), most->load());
        EXPECT_EQ(shared_->overlaps, 0);
        EXPECT_GT(*most, 50);
        // Two take turns exactly. When there are more, those that wait for the queue wake together and race.
        EXPECT_GE(*least * (processes == 2 ? 2 : 8), *most) << "somebody starves";
    }

    LockCounters counters_;
    std::string directory_;
    std::string path_;
    Shared* shared_ = nullptr;
    std::vector<std::string> lines_;
};

TEST_F(DeviceLockTest, TwoProcessesTakeTurns) {
    compete(2, 1000);
}

TEST_F(DeviceLockTest, FourProcessesTakeTurns) {
    compete(4, 1500);
}

TEST_F(DeviceLockTest, WhoDiesLetsGo) {
    const pid_t child = holder(20000);
    const auto lock = open();
    std::thread killer([&] {
        usleep(100000);
        kill(child, SIGKILL);
    });
    const Clock::time_point start = Clock::now();
    EXPECT_TRUE(lock->acquire().ok());
    EXPECT_LT(Clock::now() - start, milliseconds(10000));
    killer.join();
    waitpid(child, nullptr, 0);
    EXPECT_EQ(counters_.waits, 1U);
    EXPECT_GT(counters_.waited_ns, 50'000'000U);
    EXPECT_EQ(counters_.taken, 1U);
    lock->release();
}

TEST_F(DeviceLockTest, ALongWaitNamesTheHolder) {
    const pid_t child = holder(1800);
    const auto lock = open();
    EXPECT_TRUE(lock->acquire().ok());
    lock->release();
    waitpid(child, nullptr, 0);
    ASSERT_EQ(lines_.size(), 1U);
    EXPECT_THAT(lines_[0], HasSubstr("waiting for the NPU, which process " + std::to_string(child) + " ("));
    EXPECT_THAT(lines_[0], HasSubstr(") holds (" + path_ + ")"));
}

TEST_F(DeviceLockTest, WithoutOthersNobodyWaits) {
    const auto lock = open();
    constexpr int kRounds = 20000;
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < kRounds; ++i) {
        ASSERT_TRUE(lock->acquire().ok());
        lock->release();
    }
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    std::printf("%lld ns to take it and let it go\n", static_cast<long long>(ns / kRounds));
    EXPECT_EQ(counters_.taken, static_cast<uint64_t>(kRounds));
    EXPECT_EQ(counters_.waits, 0U);
    EXPECT_THAT(lines_, IsEmpty());
}

TEST_F(DeviceLockTest, TheHolderSeesThatAnotherWaits) {
    const auto lock = open();
    ASSERT_TRUE(lock->acquire().ok());
    EXPECT_FALSE(lock->is_waited_for());
    LockCounters counters;
    const auto other = DeviceLock::open(path_, counters).take();
    EXPECT_FALSE(lock->is_waited_for());
    std::thread waits([&] { EXPECT_TRUE(other->acquire().ok()); });
    while (!lock->is_waited_for())
        std::this_thread::yield();
    EXPECT_TRUE(lock->is_waited_for());
    lock->release();
    waits.join();
    EXPECT_FALSE(other->is_waited_for());
    std::filesystem::remove(path_);
    EXPECT_TRUE(other->is_waited_for())
        << "who comes now makes another file, and would use the device beside us";
    other->release();
}

TEST_F(DeviceLockTest, ALinkIsRefused) {
    const std::string victim = directory_ + "/victim";
    std::ofstream(victim) << "precious";
    std::filesystem::create_symlink(victim, path_);
    EXPECT_THAT(refusal(), HasSubstr("cannot lock the NPU: " + path_ + ": is a symbolic link"));
    std::filesystem::remove(path_);
    std::filesystem::create_symlink(directory_ + "/nothing", path_ + ".queue");
    EXPECT_THAT(refusal(), HasSubstr(path_ + ".queue: is a symbolic link"));
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/nothing"));
}

TEST_F(DeviceLockTest, WhatIsNoFileIsRefused) {
    ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
    EXPECT_THAT(refusal(), HasSubstr("is not a regular file"));
    std::filesystem::remove(path_);
    std::filesystem::create_directory(path_);
    EXPECT_THAT(refusal(), HasSubstr("is not a regular file"));
    path_ = directory_ + "/nowhere/npu";
    EXPECT_THAT(refusal(), HasSubstr("No such file or directory"));
}

TEST_F(DeviceLockTest, ADirectoryWhereAnybodyMayReplaceItIsRefused) {
    ASSERT_EQ(chmod(directory_.c_str(), 0777), 0);
    EXPECT_THAT(refusal(), HasSubstr("no sticky bit"));
    ASSERT_EQ(chmod(directory_.c_str(), 01777), 0);
    EXPECT_EQ(refusal(), "opened");
}

mode_t mode_of(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 0777U;
}

// Its maker and those of the device's group can hold it, others cannot even open it; and we never write.
TEST_F(DeviceLockTest, TheFileIsForThoseWhoMayUseTheDevice) {
    const std::string node = directory_ + "/node";
    std::ofstream(node) << "a stand-in";
    // A group that we may give files to, another than our own where there is one.
    std::array<gid_t, 64> groups{};
    const int count = getgroups(static_cast<int>(groups.size()), groups.data());
    const gid_t group = geteuid() == 0 ? 44 : count > 0 ? groups[0] : getegid();
    ASSERT_EQ(chown(node.c_str(), static_cast<uid_t>(-1), group), 0);
    for (const mode_t umasked : {0077, 0000}) {
        for (const mode_t of_node : {0660, 0666}) {
            ASSERT_EQ(chmod(node.c_str(), of_node), 0);
            const DeviceUsers users = DeviceUsers::of({directory_ + "/none", node});
            const mode_t before = umask(umasked);
            EXPECT_TRUE(DeviceLock::open(path_, counters_, users).ok());
            umask(before);
            for (const std::string& path : {path_, path_ + ".queue"}) {
                struct stat info {};
                ASSERT_EQ(stat(path.c_str(), &info), 0);
                EXPECT_EQ(info.st_mode & 0777U, of_node);
                EXPECT_EQ(info.st_gid, group);
                EXPECT_EQ(info.st_size, 0);
                std::filesystem::remove(path);
            }
        }
    }
    EXPECT_FALSE(DeviceUsers::of({}).group.has_value());
    open();
    EXPECT_EQ(mode_of(path_), 0660U);
}

// An older version made it, or somebody by hand.
TEST_F(DeviceLockTest, AFileOfOursThatMoreCouldHoldIsMended) {
    for (const mode_t mode : {0644, 0666, 0664, 0640, 0444}) {
        std::ofstream(path_).close();
        ASSERT_EQ(chmod(path_.c_str(), mode), 0);
        open();
        EXPECT_EQ(mode_of(path_), 0660U) << std::oct << mode;
    }
    // Whatever is in it is not ours.
    std::ofstream(path_) << "content";
    ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
    EXPECT_THAT(refusal(), HasSubstr("could be held by users who may not use the NPU: remove it"));
    EXPECT_EQ(mode_of(path_), 0644U);
    std::filesystem::remove(path_);
    ASSERT_TRUE(DeviceLock::open(path_, counters_, {std::nullopt, true}).ok());
    EXPECT_EQ(mode_of(path_), 0666U);
    // A file for everybody is what the device's users are then.
    EXPECT_TRUE(DeviceLock::open(path_, counters_, {std::nullopt, true}).ok());
}

TEST_F(DeviceLockTest, AUserWhoMayNotUseTheDeviceCannotHoldIt) {
    if (geteuid() != 0) GTEST_SKIP() << "only the superuser can become another user";
    ASSERT_EQ(chmod(directory_.c_str(), 01777), 0);
    open();
    std::ofstream(directory_ + "/theirs").close();
    ASSERT_EQ(chown((directory_ + "/theirs").c_str(), 1234, 1234), 0);
    ASSERT_EQ(chmod((directory_ + "/theirs").c_str(), 0644), 0);
    const pid_t child = fork();
    if (child == 0) {
        const bool became = setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0;
        const bool closed = ::open(path_.c_str(), O_RDONLY) < 0 && errno == EACCES;
        const std::string why = refusal();
        const bool says = why.find(path_ + ": is for user 0 and group 0 only") != std::string::npos;
        path_ = directory_ + "/theirs";
        const bool refuses = refusal().find("could be held by users who may not") != std::string::npos;
        _exit(!became ? 1 : !closed ? 2 : !says ? 3 : !refuses ? 4 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << WEXITSTATUS(status);
}

// A child that outlives its parent would else keep the lock that the parent had.
TEST_F(DeviceLockTest, AForkedChildHasNoPartInIt) {
    const auto lock = open();
    ASSERT_TRUE(lock->acquire().ok());
    int begun[2];
    ASSERT_EQ(pipe(begun), 0);
    const pid_t parent = fork();
    if (parent == 0) {
        LockCounters counters;
        const auto held = DeviceLock::open(path_ + "2", counters).take();
        if (!held->acquire().ok()) _exit(1);
        const pid_t child = fork();
        if (child == 0) {
            const bool told = write(begun[1], "", 1) == 1;
            usleep(3'000'000);
            _exit(told ? 0 : 1);
        }
        // What a fork lets a child do first is done.
        char byte = 0;
        _exit(read(begun[0], &byte, 1) == 1 ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(parent, &status, 0), parent);
    EXPECT_EQ(status, 0);
    LockCounters counters;
    const auto after = DeviceLock::open(path_ + "2", counters).take();
    ASSERT_TRUE(after->acquire().ok());
    EXPECT_EQ(counters.waits, 0U) << "the grandchild has it still";
    // And ours was not dropped by those that ended.
    const auto other = DeviceLock::open(path_, counters).take();
    std::atomic<bool> has_it{false};
    std::thread waits([&] {
        EXPECT_TRUE(other->acquire().ok());
        has_it = true;
    });
    while (counters.waits == 0)
        usleep(1000);
    EXPECT_FALSE(has_it);
    lock->release();
    waits.join();
    close(begun[0]);
    close(begun[1]);
}

TEST_F(DeviceLockTest, AFileThatWasRemovedIsMadeAgain) {
    const auto lock = open();
    std::filesystem::remove(path_);
    EXPECT_TRUE(lock->acquire().ok());
    EXPECT_TRUE(std::filesystem::exists(path_));
    lock->release();
}

// Who waits gets what was removed meanwhile, and has to meet those who came later all the same.
TEST_F(DeviceLockTest, AFileThatIsRemovedDuringAWait) {
    const auto first = open();
    ASSERT_TRUE(first->acquire().ok());
    std::atomic<bool> has_it{false};
    LockCounters counters;
    const auto waiting = DeviceLock::open(path_, counters).take();
    std::thread waits([&] {
        EXPECT_TRUE(waiting->acquire().ok());
        has_it = true;
        waiting->release();
    });
    while (counters.waits == 0)
        usleep(1000);
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + ".queue");
    const auto later = open();
    ASSERT_TRUE(later->acquire().ok());
    first->release();
    usleep(50000);
    EXPECT_FALSE(has_it) << "both have it";
    later->release();
    waits.join();
    EXPECT_TRUE(has_it);
}

TEST_F(DeviceLockTest, TheSimulatorHasNoneUnlessItIsAskedFor) {
    Config config;
    EXPECT_EQ(DeviceLock::open(config, true, {}, counters_).value(), nullptr);
    config.lock = path_;
    EXPECT_NE(DeviceLock::open(config, true, {}, counters_).value(), nullptr);
    config.lock = "none";
    EXPECT_EQ(DeviceLock::open(config, false, {}, counters_).value(), nullptr);
    EXPECT_THAT(default_lock_path(), HasSubstr("/ggml-rknpu2.lock"));
}

}  // namespace
}  // namespace rknpu2
