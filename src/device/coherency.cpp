// SPDX-License-Identifier: MIT
#include "device/coherency.hpp"

#include "base/log.hpp"

namespace rknpu2 {

using enum CacheLines::Operation;

Status Coherency::maintain(CacheLines::Operation operation, NpuContext& context, NpuMemory& memory,
                           std::span<const Extent> where, MaintenanceCounter& counter) {
    size_t bytes = 0;
    if (lines_) {
        for (const Extent& extent : where) {
            RKNPU2_RETURN_IF_ERROR(lines_->apply(operation, memory.data() + extent.offset, extent.bytes));
            bytes += extent.bytes;
        }
    } else {
        const bool clean = operation == kClean;
        RKNPU2_RETURN_IF_ERROR(clean ? context.sync_to_device(memory) : context.sync_from_device(memory));
        bytes = memory.size();
    }
    ++counter.calls;
    counter.bytes += bytes;
    return {};
}

Status Coherency::weights_written(NpuContext& context, NpuMemory& memory, std::span<const Extent> where) {
    return maintain(kClean, context, memory, where, counters_.weights);
}

Status Coherency::activations_written(NpuContext& context, NpuMemory& memory, size_t bytes) {
    const Extent where{0, bytes};
    return maintain(kClean, context, memory, {&where, 1}, counters_.activations);
}

Status Coherency::result_area_made(NpuContext& context, NpuMemory& memory) {
    const Extent where{0, memory.size()};
    return maintain(kClean, context, memory, {&where, 1}, counters_.result_areas);
}

Status Coherency::result_needed(NpuContext& context, NpuMemory& memory, size_t bytes) {
    const Extent where{0, bytes};
    return maintain(kCleanAndInvalidate, context, memory, {&where, 1}, counters_.results);
}

Result<std::unique_ptr<Coherency>> make_coherency(CoherencyChoice choice, const std::string& of_profile,
                                                  const NpuRuntime& runtime, CoherencyCounters& counters) {
    const bool profile_wants_lines = choice == CoherencyChoice::kAuto && of_profile == "lines";
    if (choice != CoherencyChoice::kLines && !profile_wants_lines)
        return std::make_unique<Coherency>(counters);
    const CacheLines lines = runtime.cache_lines();
    if (lines.available()) return std::make_unique<Coherency>(counters, lines);
    if (profile_wants_lines) {
        log(LogLevel::kWarning,
            "the board profile says coherency lines, and this CPU lets programs maintain no cache lines: "
            "owner is used");
        return std::make_unique<Coherency>(counters);
    }
    return Status(StatusCode::kUnsupported,
                  "GGML_RKNPU2_COHERENCY=lines: this CPU lets programs maintain no cache lines; use owner");
}

}  // namespace rknpu2
