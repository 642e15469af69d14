// SPDX-License-Identifier: MIT
#include "runtime/locate.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include "base/format.hpp"
#include "base/log.hpp"

namespace rknpu2 {
namespace {

namespace fs = std::filesystem;

bool path_exists(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

}  // namespace

std::string driver_of(const std::string& node) {
    std::error_code error;
    const fs::path link = fs::read_symlink(node + "/device/driver", error);
    if (error) return {};
    std::string name = link.filename().string();
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    return name;
}

std::vector<std::string> npu_device_nodes() {
    std::vector<std::string> nodes;
    if (path_exists("/dev/rknpu")) nodes.emplace_back("/dev/rknpu");
    std::error_code error;
    for (const fs::directory_entry& entry : fs::directory_iterator("/sys/class/drm", error)) {
        const std::string name = entry.path().filename().string();
        if (driver_of(entry.path().string()) != "rknpu") continue;
        const fs::path node = fs::path("/dev/dri") / name;
        if (path_exists(node)) nodes.push_back(node.string());
    }
    std::sort(nodes.begin(), nodes.end());
    return nodes;
}

bool may_use_any(const std::vector<std::string>& nodes) {
    const auto is_render = [](const std::string& node) { return node.find("/renderD") != std::string::npos; };
    const bool only_render = std::ranges::all_of(nodes, is_render);
    return std::ranges::any_of(nodes, [&](const std::string& node) {
        return (only_render || !is_render(node)) && access(node.c_str(), R_OK | W_OK) == 0;
    });
}

Status check_access(const std::vector<std::string>& nodes) {
    if (nodes.empty() || may_use_any(nodes)) return {};
    return {StatusCode::kDeviceUnavailable,
            format("this user may not read and write %s: join its group, mostly video, and log in again",
                   nodes.front().c_str())};
}

bool has_rocket_driver() {
    return path_exists("/dev/accel/accel0");
}

Result<std::string> locate_runtime(const std::string& setting, const std::string& own_directory) {
    if (setting == "auto") {
        if (!npu_device_nodes().empty()) return std::string("librknnrt.so");
        const char* const why = has_rocket_driver()
                                    ? "the kernel drives the NPU with rocket, which librknnrt.so does not use"
                                    : "no device node of the rknpu kernel driver";
        return Status(StatusCode::kDeviceUnavailable,
                      format("%s on this machine; GGML_RKNPU2_RUNTIME=sim simulates the NPU", why));
    }
    if (setting == "sim") {
        const fs::path own(own_directory.empty() ? "." : own_directory);
        // In a build tree; installed beside the plug-in; installed, as seen from a program in bin/.
        const fs::path candidates[] = {
            own / ".." / "sim" / "librknnrt.so",
            own / "rknnsim" / "librknnrt.so",
            own / ".." / RKNPU2_INSTALL_LIBDIR / "ggml-rknpu2" / "rknnsim" / "librknnrt.so",
        };
        for (const fs::path& path : candidates)
            if (path_exists(path)) return fs::absolute(path).lexically_normal().string();
        return Status(
            StatusCode::kDeviceUnavailable,
            format("the simulator is neither %s nor %s; build the target rknnrt",
                   candidates[0].lexically_normal().c_str(), candidates[1].lexically_normal().c_str()));
    }
    if (!path_exists(setting)) {
        return Status(StatusCode::kDeviceUnavailable,
                      format("GGML_RKNPU2_RUNTIME=%s: no such file", setting.c_str()));
    }
    return setting;
}

bool is_simulator(const std::string& library) {
    constexpr std::string_view kExported = "rknnsim_live";
    if (library.find('/') == std::string::npos) return false;
    std::ifstream file(library, std::ios::binary);
    // In pieces that overlap by the name's length.
    std::string piece;
    std::string next(size_t{1} << 16, '\0');
    while (file.read(next.data(), static_cast<std::streamsize>(next.size())), file.gcount() > 0) {
        piece.append(next, 0, static_cast<size_t>(file.gcount()));
        if (piece.find(kExported) != std::string::npos) return true;
        if (piece.size() > kExported.size()) piece.erase(0, piece.size() - kExported.size());
    }
    return false;
}

void keep_malloc_from_mapping([[maybe_unused]] bool simulated, [[maybe_unused]] MallocMmap setting) {
#if defined(__GLIBC__)
    if (setting == MallocMmap::kKeep) return;
    if (setting == MallocMmap::kAuto && simulated) return;
    if (mallopt(M_MMAP_MAX, 0) == 0) return;
    log(LogLevel::kInfo,
        "large blocks of memory come from the heap and have no mappings of their own from now on, since the "
        "NPU's library may unmap those (GGML_RKNPU2_MALLOC_MMAP=keep leaves it to malloc)");
#endif
}

}  // namespace rknpu2
