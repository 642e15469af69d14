#include "core/device_view.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>

#include "base/format.hpp"

namespace rknnsim {

DeviceView::~DeviceView() {
    if (copy_ != nullptr) munmap(copy_, size_);
}

bool DeviceView::is_tracked(size_t offset, size_t end) const {
    auto range = tracked_.upper_bound(offset);
    if (range == tracked_.begin()) return false;
    --range;
    return range->second >= end;
}

void DeviceView::copy(size_t offset, size_t end) {
    std::memcpy(copy_ + offset, cpu_ + offset, end - offset);
}

Outcome DeviceView::track(size_t offset, size_t bytes) {
    if (!cached_ || bytes == 0) return {};
    const size_t end = offset + bytes;
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        if (is_tracked(offset, end) && std::memcmp(copy_ + offset, cpu_ + offset, bytes) == 0) return {};
    }
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    if (copy_ == nullptr) {
        void* memory =
            mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            return {Code::kOutOfMemory,
                    rknpu2::format("no host memory for a device view of %zu bytes", size_)};
        }
        copy_ = static_cast<std::byte*>(memory);
    }
    copy(offset, end);
    if (is_tracked(offset, end)) return {};
    // Join the ranges that this one touches.
    size_t first = offset;
    size_t last = end;
    auto range = tracked_.upper_bound(offset);
    if (range != tracked_.begin() && std::prev(range)->second >= offset) --range;
    while (range != tracked_.end() && range->first <= last) {
        first = std::min(first, range->first);
        last = std::max(last, range->second);
        range = tracked_.erase(range);
    }
    tracked_[first] = last;
    return {};
}

void DeviceView::clean(size_t offset, size_t bytes) {
    const size_t end = offset + bytes;
    const auto for_each_part = [&](const auto& visit) {
        auto range = tracked_.upper_bound(offset);
        if (range != tracked_.begin()) --range;
        for (; range != tracked_.end() && range->first < end; ++range) {
            const size_t from = std::max(range->first, offset);
            const size_t to = std::min(range->second, end);
            if (from < to) visit(from, to);
        }
    };
    bool stale = false;
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        for_each_part([&](size_t from, size_t to) {
            stale = stale || std::memcmp(copy_ + from, cpu_ + from, to - from) != 0;
        });
    }
    if (!stale) return;
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    for_each_part([&](size_t from, size_t to) { copy(from, to); });
}

}  // namespace rknnsim
