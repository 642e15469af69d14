// SPDX-License-Identifier: MIT
#include "doctor_system.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "base/format.hpp"
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
constexpr long long kLeastFiles = 1024;
constexpr long long kGoodFiles = 4096;

std::string text_of(const Version& version) {
    return format("%d.%d.%d", version.major, version.minor, version.patch);
}

Check ok(std::string id, std::string title, std::string found) {
    return {std::move(id), Health::kOk, std::move(title), std::move(found), ""};
}

// Nodes of the vendor's driver: /dev/rknpu, or the DRM card whose driver it is. Render nodes take work and
// do none of it, so they are not looked at.
std::vector<std::string> npu_nodes(const RootFolder& root) {
    std::vector<std::string> nodes;
    if (root.exists("/dev/rknpu")) nodes.emplace_back("/dev/rknpu");
    for (const std::string& name : root.list("/sys/class/drm")) {
        if (!name.starts_with("card") || name.find('-') != std::string::npos) continue;
        if (root.link_name("/sys/class/drm/" + name + "/device/driver") == "rknpu")
            nodes.push_back("/dev/dri/" + name);
    }
    return nodes;
}

Check check_chip(const RootFolder& root) {
    const std::string model = board_model(root);
    if (is_rk3588(root)) return ok("system.chip", "chip", "RK3588, " + (model.empty() ? "?" : model));
    return {"system.chip", Health::kProblem, "chip",
            model.empty() ? "no device tree of an RK3588" : model + " is not an RK3588",
            "the plug-in is for RK3588 and RK3588S; on other machines use --runtime sim"};
}

Check check_kernel(const RootFolder& root) {
    const std::string release = kernel_release(root);
    int major = 0;
    int minor = 0;
    const bool known = std::sscanf(release.c_str(), "%d.%d", &major, &minor) == 2;
    if (known && ((major == 5 && minor == 10) || (major == 6 && minor == 1)))
        return ok("system.kernel", "kernel", release);
    return {"system.kernel", Health::kWarning, "kernel", known ? release : "version unknown",
            "Rockchip's driver is in the vendor's kernels 5.10 and 6.1; others are untried"};
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
    const char* const id = "system.driver";
    const char* const title = "NPU driver";
    const std::optional<Version> version = driver_version(root, runtime_driver);
    const std::string update = "install a vendor kernel with rknpu 0.9.8 (the board maker's newest image)";
    if (!version && npu_nodes(root).empty()) {
        if (root.exists(kAccel)) {
            return {id, Health::kProblem, title, "the kernel drives the NPU with rocket",
                    "librknnrt.so needs Rockchip's rknpu driver: boot the vendor's kernel (5.10 or 6.1)"};
        }
        return {id, Health::kProblem, title, "no rknpu driver",
                "boot the vendor's kernel (5.10 or 6.1) and enable the NPU in the device tree; "
                "sudo dmesg | grep -i rknpu says why it is missing"};
    }
    if (!version) {
        return {id, Health::kWarning, title, "rknpu, version not readable",
                "sudo cat /sys/kernel/debug/rknpu/version shows it; 0.9.8 is advised"};
    }
    const std::string found = "rknpu " + text_of(*version);
    if (*version < kDriverNeeded)
        return {id, Health::kProblem, title, found + " is too old: 0.9.6 is needed", update};
    if (*version < kDriverForDomains)
        return {id, Health::kWarning, title, found + ": no more than 4 GiB of packed weights", update};
    return ok(id, title, found);
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
    const char* const id = "system.node";
    const char* const title = "device node";
    const std::vector<std::string> nodes = npu_nodes(root);
    if (nodes.empty()) {
        return {id, Health::kProblem, title, "none of the rknpu driver",
                "without the driver there is no node: see the line above"};
    }
    std::string usable;
    for (const std::string& node : nodes) {
        if (!root.exists(node)) {
            return {id, Health::kProblem, title, node + " is missing",
                    "udev has not made it; in a container, pass it in (--device " + node + ")"};
        }
        if (!root.usable(node))
            return {id, Health::kProblem, title, node + " may not be read and written by this user",
                    advice_on_permissions(root, node)};
        usable += (usable.empty() ? "" : ", ") + node;
    }
    return ok(id, title, usable);
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
Check check_devfreq(const RootFolder& root, const std::string& name, const char* id, const char* title) {
    const std::string folder = kDevfreq + name;
    const std::string governor = root.first_line(folder + "/governor").value_or("");
    const std::optional<long long> now = root.number(folder + "/cur_freq");
    const long long highest = highest_clock(root, folder);
    if (name.empty() || governor.empty() || !now || highest == 0) {
        return {id, Health::kWarning, title, "clock not readable",
                "times cannot be judged; look for the device in /sys/class/devfreq"};
    }
    const std::string found =
        format("%lld of %lld MHz, governor %s", *now / 1000000, highest / 1000000, governor.c_str());
    if (const long long most = root.number(folder + "/max_freq").value_or(highest); most < highest) {
        return {
            id, Health::kWarning, title, found + format(", held down to %lld MHz", most / 1000000),
            "let it cool down, or: echo " + std::to_string(highest) + " | sudo tee " + folder + "/max_freq"};
    }
    // A governor of its own that has the clock up already does no harm.
    if (governor == "performance" || (governor != "powersave" && *now >= highest))
        return ok(id, title, found);
    return {id, Health::kWarning, title, found, "echo performance | sudo tee " + folder + "/governor"};
}

// Not every kernel can change it.
Check check_memory_clock(const RootFolder& root) {
    const char* const id = "system.memory_clock";
    const char* const title = "memory clock";
    if (!root.list("/sys/class/devfreq").empty() && !root.exists(std::string(kDevfreq) + "dmc"))
        return {id, Health::kSkipped, title, "this kernel leaves it as the boot loader has set it", ""};
    return check_devfreq(root, "dmc", id, title);
}

Check check_cpu(const RootFolder& root) {
    const char* const id = "system.cpu_clock";
    std::string all;
    std::string advice;
    bool slow = false;
    int policies = 0;
    for (const std::string& name : root.list("/sys/devices/system/cpu/cpufreq")) {
        const std::string folder = kCpufreq + name;
        const std::string governor = root.first_line(folder + "/scaling_governor").value_or("");
        if (!name.starts_with("policy") || governor.empty()) continue;
        ++policies;
        const long long highest = root.number(folder + "/cpuinfo_max_freq").value_or(0);
        const long long most = root.number(folder + "/scaling_max_freq").value_or(highest);
        all += format("%s%s %s (to %lld MHz", all.empty() ? "" : ", ", name.c_str(), governor.c_str(),
                      std::min(most, highest) / 1000);
        all += most < highest ? format(" of %lld)", highest / 1000) : ")";
        slow = slow || governor != "performance";
        if (most < highest)
            advice += "echo " + std::to_string(highest) + " | sudo tee " + folder + "/scaling_max_freq; ";
    }
    if (policies == 0) {
        return {id, Health::kWarning, "CPU clock", "governors not readable",
                "times cannot be judged; see /sys/devices/system/cpu/cpufreq"};
    }
    if (slow) advice += std::string("echo performance | sudo tee ") + kCpufreq + "policy*/scaling_governor; ";
    if (advice.empty()) return ok(id, "CPU clock", all);
    advice.resize(advice.size() - 2);
    return {id, Health::kWarning, "CPU clock", all, advice};
}

}  // namespace

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

std::string npu_devfreq(const RootFolder& root) {
    for (const std::string& name : root.list("/sys/class/devfreq")) {
        if (name.find("npu") != std::string::npos) return name;
    }
    return {};
}

std::vector<Check> check_board(const RootFolder& root, const std::string& runtime_driver) {
    return {check_chip(root),
            check_kernel(root),
            check_driver(root, runtime_driver),
            check_nodes(root),
            check_cpu(root),
            check_memory_clock(root),
            check_devfreq(root, npu_devfreq(root), "system.npu_clock", "NPU clock")};
}

std::vector<Check> check_host(const RootFolder& root) {
    std::vector<Check> checks;
    uint64_t total = 0;
    uint64_t available = 0;
    std::istringstream memory(root.read("/proc/meminfo").value_or(""));
    for (std::string line; std::getline(memory, line);) {
        unsigned long long kibibytes = 0;
        if (std::sscanf(line.c_str(), "MemTotal: %llu", &kibibytes) == 1) total = kibibytes * 1024;
        if (std::sscanf(line.c_str(), "MemAvailable: %llu", &kibibytes) == 1) available = kibibytes * 1024;
    }
    Check found =
        ok("system.memory", "memory", human_bytes(available) + " available of " + human_bytes(total));
    if (available < kGoodMemory) {
        found.health = available < kLeastMemory ? Health::kProblem : Health::kWarning;
        found.advice = "close other programs or take a smaller model: packed weights need 1 byte each";
    }
    if (total == 0) {
        found = {"system.memory", Health::kWarning, "memory", "unknown", "/proc/meminfo cannot be read"};
    }
    checks.push_back(found);

    long long files = -1;
    std::istringstream limits(root.read("/proc/self/limits").value_or(""));
    for (std::string line; std::getline(limits, line);) {
        char soft[32] = {};
        if (std::sscanf(line.c_str(), "Max open files %31s", soft) != 1) continue;
        files = std::string(soft) == "unlimited" ? 1LL << 40 : std::atoll(soft);
    }
    Check limit = ok("system.files", "open files", format("%lld allowed", files));
    if (files < kGoodFiles) {
        limit.health = files >= 0 && files < kLeastFiles ? Health::kProblem : Health::kWarning;
        limit.advice = "ulimit -n 65536: each buffer of the runtime takes a descriptor";
        if (files < 0) limit.found = "limit unknown";
    }
    checks.push_back(limit);
    return checks;
}

Check check_runtime(const RuntimeInfo& info, const std::string& error, bool located) {
    const char* const id = "system.runtime";
    const char* const title = "runtime";
    const std::string advice =
        "take librknnrt.so 2.3.2 from Rockchip's rknn-toolkit2 (rknpu2/runtime/Linux/librknn_api/aarch64) "
        "and copy it to /usr/lib";
    if (!error.empty() && !located) {
        return {id, Health::kProblem, title, error,
                "see driver and device node above; or name a library with --runtime"};
    }
    if (!error.empty()) return {id, Health::kProblem, title, error, advice};
    const std::string found = info.library + ", version " + info.api_version;
    if (info.simulated) return ok(id, title, found + ", a simulator: no NPU is used");
    const std::optional<Version> version = find_version(info.api_version);
    if (version && *version >= kRuntimeAdvised) return ok(id, title, found);
    const bool old = version && *version < kRuntimeNeeded;
    return {id, old ? Health::kProblem : Health::kWarning, title,
            found + (old ? ": too old" : ": 2.3.2 is advised"), advice};
}

}  // namespace rknpu2
