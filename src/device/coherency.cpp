// SPDX-License-Identifier: MIT
#include "device/coherency.hpp"

#include "base/log.hpp"

namespace rknpu2 {
namespace {

// Counts a call that went well.
Status count(const Result<size_t>& maintained, MaintenanceCounter& counter) {
    RKNPU2_RETURN_IF_ERROR(maintained.status());
    ++counter.calls;
    counter.bytes += maintained.value();
    return {};
}

class LinesCoherency final : public Coherency {
  public:
    LinesCoherency(CacheLines lines, CoherencyCounters& counters) : Coherency(counters), lines_(lines) {}
    const char* name() const override { return "lines"; }

  protected:
    Result<size_t> to_device(NpuContext&, NpuMemory& memory, std::span<const Extent> where) override {
        size_t bytes = 0;
        for (const Extent& extent : where) {
            RKNPU2_RETURN_IF_ERROR(
                lines_.apply(CacheLines::Operation::kClean, memory.data() + extent.offset, extent.bytes));
            bytes += extent.bytes;
        }
        return bytes;
    }
    Result<size_t> from_device(NpuContext&, NpuMemory& memory, Extent where) override {
        RKNPU2_RETURN_IF_ERROR(lines_.apply(CacheLines::Operation::kCleanAndInvalidate,
                                            memory.data() + where.offset, where.bytes));
        return where.bytes;
    }

  private:
    const CacheLines lines_;
};

}  // namespace

Result<size_t> OwnerCoherency::to_device(NpuContext& context, NpuMemory& memory, std::span<const Extent>) {
    RKNPU2_RETURN_IF_ERROR(context.sync_to_device(memory));
    return memory.size();
}

Result<size_t> OwnerCoherency::from_device(NpuContext& context, NpuMemory& memory, Extent) {
    RKNPU2_RETURN_IF_ERROR(context.sync_from_device(memory));
    return memory.size();
}

Status Coherency::weights_written(NpuContext& context, NpuMemory& memory, std::span<const Extent> where) {
    return count(to_device(context, memory, where), counters_.weights);
}

Status Coherency::activations_written(NpuContext& context, NpuMemory& memory, size_t bytes) {
    const Extent where{0, bytes};
    return count(to_device(context, memory, {&where, 1}), counters_.activations);
}

Status Coherency::result_area_made(NpuContext& context, NpuMemory& memory) {
    const Extent where{0, memory.size()};
    return count(to_device(context, memory, {&where, 1}), counters_.result_areas);
}

Status Coherency::result_needed(NpuContext& context, NpuMemory& memory, size_t bytes) {
    return count(from_device(context, memory, {0, bytes}), counters_.results);
}

std::unique_ptr<Coherency> make_owner_coherency(CoherencyCounters& counters) {
    return std::make_unique<OwnerCoherency>(counters);
}

Result<std::unique_ptr<Coherency>> make_coherency(CoherencyChoice choice, const std::string& of_profile,
                                                  const NpuRuntime& runtime, CoherencyCounters& counters) {
    const bool profile_wants_lines = choice == CoherencyChoice::kAuto && of_profile == "lines";
    if (choice != CoherencyChoice::kLines && !profile_wants_lines) return make_owner_coherency(counters);
    const CacheLines lines = runtime.cache_lines();
    if (lines.available())
        return std::unique_ptr<Coherency>(std::make_unique<LinesCoherency>(lines, counters));
    if (profile_wants_lines) {
        log(LogLevel::kWarning,
            "the board profile says coherency lines, and this CPU lets programs maintain no cache lines: "
            "owner is used");
        return make_owner_coherency(counters);
    }
    return Status(StatusCode::kUnsupported,
                  "GGML_RKNPU2_COHERENCY=lines: this CPU lets programs maintain no cache lines; use owner");
}

}  // namespace rknpu2
