// SPDX-License-Identifier: MIT
#include "core/cached_view.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "core/bytes.hpp"
#include "core/fingerprint.hpp"

namespace rknnsim {
namespace {

constexpr size_t kWord = sizeof(uint64_t);
constexpr size_t kBlockBytes = 4096;  // compared at once

// Eight bytes of the pattern. No word is zero, nor are two in a row alike.
uint64_t pattern_word(size_t index) {
    return (static_cast<uint64_t>(index) + 1) * 0x9E3779B97F4A7C15U;
}

bool is_pattern(const std::byte* data, size_t offset, size_t bytes) {
    std::byte pattern[kLineBytes];
    for (size_t done = 0; done < bytes;) {
        const size_t part = std::min(kLineBytes - (offset + done) % kLineBytes, bytes - done);
        write_pattern(pattern, offset + done, part);
        if (std::memcmp(pattern, data + done, part) != 0) return false;
        done += part;
    }
    return true;
}

}  // namespace

void write_pattern(std::byte* to, size_t offset, size_t bytes) {
    const size_t end = offset + bytes;
    while (offset < end) {
        const uint64_t word = pattern_word(offset / kWord);
        const size_t from = offset % kWord;
        const size_t part = std::min(kWord - from, end - offset);
        std::memcpy(to, reinterpret_cast<const std::byte*>(&word) + from, part);
        to += part;
        offset += part;
    }
}

Outcome CachedView::create(std::byte* cpu, size_t size, bool filled, const CacheRules& rules,
                           std::unique_ptr<DeviceView>* view) {
    void* memory =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return {Code::kOutOfMemory, rknpu2::format("no host memory for a device view of %zu bytes", size)};
    auto* device = static_cast<std::byte*>(memory);
    if (filled) std::memcpy(device, cpu, size);
    view->reset(new CachedView(cpu, device, size, rules));
    return {};
}

CachedView::~CachedView() {
    munmap(device_, size_);
}

CachedView::Range CachedView::lines_of(size_t offset, size_t bytes) const {
    if (bytes == 0) return {offset, offset};
    const size_t end = (offset + bytes + kLineBytes - 1) / kLineBytes * kLineBytes;
    return {offset / kLineBytes * kLineBytes, std::min(end, size_)};
}

// Are the CPU's bytes still what it sees by itself?
bool CachedView::as_seen(size_t begin, size_t end, bool is_hidden) const {
    if (is_hidden) return is_pattern(cpu_ + begin, begin, end - begin);
    return std::memcmp(cpu_ + begin, device_ + begin, end - begin) == 0;
}

CachedView::Ranges CachedView::hidden_parts(Range range) const {
    Ranges parts;
    const std::lock_guard<std::mutex> lock(hidden_mutex_);
    hidden_.for_each_part(range.begin, range.end, [&](size_t begin, size_t end) {
        parts.push_back({begin, end});
    });
    return parts;
}

// Calls visit(begin, end) for parts that the CPU has changed, in ascending order: at most `step` bytes each,
// cut where an offset is a multiple of it. Stops when it returns false.
template <typename Visit>
void CachedView::for_each_change(Range range, size_t step, Visit&& visit) const {
    const Ranges hidden = hidden_parts(range);
    auto next = hidden.begin();
    for (size_t at = range.begin; at < range.end;) {
        while (next != hidden.end() && next->end <= at)
            ++next;
        const bool is_hidden = next != hidden.end() && next->begin <= at;
        const size_t boundary = next == hidden.end() ? range.end : is_hidden ? next->end : next->begin;
        const size_t end = std::min({(at / kBlockBytes + 1) * kBlockBytes, boundary, range.end});
        if (!as_seen(at, end, is_hidden)) {
            for (size_t from = at; from < end;) {
                const size_t to = std::min((from / step + 1) * step, end);
                if (!as_seen(from, to, is_hidden) && !visit(from, to)) return;
                from = to;
            }
        }
        at = end;
    }
}

CachedView::Ranges CachedView::find_dirty(Range lines) const {
    Ranges dirty;
    for_each_change(lines, kLineBytes, [&](size_t begin, size_t end) {
        const Range line = lines_of(begin, end - begin);
        if (!dirty.empty() && dirty.back().end >= line.begin) {
            dirty.back().end = line.end;
        } else {
            dirty.push_back(line);
        }
        return true;
    });
    return dirty;
}

void CachedView::write_back(const Ranges& dirty) {
    for (const auto& [begin, end] : dirty)
        std::memcpy(device_ + begin, cpu_ + begin, end - begin);
    const std::lock_guard<std::mutex> lock(hidden_mutex_);
    for (const auto& [begin, end] : dirty)
        hidden_.remove(begin, end);
}

// The CPU sees the device's bytes, or the pattern until later.
void CachedView::show(Range range, bool at_once) {
    const auto [begin, end] = range;
    if (at_once) {
        std::memcpy(cpu_ + begin, device_ + begin, end - begin);
    } else {
        write_pattern(cpu_ + begin, begin, end - begin);
    }
    const std::lock_guard<std::mutex> lock(hidden_mutex_);
    at_once ? hidden_.remove(begin, end) : hidden_.add(begin, end);
}

Outcome CachedView::bind(size_t offset, size_t bytes, const BoundInput& /*input*/) {
    if (rules_.bind_cleans) clean(offset, bytes);
    return {};
}

void CachedView::clean(size_t offset, size_t bytes) {
    Range lines = lines_of(offset, bytes);
    {
        const RangeLock::Hold hold(lock_, lines.begin, lines.end, true);
        const Ranges dirty = find_dirty(lines);
        if (dirty.empty()) return;
        lines = {dirty.front().begin, dirty.back().end};
    }
    const RangeLock::Hold hold(lock_, lines.begin, lines.end, false);
    write_back(find_dirty(lines));
}

void CachedView::invalidate(size_t offset, size_t bytes) {
    clean(offset, bytes);
    if (rules_.results_visible) return;
    const Range lines = lines_of(offset, bytes);
    if (!hidden(lines.begin, lines.end - lines.begin)) return;
    const RangeLock::Hold hold(lock_, lines.begin, lines.end, false);
    for (const Range& part : hidden_parts(lines))
        show(part, true);
}

void CachedView::store(size_t offset, size_t bytes, const std::byte* data) {
    const Range lines = lines_of(offset, bytes);
    const RangeLock::Hold hold(lock_, lines.begin, lines.end, false);
    const Ranges dirty = rules_.dirty_overwrites ? find_dirty(lines) : Ranges();
    if (data == nullptr) {
        std::memset(device_ + offset, 0, bytes);
    } else {
        std::memcpy(device_ + offset, data, bytes);
    }
    size_t at = offset;
    const auto show_up_to = [&](size_t end) {
        end = std::min(end, offset + bytes);
        if (at < end) show({at, end}, rules_.results_visible);
    };
    for (const Range& range : dirty) {
        show_up_to(range.begin);
        at = std::max(at, range.end);
    }
    show_up_to(offset + bytes);
    write_back(dirty);
}

bool CachedView::plant(size_t offset, size_t bytes, std::byte value) {
    const RangeLock::Hold hold(lock_, offset, offset + bytes, false);
    for (const std::byte* side : {cpu_, device_}) {
        if (!all_equal(side + offset, bytes, std::byte{0})) return false;
    }
    std::memset(cpu_ + offset, static_cast<int>(value), bytes);
    std::memset(device_ + offset, static_cast<int>(value), bytes);
    return true;
}

void CachedView::look(size_t offset, size_t bytes, std::byte* to) const {
    const RangeLock::Hold hold(lock_, offset, offset + bytes, true);
    std::memcpy(to, device_ + offset, bytes);
}

bool CachedView::stale(size_t offset, size_t bytes, bool exact) const {
    const RangeLock::Hold hold(lock_, offset, offset + bytes, true);
    bool changed = false;
    const auto look = [&](size_t begin, size_t end) {
        for_each_change({begin, end}, kBlockBytes, [&](size_t, size_t) { return !(changed = true); });
    };
    if (exact || bytes <= kFingerprintWhole) {
        look(offset, offset + bytes);
        return changed;
    }
    const size_t step = (bytes - kWord) / kFingerprintSamples;
    for (size_t i = 0; i <= kFingerprintSamples && !changed; ++i)
        look(offset + i * step, offset + i * step + kWord);
    look(offset + bytes - kWord, offset + bytes);
    return changed;
}

size_t CachedView::dirty_lines(size_t offset, size_t bytes) const {
    const Range lines = lines_of(offset, bytes);
    const RangeLock::Hold hold(lock_, lines.begin, lines.end, true);
    size_t count = 0;
    for (const Range& range : find_dirty(lines))
        count += (range.end - range.begin + kLineBytes - 1) / kLineBytes;
    return count;
}

bool CachedView::hidden(size_t offset, size_t bytes) const {
    const std::lock_guard<std::mutex> lock(hidden_mutex_);
    return hidden_.intersects(offset, offset + bytes);
}

const std::byte* CachedView::begin_reading(size_t offset, size_t bytes) const {
    lock_.take(offset, offset + bytes, true);
    return device_ + offset;
}

void CachedView::end_reading(size_t offset, size_t bytes) const {
    lock_.give_back(offset, offset + bytes, true);
}

}  // namespace rknnsim
