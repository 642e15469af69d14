// SPDX-License-Identifier: MIT
// A folder with the /proc, /sys, /dev and /etc of a board, made for a test and removed after it.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "doctor_system.hpp"

namespace rknpu2::test {

class FakeBoard {
  public:
    // A healthy ROCK 5B under the vendor's kernel; a test then spoils something.
    FakeBoard() {
        std::string pattern = ::testing::TempDir() + "rknpu2-board-XXXXXX";
        if (mkdtemp(pattern.data()) == nullptr) ADD_FAILURE() << "cannot make " << pattern;
        root_ = pattern;
        write("/proc/device-tree/model", std::string("Radxa ROCK 5B\0", 14));
        write("/proc/device-tree/compatible", std::string("radxa,rock-5b\0rockchip,rk3588\0", 30));
        write("/proc/sys/kernel/osrelease", "6.1.43-15-rk2312\n");
        write("/proc/meminfo", "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   12000000 kB\n");
        write("/proc/self/limits",
              "Limit                     Soft Limit           Hard Limit           Units     \n"
              "Max open files            65536                524288               files     \n");
        write("/sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.8\n");
        link("/sys/class/drm/card0/device/driver", "../../../bus/platform/drivers/rockchip-drm");
        link("/sys/class/drm/card1/device/driver", "../../../bus/platform/drivers/RKNPU");
        link("/sys/class/drm/card1-Writeback-1/device/driver", "../../../bus/platform/drivers/RKNPU");
        link("/sys/class/drm/renderD129/device/driver", "../../../bus/platform/drivers/RKNPU");
        write("/dev/dri/card0", "");
        write("/dev/dri/card1", "");
        allow("/dev/dri/card1", 0666);
        for (const char* policy : {"policy0", "policy4", "policy6"}) {
            write(cpufreq(policy) + "scaling_governor", "performance\n");
            write(cpufreq(policy) + "cpuinfo_max_freq", "2400000\n");
        }
        devfreq("dmc", "performance", 2112);
        devfreq("fdab0000.npu", "rknpu_ondemand", 1000);
        devfreq("fb000000.gpu", "simple_ondemand", 300);
    }
    ~FakeBoard() { std::filesystem::remove_all(root_); }
    FakeBoard(const FakeBoard&) = delete;
    FakeBoard& operator=(const FakeBoard&) = delete;

    const std::string& root() const { return root_; }
    // Permissions as for a user who owns nothing: tests may run as root, whom access(2) lets do everything.
    RootFolder folder() const {
        return RootFolder(root_, [](const std::string& path) {
            struct stat status = {};
            return stat(path.c_str(), &status) == 0 && (status.st_mode & 6) == 6;
        });
    }

    static std::string cpufreq(const std::string& policy) {
        return "/sys/devices/system/cpu/cpufreq/" + policy + "/";
    }
    void devfreq(const std::string& name, const std::string& governor, int now_mhz) const {
        const std::string folder = "/sys/class/devfreq/" + name;
        write(folder + "/governor", governor + "\n");
        write(folder + "/cur_freq", std::to_string(now_mhz) + "000000\n");
        write(folder + "/max_freq", name == "dmc" ? "2112000000\n" : "1000000000\n");
    }
    void write(const std::string& path, const std::string& text) const {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::ofstream(root_ + path, std::ios::binary) << text;
    }
    void link(const std::string& path, const std::string& target) const {
        std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
        std::filesystem::create_symlink(target, root_ + path);
    }
    void remove(const std::string& path) const { std::filesystem::remove_all(root_ + path); }
    void allow(const std::string& path, mode_t mode) const {
        EXPECT_EQ(chmod((root_ + path).c_str(), mode), 0) << path;
    }

  private:
    std::string root_;
};

}  // namespace rknpu2::test
