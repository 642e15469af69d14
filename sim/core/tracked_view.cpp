// SPDX-License-Identifier: MIT
#include "core/tracked_view.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "base/format.hpp"
#include "core/bytes.hpp"
#include "core/fingerprint.hpp"

namespace rknnsim {

TrackedView::~TrackedView() {
    if (copy_ != nullptr) munmap(copy_, size_);
}

Outcome TrackedView::bind(size_t offset, size_t bytes, const BoundInput& input) {
    if (input.copied) {
        RKNNSIM_RETURN_IF_ERROR(track(offset, bytes));
    } else {
        clean(offset, bytes);  // parts of it may be tracked as the A of others
    }
    if (input.marked) mark(offset, bytes, input.whole);
    return {};
}

// The runtime makes results visible to the CPU, and a result is no change that the device would not know of.
void TrackedView::store(size_t offset, size_t bytes, const std::byte* data) {
    if (data == nullptr) std::memset(cpu_ + offset, 0, bytes);
    clean(offset, bytes);
}

bool TrackedView::plant(size_t offset, size_t bytes, std::byte value) {
    if (!all_equal(cpu_ + offset, bytes, std::byte{0})) return false;
    std::memset(cpu_ + offset, static_cast<int>(value), bytes);
    return true;
}

void TrackedView::look(size_t offset, size_t bytes, std::byte* to) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    std::memcpy(to, cpu_ + offset, bytes);
    tracked_.for_each_part(offset, offset + bytes, [&](size_t begin, size_t end) {
        std::memcpy(to + (begin - offset), copy_ + begin, end - begin);
    });
}

const std::byte* TrackedView::begin_reading(size_t offset, size_t /*bytes*/) const {
    mutex_.lock_shared();
    return (copy_ != nullptr ? copy_ : cpu_) + offset;
}

void TrackedView::end_reading(size_t /*offset*/, size_t /*bytes*/) const {
    mutex_.unlock_shared();
}

void TrackedView::copy(size_t offset, size_t end) {
    std::memcpy(copy_ + offset, cpu_ + offset, end - offset);
}

bool TrackedView::differs(size_t offset, size_t end) const {
    bool different = false;
    tracked_.for_each_part(offset, end, [&](size_t from, size_t to) {
        different = different || std::memcmp(copy_ + from, cpu_ + from, to - from) != 0;
    });
    return different;
}

Outcome TrackedView::track(size_t offset, size_t bytes) {
    if (!cached_ || bytes == 0) return {};
    const size_t end = offset + bytes;
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        if (tracked_.contains(offset, end) && !differs(offset, end)) return {};
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
    tracked_.add(offset, end);
    refresh_marks(offset, end);
    return {};
}

void TrackedView::mark(size_t offset, size_t bytes, bool whole) {
    if (!cached_ || bytes == 0) return;
    const uint64_t now = fingerprint(cpu_ + offset, bytes, whole);
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        const auto found = marks_.find(offset);
        if (found != marks_.end() && found->second.bytes == bytes && found->second.fingerprint == now) return;
    }
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    marks_[offset] = {bytes, whole, false, now};
    longest_mark_ = std::max(longest_mark_, bytes);
}

void TrackedView::clean(size_t offset, size_t bytes) {
    const size_t end = offset + bytes;
    {
        const std::shared_lock<std::shared_mutex> lock(mutex_);
        if (!differs(offset, end) && !marks_differ(offset, end)) return;
    }
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    tracked_.for_each_part(offset, end, [&](size_t from, size_t to) { copy(from, to); });
    refresh_marks(offset, end);
}

void TrackedView::refresh_marks(size_t offset, size_t end) {
    for (auto mark = marks_.lower_bound(offset > longest_mark_ ? offset - longest_mark_ : 0);
         mark != marks_.end() && mark->first < end; ++mark) {
        if (mark->first + mark->second.bytes <= offset) continue;
        mark->second.fingerprint = fingerprint(cpu_ + mark->first, mark->second.bytes, mark->second.whole);
        mark->second.partial = mark->first < offset || mark->first + mark->second.bytes > end;
    }
}

bool TrackedView::marks_differ(size_t offset, size_t end) const {
    for (auto mark = marks_.lower_bound(offset > longest_mark_ ? offset - longest_mark_ : 0);
         mark != marks_.end() && mark->first < end; ++mark) {
        const auto& [bytes, whole, partial, seen] = mark->second;
        if (mark->first + bytes <= offset) continue;
        if (fingerprint(cpu_ + mark->first, bytes, whole) != seen) return true;
    }
    return false;
}

bool TrackedView::unchanged(size_t offset, size_t bytes) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    if (tracked_.contains(offset, offset + bytes)) return !differs(offset, offset + bytes);
    const auto mark = marks_.find(offset);
    return mark != marks_.end() && mark->second.bytes == bytes && mark->second.whole &&
           fingerprint(cpu_ + offset, bytes, true) == mark->second.fingerprint;
}

bool TrackedView::stale(size_t offset, size_t bytes, bool exact) const {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto mark = marks_.find(offset);
    const bool marked = mark != marks_.end() && mark->second.bytes == bytes;
    const bool compare = exact || (marked && mark->second.partial);
    if (marked && !(compare && tracked_.contains(offset, offset + bytes))) {
        return fingerprint(cpu_ + offset, bytes, mark->second.whole) != mark->second.fingerprint;
    }
    return differs(offset, offset + bytes);
}

}  // namespace rknnsim
