// SPDX-License-Identifier: MIT
// The doctor's checks of the system, on folders that look like boards: a healthy one, and each thing wrong.
#include "doctor_system.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "fake_board.hpp"

namespace rknpu2 {
namespace {

using test::FakeBoard;
using ::testing::HasSubstr;

std::vector<Check> all_checks(const FakeBoard& board, const std::string& runtime_driver = "") {
    std::vector<Check> checks = check_board(board.folder(), runtime_driver);
    for (Check& check : check_host(board.folder()))
        checks.push_back(std::move(check));
    return checks;
}

// The only check that is not well, of that id; the others are all well.
Check only_complaint(const FakeBoard& board, const std::string& id, const std::string& driver = "") {
    Check found;
    for (const Check& check : all_checks(board, driver)) {
        if (check.id == id) {
            found = check;
        } else {
            EXPECT_EQ(check.health, Health::kOk) << check.id << ": " << check.found;
        }
    }
    EXPECT_EQ(found.id, id);
    EXPECT_NE(found.advice, "");
    return found;
}

TEST(DoctorSystem, AHealthyBoard) {
    const FakeBoard board;
    const std::vector<Check> checks = all_checks(board);
    EXPECT_EQ(checks.size(), 9U);
    for (const Check& check : checks) {
        EXPECT_EQ(check.health, Health::kOk) << check.id << ": " << check.found;
        EXPECT_EQ(check.advice, "") << check.id;
    }
    EXPECT_EQ(checks[0].found, "RK3588, Radxa ROCK 5B");
    EXPECT_EQ(checks[2].found, "rknpu 0.9.8");
    EXPECT_EQ(checks[3].found, "/dev/dri/card1");  // no display, connector or render node
    EXPECT_EQ(checks[6].found, "1000 of 1000 MHz, governor rknpu_ondemand");
}

TEST(DoctorSystem, AnotherMachine) {
    const FakeBoard board;
    board.write("/proc/device-tree/compatible", std::string("raspberrypi,5\0brcm,bcm2712\0", 28));
    board.write("/proc/device-tree/model", "Raspberry Pi 5");
    EXPECT_FALSE(is_rk3588(board.folder()));
    const Check check = only_complaint(board, "system.chip");
    EXPECT_EQ(check.health, Health::kProblem);
    EXPECT_EQ(check.found, "Raspberry Pi 5 is not an RK3588");
}

TEST(DoctorSystem, AnotherKernel) {
    const FakeBoard board;
    board.write("/proc/sys/kernel/osrelease", "6.10.2\n");  // neither 6.1 nor 5.10
    EXPECT_EQ(only_complaint(board, "system.kernel").health, Health::kWarning);
    board.write("/proc/sys/kernel/osrelease", "5.10.160\n");
    EXPECT_EQ(all_checks(board)[1].health, Health::kOk);
}

TEST(DoctorSystem, NoDriver) {
    const FakeBoard board;
    board.remove("/sys/kernel/debug/rknpu");
    board.remove("/sys/class/drm");
    std::vector<Check> checks = all_checks(board);
    EXPECT_EQ(checks[2].health, Health::kProblem);
    EXPECT_EQ(checks[2].found, "no rknpu driver");
    EXPECT_EQ(checks[3].health, Health::kProblem);
    EXPECT_EQ(checks[3].found, "none of the rknpu driver");
    board.write("/dev/accel/accel0", "");
    checks = all_checks(board);
    EXPECT_THAT(checks[2].found, HasSubstr("rocket"));
    EXPECT_THAT(checks[2].advice, HasSubstr("vendor's kernel"));
}

TEST(DoctorSystem, VersionsOfTheDriver) {
    const FakeBoard board;
    const char* const file = "/sys/kernel/debug/rknpu/version";
    board.write(file, "RKNPU driver: v0.9.2\n");
    Check check = only_complaint(board, "system.driver");
    EXPECT_EQ(check.health, Health::kProblem);
    EXPECT_EQ(check.found, "rknpu 0.9.2 is too old: 0.9.6 is needed");
    board.write(file, "RKNPU driver: v0.9.6\n");
    check = only_complaint(board, "system.driver");
    EXPECT_EQ(check.health, Health::kWarning);
    EXPECT_THAT(check.found, HasSubstr("4 GiB"));
    board.write(file, "RKNPU driver: v0.10.0\n");  // as numbers, not as text
    EXPECT_EQ(all_checks(board)[2].health, Health::kOk);
    board.remove(file);  // readable for root only on most boards: then the runtime's word
    EXPECT_EQ(all_checks(board, "0.9.8")[2].found, "rknpu 0.9.8");
    EXPECT_EQ(only_complaint(board, "system.driver", "0.8.2").health, Health::kProblem);
    EXPECT_EQ(only_complaint(board, "system.driver").health, Health::kWarning);  // nobody tells
    board.write("/proc/rknpu/version", "RKNPU driver: v0.9.7\n");
    EXPECT_THAT(only_complaint(board, "system.driver").found, HasSubstr("0.9.7"));
}

TEST(DoctorSystem, ANodeThatIsNotOurs) {
    const FakeBoard board;
    board.allow("/dev/dri/card1", 0660);
    board.write("/etc/group", "root:x:99990:\nnpu-users:x:" + std::to_string(getgid()) + ":somebody\n");
    const Check check = only_complaint(board, "system.node");
    EXPECT_EQ(check.health, Health::kProblem);
    EXPECT_THAT(check.found, HasSubstr("/dev/dri/card1 may not be read and written"));
    EXPECT_EQ(check.advice, "sudo usermod -aG npu-users $USER, then log in again");
    // A group that may not use it, or that nobody should be in, is no help.
    board.allow("/dev/dri/card1", 0600);
    EXPECT_THAT(
        only_complaint(board, "system.node").advice,
        HasSubstr("echo 'KERNEL==\"card1\", MODE=\"0660\", GROUP=\"video\"' | sudo tee /etc/udev/rules.d/"));
    board.allow("/dev/dri/card1", 0660);
    board.write("/etc/group", "root:x:" + std::to_string(getgid()) + ":\n");
    EXPECT_THAT(only_complaint(board, "system.node").advice, HasSubstr("udev"));
    board.remove("/etc/group");  // then it has a number; that of root is no help either
    EXPECT_THAT(only_complaint(board, "system.node").advice,
                HasSubstr(getgid() == 0 ? "udev" : "-aG " + std::to_string(getgid())));
    board.remove("/dev/dri/card1");
    EXPECT_EQ(only_complaint(board, "system.node").found, "/dev/dri/card1 is missing");
}

TEST(DoctorSystem, Governors) {
    const FakeBoard board;
    board.write(FakeBoard::cpufreq("policy4") + "scaling_governor", "powersave\n");
    Check check = only_complaint(board, "system.cpu_clock");
    EXPECT_EQ(check.health, Health::kWarning);
    EXPECT_THAT(check.found, HasSubstr("policy4 powersave (to 2400 MHz)"));
    EXPECT_THAT(check.advice, HasSubstr("policy*/scaling_governor"));
    board.write(FakeBoard::cpufreq("policy4") + "scaling_governor", "performance\n");

    board.devfreq("dmc", "dmc_ondemand", 528);
    check = only_complaint(board, "system.memory_clock");
    EXPECT_EQ(check.found, "528 of 2112 MHz, governor dmc_ondemand");
    EXPECT_EQ(check.advice, "echo performance | sudo tee /sys/class/devfreq/dmc/governor");
    board.devfreq("dmc", "performance", 2112);

    board.devfreq("fdab0000.npu", "powersave", 1000);
    EXPECT_THAT(only_complaint(board, "system.npu_clock").advice, HasSubstr("devfreq/fdab0000.npu/governor"));
    board.remove("/sys/class/devfreq/fdab0000.npu");
    EXPECT_EQ(only_complaint(board, "system.npu_clock").found, "clock not readable");
}

// At its highest, but not allowed to be as high as it can.
TEST(DoctorSystem, ClocksThatAreHeldDown) {
    const FakeBoard board;
    const std::string npu = "/sys/class/devfreq/fdab0000.npu";
    board.write(npu + "/available_frequencies", "300000000 1000000000\n");
    board.write(npu + "/max_freq", "300000000\n");
    board.write(npu + "/cur_freq", "300000000\n");
    Check check = only_complaint(board, "system.npu_clock");
    EXPECT_EQ(check.health, Health::kWarning);
    EXPECT_EQ(check.found, "300 of 1000 MHz, governor rknpu_ondemand, held down to 300 MHz");
    EXPECT_THAT(check.advice, HasSubstr("echo 1000000000 | sudo tee " + npu + "/max_freq"));
    board.write(npu + "/max_freq", "1000000000\n");
    board.write(npu + "/cur_freq", "1000000000\n");

    board.write(FakeBoard::cpufreq("policy6") + "scaling_max_freq", "1800000\n");
    check = only_complaint(board, "system.cpu_clock");
    EXPECT_THAT(check.found, HasSubstr("policy6 performance (to 1800 MHz of 2400)"));
    EXPECT_EQ(check.advice, "echo 2400000 | sudo tee " + FakeBoard::cpufreq("policy6") + "scaling_max_freq");
}

// Kernels without a driver for the memory's clock: nothing that anybody could do.
TEST(DoctorSystem, AMemoryClockThatNobodyChanges) {
    const FakeBoard board;
    board.remove("/sys/class/devfreq/dmc");
    for (const Check& check : all_checks(board))
        EXPECT_EQ(check.health, check.id == "system.memory_clock" ? Health::kSkipped : Health::kOk)
            << check.id;
}

TEST(DoctorSystem, FewDescriptorsAndLittleMemory) {
    const FakeBoard board;
    const auto files = [&](const char* soft) {
        board.write("/proc/self/limits", std::string("Max open files  ") + soft + "  524288  files\n");
    };
    files("256");
    EXPECT_EQ(only_complaint(board, "system.files").health, Health::kProblem);
    files("1024");
    EXPECT_EQ(only_complaint(board, "system.files").health, Health::kWarning);
    EXPECT_THAT(only_complaint(board, "system.files").advice, HasSubstr("ulimit -n 65536"));
    files("unlimited");
    EXPECT_EQ(all_checks(board)[8].health, Health::kOk);

    board.write("/proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n");
    Check check = only_complaint(board, "system.memory");
    EXPECT_EQ(check.health, Health::kWarning);
    EXPECT_EQ(check.found, "1.0 GB available of 4.1 GB");
    board.write("/proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 100000 kB\n");
    EXPECT_EQ(only_complaint(board, "system.memory").health, Health::kProblem);
    board.remove("/proc/meminfo");
    check = only_complaint(board, "system.memory");
    EXPECT_EQ(check.health, Health::kWarning);
    EXPECT_EQ(check.found, "unknown");
}

TEST(DoctorSystem, TheRuntime) {
    RuntimeInfo info;
    info.library = "librknnrt.so";
    const auto health = [&](const std::string& version) {
        info.api_version = version;
        return check_runtime(info, "", true).health;
    };
    EXPECT_EQ(health("2.3.2 (429f97ae6b@2025-04-09T09:09:27)"), Health::kOk);
    EXPECT_EQ(health("2.10.0"), Health::kOk);
    EXPECT_EQ(health("2.2.0"), Health::kWarning);
    EXPECT_EQ(health("1.6.0"), Health::kProblem);
    EXPECT_EQ(health("?"), Health::kWarning);
    info.simulated = true;
    EXPECT_THAT(check_runtime(info, "", true).found, HasSubstr("no NPU is used"));
    EXPECT_EQ(check_runtime(info, "cannot load", true).health, Health::kProblem);
    EXPECT_THAT(check_runtime(info, "cannot load", true).advice, HasSubstr("/usr/lib"));
    EXPECT_THAT(check_runtime(info, "no node", false).advice, HasSubstr("--runtime"));
}

TEST(DoctorSystem, VersionsAreFound) {
    EXPECT_EQ(find_version("RKNPU driver: v0.9.8"), (Version{0, 9, 8}));
    EXPECT_EQ(find_version("v12.0.13-rc1"), (Version{12, 0, 13}));
    EXPECT_EQ(find_version("built 2025-04-09, 1.2"), std::nullopt);
    EXPECT_EQ(find_version(""), std::nullopt);
}

}  // namespace
}  // namespace rknpu2
