// SPDX-License-Identifier: MIT
// The CPU's cache, by the rules of docs/simulator.md, "Line by line": for every byte what the CPU stored,
// what it had there when its line was last clean, and what is in memory.
#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "sim/random/model.hpp"

namespace rknnsim_random {
namespace {

using rknpu2::format;

constexpr uint64_t kLine = 64;

// What the CPU sees of a result until it invalidates the line.
uint8_t pattern_at(uint64_t at) {
    return static_cast<uint8_t>(((at / 8 + 1) * 0x9E3779B97F4A7C15U) >> (8 * (at % 8)));
}

template <typename Visit>
void for_each_line(const Allocation& allocation, uint64_t begin, uint64_t bytes, Visit&& visit) {
    if (bytes == 0) return;
    for (uint64_t line = begin / kLine * kLine; line < begin + bytes; line += kLine)
        visit(line, std::min<uint64_t>(line + kLine, allocation.cpu.size()));
}

bool is_dirty(const Allocation& allocation, uint64_t begin, uint64_t end) {
    return std::memcmp(allocation.cpu.data() + begin, allocation.seen.data() + begin, end - begin) != 0;
}

void write_back(Allocation& allocation, uint64_t begin, uint64_t end) {
    for (uint64_t at = begin; at < end; ++at) {
        allocation.device[at] = allocation.seen[at] = allocation.cpu[at];
        allocation.hidden[at] = 0;
    }
}

}  // namespace

bool Model::follows(const Allocation& allocation) const {
    return settings_.follows_lines() && allocation.cached && !allocation.cpu.empty();
}

void Model::clean_lines(Allocation& allocation, uint64_t begin, uint64_t bytes) const {
    for_each_line(allocation, begin, bytes, [&](uint64_t line, uint64_t end) {
        if (is_dirty(allocation, line, end)) write_back(allocation, line, end);
    });
}

void Model::invalidate_lines(Allocation& allocation, uint64_t begin, uint64_t bytes) const {
    clean_lines(allocation, begin, bytes);
    for_each_line(allocation, begin, bytes, [&](uint64_t line, uint64_t end) {
        for (uint64_t at = line; at < end; ++at) {
            allocation.cpu[at] = allocation.seen[at] = allocation.device[at];
            allocation.hidden[at] = 0;
        }
    });
}

// Has the CPU changed a byte of the range, or is one hidden from it?
bool Model::unseen(const Allocation& allocation, uint64_t begin, uint64_t bytes, bool by_cpu) const {
    for (uint64_t at = begin; at < begin + bytes; ++at) {
        if (by_cpu ? allocation.hidden[at] != 0 : allocation.cpu[at] != allocation.seen[at]) return true;
    }
    return false;
}

std::string Model::sync(const Step& step, const Outcome* outcome) {
    const Memory& mem = memories_.at(step.mem);
    Allocation& allocation = *mem.allocation;
    const bool to_device = (step.flags & 1U) != 0;
    const bool from_device = (step.flags & 2U) != 0;
    if (!settings_.follows_lines()) {
        if (to_device) clean(mem, mem.size);
        return "";
    }
    const bool nothing = mem.imported && settings_.import_sync_nothing;
    if (!follows(allocation)) return "";
    if (nothing) {
        const bool lost = (to_device && unseen(allocation, mem.offset, mem.size, false)) ||
                          (from_device && unseen(allocation, mem.offset, mem.size, true));
        if (outcome == nullptr || !settings_.check || lost == (outcome->import_syncs > 0)) return "";
        return lost ? "the checker says nothing of a sync that does nothing"
                    : "the checker speaks of a sync that nothing depends on";
    }
    if (to_device) clean_lines(allocation, mem.offset, mem.size);
    if (from_device) invalidate_lines(allocation, mem.offset, mem.size);
    return "";
}

void Model::lines(const Step& step) {
    const Memory& mem = memories_.at(step.mem);
    Allocation& allocation = *mem.allocation;
    const uint64_t begin = mem.offset + static_cast<uint64_t>(step.offset);
    if (!settings_.follows_lines()) {
        if (allocation.cpu.empty()) return;
        for_each_line(allocation, begin, step.size, [&](uint64_t line, uint64_t end) {
            std::memcpy(allocation.device.data() + line, allocation.cpu.data() + line, end - line);
        });
    } else if (follows(allocation)) {
        clean_lines(allocation, begin, step.size);
        if (step.flags == 2) invalidate_lines(allocation, begin, step.size);
    }
}

// Which bytes of C, which begins at `begin`, are lost to lines that the CPU has written.
std::vector<uint8_t> Model::overwritten(const Allocation& allocation, uint64_t begin, uint64_t bytes) const {
    std::vector<uint8_t> lost(bytes);
    if (!settings_.dirty_overwrites) return lost;
    for_each_line(allocation, begin, bytes, [&](uint64_t line, uint64_t end) {
        if (!is_dirty(allocation, line, end)) return;
        for (uint64_t at = std::max(line, begin); at < std::min(end, begin + bytes); ++at)
            lost[at - begin] = 1;
    });
    return lost;
}

// A run has written `result`, as the device sees it, to C.
std::string Model::store_result(const Memory& mem, const Outcome& outcome, const std::vector<uint8_t>& lost) {
    Allocation& allocation = *mem.allocation;
    const uint64_t bytes = outcome.device.size();
    const bool any = std::find(lost.begin(), lost.end(), 1) != lost.end();
    if (settings_.check && outcome.complete && any != (outcome.dirty_results > 0))
        return any ? "the checker says nothing of dirty lines in C" : "the checker sees dirty lines in C";
    for (uint64_t i = 0; i < bytes; ++i) {
        const uint64_t at = mem.offset + i;
        if (lost[i] != 0) continue;
        allocation.device[at] = outcome.device[i];
        allocation.cpu[at] = allocation.seen[at] =
            settings_.results_synced ? pattern_at(at) : outcome.device[i];
        allocation.hidden[at] = settings_.results_synced ? 1 : 0;
    }
    for_each_line(allocation, mem.offset, bytes, [&](uint64_t line, uint64_t end) {
        const uint64_t first = std::max(line, mem.offset) - mem.offset;
        if (lost[first] != 0) write_back(allocation, line, end);
    });
    for (uint64_t i = 0; i < bytes; ++i) {
        const uint64_t at = mem.offset + i;
        if (outcome.device[i] != allocation.device[at])
            return format("byte %zu of C: the device should see 0x%02x, but sees 0x%02x", (size_t)i,
                          allocation.device[at], outcome.device[i]);
        if (outcome.bytes[i] != allocation.cpu[at])
            return format("byte %zu of C: the CPU should see 0x%02x, but sees 0x%02x", (size_t)i,
                          allocation.cpu[at], outcome.bytes[i]);
    }
    return "";
}

}  // namespace rknnsim_random
