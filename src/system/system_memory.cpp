// SPDX-License-Identifier: MIT
#include "system/system_memory.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>

#include "base/format.hpp"

namespace rknpu2 {

SystemMemory system_memory(const std::string& root) {
    SystemMemory memory;
    std::ifstream file(root + "/proc/meminfo");
    std::string name;
    size_t kibibytes = 0;
    std::string unit;
    while (file >> name >> kibibytes && std::getline(file, unit)) {
        if (name == "MemTotal:") memory.total = kibibytes * 1024;
        if (name == "MemAvailable:") memory.available = kibibytes * 1024;
    }
    return memory;
}

Status check_memory(size_t bytes, const SystemMemory& memory) {
    constexpr size_t kReservedShare = 8;
    const size_t reserve = memory.total / kReservedShare;
    if (bytes <= memory.available && reserve <= memory.available - bytes) return {};
    return {StatusCode::kOutOfMemory,
            format("needs %zu MiB; %zu MiB are free, of which %zu are kept in reserve", bytes >> 20,
                   memory.available >> 20, reserve >> 20)};
}

bool is_shared_file_mapping(const void* data, size_t bytes) {
    const auto first = reinterpret_cast<uintptr_t>(data);
    const uintptr_t last = first + bytes;
    uintptr_t covered = first;  // everything below is known to be shared and of a file
    std::ifstream file("/proc/self/maps");
    std::string line;
    while (covered < last && std::getline(file, line)) {
        uint64_t low = 0;
        uint64_t high = 0;
        uint64_t inode = 0;
        char flags[5] = {};
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %*x %*s %" SCNu64, &low, &high, flags,
                        &inode) != 4) {
            continue;
        }
        if (high <= covered) continue;
        if (low > covered || flags[3] != 's' || inode == 0) return false;
        covered = high;
    }
    return bytes > 0 && covered >= last;
}

void give_back_pages(const void* data, size_t bytes) {
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto address = reinterpret_cast<uintptr_t>(data);
    const uintptr_t first = (address + page - 1) / page * page;
    const uintptr_t last = (address + bytes) / page * page;
    char* const start = static_cast<char*>(const_cast<void*>(data)) + (first - address);
    // Failure (locked pages) costs memory, nothing else.
    if (first < last) madvise(start, last - first, MADV_DONTNEED);
}

void bring_pages(const void* data, size_t bytes, PageUse use) {
#if defined(MADV_POPULATE_READ) && defined(MADV_POPULATE_WRITE)
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    const auto into_page = reinterpret_cast<uintptr_t>(data) & (page - 1);
    const char* const first = static_cast<const char*>(data) - into_page;
    // Older kernels and memory of devices refuse; then pages come one by one.
    static_cast<void>(madvise(const_cast<char*>(first), into_page + bytes,
                              use == PageUse::kRead ? MADV_POPULATE_READ : MADV_POPULATE_WRITE));
#endif
}

}  // namespace rknpu2
