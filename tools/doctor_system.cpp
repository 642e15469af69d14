// SPDX-License-Identifier: MIT
#include "doctor_system.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "base/format.hpp"
#include "runtime/locate.hpp"
#include "system/system_memory.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

constexpr Version kDriverNeeded{0, 9, 6};
constexpr Version kDriverForDomains{0, 9, 8};
constexpr Version kRuntimeNeeded{2, 0, 0};
constexpr Version kRuntimeAdvised{2, 3, 2};
constexpr const char* kDevfreq = "/sys/class/devfreq/";
constexpr const char* kCpufreq = "/sys/devices/system/cpu/cpufreq/";
constexpr const char* kAccel = "/dev/accel/accel0";

// One small model and its context fit into the first, a model of some billions of weights needs the second.
constexpr uint64_t kLeastMemory = uint64_t{512} << 20;
constexpr uint64_t kGoodMemory = uint64_t{2} << 30;
// The plug-in keeps weights in few buffers, but every context imports slices by descriptor (docs/design.md).
constexpr uint64_t kLeastFiles = 1024;
constexpr uint64_t kGoodFiles = 4096;

// Nodes of the vendor's driver: /dev/rknpu, or the DRM card whose driver it is. Render nodes take work and
// do none of it, so they are not looked at.
std::vector<std::string> npu_nodes(const RootFolder& root) {
    std::vector<std::string> nodes;
    if (root.exists("/dev/rknpu")) nodes.emplace_back("/dev/rknpu");
    for (const std::string& name : root.list("/sys/class/drm")) {
        if (!name.starts_with("card") || name.find('-') != std::string::npos) continue;
        if (driver_of(root.root() + "/sys/class/drm/" + name) == "rknpu") nodes.push_back("/dev/dri/" + name);
    }
    return nodes;
}

Check check_chip(const RootFolder& root) {
    const CheckLine line{"system.chip", "chip"};
    const std::string model = board_model(root);
    if (is_rk3588(root)) return line.ok("RK3588, " + (model.empty() ? "?" : model));
    return line.problem(model.empty() ? "no device tree of an RK3588" : model + " is not an RK3588",
                        "the plug-in is for RK3588 and RK3588S; on other machines use --runtime sim");
}

Check check_kernel(const RootFolder& root) {
    const CheckLine line{"system.kernel", "kernel"};
    const std::string release = kernel_release(root);
    int major = 0;
    int minor = 0;
    const bool known = std::sscanf(release.c_str(), "%d.%d", &major, &minor) == 2;
    if (known && ((major == 5 && minor == 10) || (major == 6 && minor == 1))) return line.ok(release);
    return line.warning(known ? release : "version unknown",
                        "Rockchip's driver is in the vendor's kernels 5.10 and 6.1; others are untried");
}

std::optional<Version> driver_version(const RootFolder& root, const std::string& runtime_driver) {
    for (const char* path :
         {"/sys/kernel/debug/rknpu/version", "/proc/rknpu/version", "/sys/module/rknpu/version"}) {
        const std::optional<std::string> text = root.read(path);
        const std::optional<Version> version = text ? find_version(*text) : std::nullopt;
        if (version) return version;
    }
    return find_version(runtime_driver);
}

Check check_driver(const RootFolder& root, const std::string& runtime_driver) {
    const CheckLine line{"system.driver", "NPU driver"};
    const std::optional<Version> version = driver_version(root, runtime_driver);
    const std::string update = "install a vendor kernel with rknpu 0.9.8 (the board maker's newest image)";
    if (!version && npu_nodes(root).empty()) {
        if (root.exists(kAccel)) {
            return line.problem(
                "the kernel drives the NPU with rocket",
                "librknnrt.so needs Rockchip's rknpu driver: boot the vendor's kernel (5.10 or 6.1)");
        }
        return line.problem("no rknpu driver",
                            "boot the vendor's kernel (5.10 or 6.1) and enable the NPU in the device tree; "
                            "sudo dmesg | grep -i rknpu says why it is missing");
    }
    if (!version) {
        return line.warning("rknpu, version not readable",
                            "sudo cat /sys/kernel/debug/rknpu/version shows it; 0.9.8 is advised");
    }
    const std::string found = format("rknpu %d.%d.%d", version->major, version->minor, version->patch);
    if (*version < kDriverNeeded) return line.problem(found + " is too old: 0.9.6 is needed", update);
    if (*version < kDriverForDomains)
        return line.warning(found + ": no more than 4 GiB of packed weights", update);
    return line.ok(found);
}

// The group root is no group to be in.
std::string advice_on_permissions(const RootFolder& root, const std::string& node) {
    const std::string group = root.group_of(node);
    if (root.usable_by_group(node) && group != "root" && group != "0")
        return "sudo usermod -aG " + group + " $USER, then log in again";
    return "echo 'KERNEL==\"" + node.substr(node.rfind('/') + 1) +
           "\", MODE=\"0660\", GROUP=\"video\"' | sudo tee /etc/udev/rules.d/99-rknpu.rules; "
           "sudo usermod -aG video $USER; then start the board again";
}

Check check_nodes(const RootFolder& root) {
    const CheckLine line{"system.node", "device node"};
    std::string usable;
    for (const std::string& node : npu_nodes(root)) {
        if (!root.exists(node)) {
            return line.problem(node + " is missing",
                                "udev has not made it; in a container, pass it in (--device " + node + ")");
        }
        if (!root.usable(node)) {
            return line.problem(node + " may not be read and written by this user",
                                advice_on_permissions(root, node));
        }
        usable += (usable.empty() ? "" : ", ") + node;
    }
    if (!usable.empty()) return line.ok(usable);
    return line.problem("none of the rknpu driver",
                        "without the driver there is no node: see the line above");
}

// The highest clock that the device has, whatever it may be held down to; 0: unknown.
long long highest_clock(const RootFolder& root, const std::string& folder) {
    long long highest = root.number(folder + "/max_freq").value_or(0);
    std::istringstream clocks(root.first_line(folder + "/available_frequencies").value_or(""));
    for (long long clock = 0; clocks >> clock;)
        highest = std::max(highest, clock);
    return highest;
}

// Clock and governor of one devfreq device.
Check check_devfreq(const RootFolder& root, const std::string& name, const CheckLine& line) {
    const std::string folder = kDevfreq + name;
    const std::string governor = root.first_line(folder + "/governor").value_or("");
    const std::optional<long long> now = root.number(folder + "/cur_freq");
    const long long highest = highest_clock(root, folder);
    if (name.empty() || governor.empty() || !now || highest == 0) {
        return line.warning("clock not readable",
                            "times cannot be judged; look for the device in /sys/class/devfreq");
    }
    const std::string found =
        format("%lld of %lld MHz, governor %s", *now / 1000000, highest / 1000000, governor.c_str());
    if (const long long most = root.number(folder + "/max_freq").value_or(highest); most < highest) {
        return line.warning(
            found + format(", held down to %lld MHz", most / 1000000),
            "let it cool down, or: echo " + std::to_string(highest) + " | sudo tee " + folder + "/max_freq");
    }
    // A governor of its own that has the clock up already does no harm.
    if (governor == "performance" || (governor != "powersave" && *now >= highest)) return line.ok(found);
    return line.warning(found, "echo performance | sudo tee " + folder + "/governor");
}

// Not every kernel can change it.
Check check_memory_clock(const RootFolder& root) {
    const CheckLine line{"system.memory_clock", "memory clock"};
    if (!root.list("/sys/class/devfreq").empty() && !root.exists(std::string(kDevfreq) + "dmc"))
        return line.skipped("this kernel leaves it as the boot loader has set it");
    return check_devfreq(root, "dmc", line);
}

Check check_cpu(const RootFolder& root) {
    const CheckLine line{"system.cpu_clock", "CPU clock"};
    std::string all;
    std::string advice;
    bool slow = false;
    for (const std::string& name : root.list("/sys/devices/system/cpu/cpufreq")) {
        const std::string folder = kCpufreq + name;
        const std::string governor = root.first_line(folder + "/scaling_governor").value_or("");
        if (!name.starts_with("policy") || governor.empty()) continue;
        const long long highest = root.number(folder + "/cpuinfo_max_freq").value_or(0);
        const long long most = root.number(folder + "/scaling_max_freq").value_or(highest);
        all += format("%s%s %s (to %lld MHz", all.empty() ? "" : ", ", name.c_str(), governor.c_str(),
                      std::min(most, highest) / 1000);
        all += most < highest ? format(" of %lld)", highest / 1000) : ")";
        slow = slow || governor != "performance";
        if (most < highest)
            advice += "echo " + std::to_string(highest) + " | sudo tee " + folder + "/scaling_max_freq; ";
    }
    if (all.empty()) {
        return line.warning("governors not readable",
                            "times cannot be judged; see /sys/devices/system/cpu/cpufreq");
    }
    if (slow) advice += std::string("echo performance | sudo tee ") + kCpufreq + "policy*/scaling_governor; ";
    if (advice.empty()) return line.ok(all);
    return line.warning(all, advice.substr(0, advice.size() - 2));
}

Check by_amount(const CheckLine& line, uint64_t amount, uint64_t least, uint64_t good,
                const std::string& found, const char* advice) {
    if (amount < least) return line.problem(found, advice);
    return amount < good ? line.warning(found, advice) : line.ok(found);
}

Check check_memory(const RootFolder& root) {
    const CheckLine line{"system.memory", "memory"};
    const SystemMemory memory = system_memory(root.root());
    if (memory.total == 0) return line.warning("unknown", "/proc/meminfo cannot be read");
    return by_amount(line, memory.available, kLeastMemory, kGoodMemory,
                     human_bytes(memory.available) + " available of " + human_bytes(memory.total),
                     "close other programs or take a smaller model: packed weights need 1 byte each");
}

Check check_files(const RootFolder& root) {
    const CheckLine line{"system.files", "open files"};
    const char* const advice = "ulimit -n 65536: each buffer of the runtime takes a descriptor";
    const std::string limits = root.read("/proc/self/limits").value_or("");
    const size_t at = limits.find("Max open files");
    char soft[32] = {};
    if (at == std::string::npos || std::sscanf(&limits[at], "Max open files %31s", soft) != 1)
        return line.warning("limit unknown", advice);
    const long long files = std::string(soft) == "unlimited" ? 1LL << 40 : std::atoll(soft);
    return by_amount(line, static_cast<uint64_t>(files), kLeastFiles, kGoodFiles,
                     format("%lld allowed", files), advice);
}

// The NPU's folder in /sys/class/devfreq, such as "fdab0000.npu"; empty when there is none.
std::string npu_devfreq(const RootFolder& root) {
    for (const std::string& name : root.list("/sys/class/devfreq")) {
        if (name.find("npu") != std::string::npos) return name;
    }
    return {};
}

}  // namespace

// Without std::regex, which GCC's sanitizer build warns of.
std::optional<Version> find_version(const std::string& text) {
    for (size_t at = 0; at < text.size(); ++at) {
        Version version;
        const bool starts = at == 0 || (text[at - 1] < '0' || text[at - 1] > '9');
        if (starts && text[at] >= '0' && text[at] <= '9' &&
            std::sscanf(text.c_str() + at, "%9d.%9d.%9d", &version.major, &version.minor, &version.patch) ==
                3) {
            return version;
        }
    }
    return std::nullopt;
}

bool is_rk3588(const RootFolder& root) {
    // NUL-separated; RK3588S says "rockchip,rk3588s", "rockchip,rk3588" or both.
    const std::string compatible = root.read("/proc/device-tree/compatible").value_or("");
    return compatible.find("rockchip,rk3588") != std::string::npos;
}

std::string board_model(const RootFolder& root) {
    return root.first_line("/proc/device-tree/model").value_or("");
}

std::string kernel_release(const RootFolder& root) {
    return root.first_line("/proc/sys/kernel/osrelease").value_or("");
}

std::vector<Check> check_board(const RootFolder& root, const std::string& runtime_driver) {
    return {check_chip(root),
            check_kernel(root),
            check_driver(root, runtime_driver),
            check_nodes(root),
            check_cpu(root),
            check_memory_clock(root),
            check_devfreq(root, npu_devfreq(root), {"system.npu_clock", "NPU clock"})};
}

std::vector<Check> check_host(const RootFolder& root) {
    return {check_memory(root), check_files(root)};
}

Check check_runtime(const RuntimeInfo& info, const std::string& error, bool located) {
    const CheckLine line{"system.runtime", "runtime"};
    const std::string advice =
        "take librknnrt.so 2.3.2 from Rockchip's rknn-toolkit2 (rknpu2/runtime/Linux/librknn_api/aarch64) "
        "and copy it to /usr/lib";
    if (!error.empty()) {
        return line.problem(
            error, located ? advice : "see driver and device node above; or name a library with --runtime");
    }
    const std::string found = info.library + ", version " + info.api_version;
    if (info.simulated) return line.ok(found + ", a simulator: no NPU is used");
    const std::optional<Version> version = find_version(info.api_version);
    if (version && *version >= kRuntimeAdvised) return line.ok(found);
    if (version && *version < kRuntimeNeeded) return line.problem(found + ": too old", advice);
    return line.warning(found + ": 2.3.2 is advised", advice);
}

namespace fs = std::filesystem;

RootFolder::RootFolder(std::string root, Usable usable) : root_(std::move(root)), usable_(std::move(usable)) {
    while (root_.ends_with('/'))
        root_.pop_back();
    if (!usable_) usable_ = [](const std::string& path) { return access(path.c_str(), R_OK | W_OK) == 0; };
}

std::optional<std::string> RootFolder::read(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(real(path), std::ios::binary).rdbuf();
    if (text.str().empty()) return std::nullopt;
    return text.str();
}

std::optional<std::string> RootFolder::first_line(const std::string& path) const {
    std::optional<std::string> text = read(path);
    if (text) text->resize(std::min(text->find_first_of(std::string("\n\0", 2)), text->size()));
    return text;
}

std::optional<long long> RootFolder::number(const std::string& path) const {
    const std::optional<std::string> text = first_line(path);
    if (!text) return std::nullopt;
    char* end = nullptr;
    const long long value = std::strtoll(text->c_str(), &end, 10);
    if (end == text->c_str()) return std::nullopt;
    return value;
}

bool RootFolder::exists(const std::string& path) const {
    std::error_code error;
    return fs::exists(real(path), error);
}

std::vector<std::string> RootFolder::list(const std::string& path) const {
    std::vector<std::string> names;
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator(real(path), error))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

bool RootFolder::usable_by_group(const std::string& path) const {
    constexpr mode_t kBoth = S_IRGRP | S_IWGRP;
    struct stat status = {};
    return stat(real(path).c_str(), &status) == 0 && (status.st_mode & kBoth) == kBoth;
}

std::string RootFolder::group_of(const std::string& path) const {
    struct stat status = {};
    if (stat(real(path).c_str(), &status) != 0) return "?";
    std::string number = std::to_string(status.st_gid);
    std::istringstream groups(read("/etc/group").value_or(""));
    for (std::string line; std::getline(groups, line);) {
        std::istringstream fields(line);
        std::string name, password, id;
        std::getline(std::getline(std::getline(fields, name, ':'), password, ':'), id, ':');
        if (id == number) return name;
    }
    return number;
}

}  // namespace rknpu2
