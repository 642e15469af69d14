// SPDX-License-Identifier: MIT
#include "system/process.hpp"

#include <fcntl.h>
#include <sys/resource.h>

#include <cerrno>

namespace rknpu2 {

uint64_t descriptor_limit() {
    rlimit limit{};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    return limit.rlim_cur;
}

uint64_t descriptors_left() {
    const uint64_t limit = descriptor_limit();
    const int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (lowest < 0) return errno == EMFILE ? 0 : UINT64_MAX;
    close(lowest);
    if (limit == 0) return UINT64_MAX;
    const auto used = static_cast<uint64_t>(lowest);
    return limit > used ? limit - used : 0;
}

}  // namespace rknpu2
