// SPDX-License-Identifier: MIT
// What the bytes are: stores, bindings, cleaning, runs.
#include <algorithm>
#include <cstring>

#include "base/format.hpp"
#include "matrix/layout.hpp"
#include "sim/random/model.hpp"

namespace rknnsim_random {

using rknpu2::DType;
using rknpu2::format;

void Model::clean(const Memory& memory, uint64_t size) {
    Allocation& allocation = *memory.allocation;
    if (allocation.cpu.empty()) return;
    std::memcpy(allocation.device.data() + memory.offset, allocation.cpu.data() + memory.offset, size);
}

// Binding C may fill with 0xAA what is still zero and no run has written: "poison".
std::string Model::poison(const Memory& memory, const std::vector<uint8_t>& now) {
    Allocation& allocation = *memory.allocation;
    for (size_t i = 0; i < now.size(); ++i) {
        const size_t at = memory.offset + i;
        if (now[i] == allocation.cpu[at]) continue;
        if (allocation.cpu[at] != 0 || now[i] != 0xAA || allocation.computed[at] != 0 || !settings_.check)
            return format("byte %zu of C: binding it changes 0x%02x to 0x%02x", i, allocation.cpu[at],
                          now[i]);
        if (follows(allocation)) {  // on both sides, as if it had always been there
            if (allocation.device[at] != 0) return "binding C fills what the device sees something else of";
            allocation.device[at] = allocation.seen[at] = now[i];
        }
        allocation.cpu[at] = now[i];
        if (!allocation.cached) allocation.device[at] = now[i];
    }
    return "";
}

std::string Model::bind(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    rknn_matmul_tensor_attr attr =
        attr_of(context.info, step.operand, context.rows.at(static_cast<size_t>(step.shape)));
    if (step.edit.has_value()) apply_edit(*step.edit, &attr);
    const int operand = attr.name[0] - 'A';
    Binding& binding = context.bindings[operand];
    binding = {.bound = true, .M = context.M, .mem = step.mem, .size = attr.size};
    binding.converted = context.converts(operand);
    const Memory& mem = memories_[step.mem];
    if (!with_data_) return "";
    if (binding.converted) {
        const uint8_t* from = mem.allocation->cpu.data() + mem.offset;
        binding.bytes.assign(from, from + attr.size);
    } else if (operand != kC && follows(*mem.allocation)) {
        if (!settings_.bind_leaves) clean_lines(*mem.allocation, mem.offset, attr.size);
    } else if (operand != kC) {
        clean(mem, attr.size);
    } else if (outcome != nullptr) {
        return poison(mem, outcome->bytes);
    }
    return "";
}

// What the device computes with.
const uint8_t* Model::seen(const Context& context, int operand) const {
    const Binding& binding = context.bindings[operand];
    if (binding.converted) return binding.bytes.data();
    const Memory& mem = memories_.at(binding.mem);
    constexpr uint64_t kAutoBytes = uint64_t{64} << 10;
    const auto shadow = settings_.shadow;
    const bool copied = operand == kA || settings_.follows_lines() || shadow == Settings::Shadow::kFull ||
                        (shadow == Settings::Shadow::kAuto && binding.size <= kAutoBytes);
    return (copied ? mem.allocation->device : mem.allocation->cpu).data() + mem.offset;
}

// The checker has to tell when the program has stored other data than the device was shown, and only then.
// It looks only at samples of large operands, and may miss a change there.
std::string Model::check_staleness(const Context& context, const Outcome& outcome) const {
    bool may = false;
    bool must = false;
    for (const int operand : {kA, kB}) {
        const Binding& binding = context.bindings[operand];
        const Memory* mem = memory(binding.mem);
        if (!in_use(context, operand) || mem == nullptr) continue;
        if (operand == kA && binding.converted && settings_.normal_a_at_run) continue;
        const uint8_t* cpu = mem->allocation->cpu.data() + mem->offset;
        const bool by_line = follows(*mem->allocation);
        const uint8_t* device =
            binding.converted
                ? binding.bytes.data()
                : (by_line ? mem->allocation->seen : mem->allocation->device).data() + mem->offset;
        if (std::memcmp(cpu, device, binding.size) == 0) continue;
        may = true;
        // Weights without a device copy have only a fingerprint, which a cleaning of a part renews.
        const bool guess = operand == kB && !by_line && settings_.shadow == Settings::Shadow::kLazy;
        must = must || (operand == kA && !binding.converted) ||
               (binding.size <= 4096 && (binding.converted || !guess));
    }
    if (outcome.stale > 0 && !may) return "the checker calls an input stale that is not";
    if (outcome.stale == 0 && must && settings_.check) return "the checker says nothing of a stale input";
    return "";
}

std::string Model::check_run(const Context& context, const uint8_t* got,
                             const std::vector<uint8_t>& lost) const {
    Operation op;
    op.type = context.info.type;
    op.M = static_cast<size_t>(context.M);
    op.K = static_cast<size_t>(context.info.K);
    op.N = static_cast<size_t>(context.info.N);
    op.b_layout = context.info.B_layout;
    if (sabotage_ == Sabotage::kSwapped) op.b_layout = op.b_layout == 2 ? 0 : 2;
    op.ac_layout = context.info.AC_layout;
    op.settings = settings_;
    op.zero = context.computes_zero() || !in_use(context, kA) || !in_use(context, kB);
    std::copy(context.scales, context.scales + 3, op.scales);
    for (const int operand : {kA, kB}) {
        if (op.zero) break;
        (operand == kA ? op.a : op.b) = seen(context, operand);
    }
    ++compared_;
    return compare(op, multiply(op), got, lost);
}

std::string Model::run(const Step& step, const Outcome* outcome) {
    Context& context = contexts_[step.ctx];
    const uint64_t count = step.call == Call::kRun ? 1 : outcome == nullptr ? 0 : outcome->done;
    runs_ += count;
    macs_ += count * static_cast<uint64_t>(context.M) * static_cast<uint64_t>(context.info.K) *
             static_cast<uint64_t>(context.info.N);
    if (!with_data_ || outcome == nullptr) return "";
    const Binding& c = context.bindings[kC];
    if (outcome->bytes.size() != c.size)
        return format("C has %zu bytes, expected %llu", outcome->bytes.size(), (unsigned long long)c.size);
    Binding& a = context.bindings[kA];
    if (settings_.normal_a_at_run && a.converted && memory(a.mem) != nullptr && !context.computes_zero()) {
        const Memory& mem = memories_[a.mem];
        const uint8_t* from = mem.allocation->cpu.data() + mem.offset;
        a.bytes.assign(from, from + a.size);
    }
    const Memory& mem = memories_[c.mem];
    const bool by_line = follows(*mem.allocation);
    if (by_line && outcome->device.size() != c.size) return "nothing is known of the device's C";
    std::vector<uint8_t> lost;
    // The first of several runs has had the dirty lines.
    if (by_line && count > 1 && settings_.dirty_overwrites) clean_lines(*mem.allocation, mem.offset, c.size);
    if (by_line) lost = overwritten(*mem.allocation, mem.offset, c.size);
    std::vector<uint8_t> got = by_line ? outcome->device : outcome->bytes;
    if (sabotage_ == Sabotage::kFlippedByte) got[got.size() / 2] ^= 0x40U;
    std::string problem = check_run(context, got.data(), lost);
    if (problem.empty() && step.section == 0 && step.call == Call::kRun)
        problem = check_staleness(context, *outcome);
    std::fill_n(mem.allocation->computed.begin() + static_cast<ptrdiff_t>(mem.offset), c.size, uint8_t{1});
    if (by_line) return problem.empty() ? store_result(mem, *outcome, lost) : problem;
    std::copy(got.begin(), got.end(), mem.allocation->cpu.begin() + static_cast<ptrdiff_t>(mem.offset));
    clean(mem, c.size);
    return problem;
}

// Nothing may have written to a memory but the program and the runs.
std::string Model::inspect(const Step& step, const Outcome* outcome) const {
    const Memory* mem = memory(step.mem);
    if (!with_data_ || outcome == nullptr || mem == nullptr || mem->allocation->cpu.empty()) return "";
    const auto differs = [&](const std::vector<uint8_t>& have, const std::vector<uint8_t>& side,
                             const char* who) -> std::string {
        const uint8_t* want = side.data() + mem->offset;
        for (size_t i = 0; i < have.size(); ++i) {
            if (have[i] != want[i])
                return format("byte %zu of mem[%d]: %s should see 0x%02x, but sees 0x%02x", i, step.mem, who,
                              want[i], have[i]);
        }
        return "";
    };
    std::string problem = differs(outcome->bytes, mem->allocation->cpu, "the CPU");
    if (problem.empty() && settings_.follows_lines())
        problem = differs(outcome->device, mem->allocation->device, "the device");
    if (!problem.empty()) return problem;
    return outcome->bytes.size() == mem->size ? "" : "the memory has another size";
}

void Model::write(const Step& step) {
    const Memory* mem = memory(step.mem);
    if (mem == nullptr || mem->allocation->cpu.empty()) return;
    const size_t first = mem->offset + static_cast<size_t>(step.offset);
    fill(step.pattern, step.seed, mem->allocation->cpu.data() + first, step.size);
    if (!mem->allocation->cached)
        std::memcpy(mem->allocation->device.data() + first, mem->allocation->cpu.data() + first, step.size);
}

// The layout conversion is a function of the CPU: it stores like any other.
void Model::convert(const Step& step) {
    const Memory* from = memory(step.source);
    const Memory* to = memory(step.mem);
    if (from == nullptr || to == nullptr || !with_data_) return;
    const DType type = input_of(step.info.type);
    const auto K = static_cast<size_t>(step.info.K);
    const auto N = static_cast<size_t>(step.info.N);
    const uint8_t* source = from->allocation->cpu.data() + from->offset;
    std::vector<uint8_t> native(rknpu2::dtype_bytes(type, K * N));
    for (size_t k = 0; k < K; ++k) {
        for (size_t n = 0; n < N; ++n) {
            const size_t at = rknpu2::b_index_normal(k, n, N);
            const size_t target = rknpu2::b_index_native(k, n, K, N, type);
            if (type == DType::kInt4) {
                const int value =
                    settings_.int4_bytes ? static_cast<int8_t>(source[at]) : rknpu2::int4_get(source, at);
                rknpu2::int4_set(native.data(), target, value);
            } else {
                const size_t width = rknpu2::dtype_bytes(type, 1);
                std::memcpy(native.data() + target * width, source + at * width, width);
            }
        }
    }
    Allocation& allocation = *to->allocation;
    std::copy(native.begin(), native.end(), allocation.cpu.begin() + static_cast<ptrdiff_t>(to->offset));
    if (!allocation.cached)
        std::copy(native.begin(), native.end(),
                  allocation.device.begin() + static_cast<ptrdiff_t>(to->offset));
}

}  // namespace rknnsim_random
