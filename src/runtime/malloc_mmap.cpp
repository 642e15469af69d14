// SPDX-License-Identifier: MIT
#include "runtime/malloc_mmap.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <algorithm>
#include <fstream>
#include <string_view>

#include "base/log.hpp"

namespace rknpu2 {

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
