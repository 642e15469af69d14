// SPDX-License-Identifier: MIT
#include "core/context.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/format.hpp"
#include "core/convert.hpp"
#include "core/fingerprint.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

Outcome refuse(std::string text) {
    return {Code::kInvalidParameter, std::move(text)};
}

Outcome no_memory() {
    return {Code::kOutOfMemory, "no host memory for the simulation"};
}

}  // namespace

Context::Context(Problem problem, uint64_t handle, const Settings& settings)
    : problem_(std::move(problem)), handle_(handle), settings_(settings) {
    if (!problem_.dynamic) M_ = problem_.shapes.front().M;
}

Context::Use Context::use() {
    if (settings_.serialise) return Use(mutex_);
    return Use(mutex_, std::try_to_lock);
}

Outcome Context::select_shape(const RequestedShape& shape) {
    if (!problem_.dynamic) return refuse("the context was not created with dynamic shapes");
    const Shape wanted{static_cast<size_t>(shape.M), static_cast<size_t>(shape.K),
                       static_cast<size_t>(shape.N)};
    if (std::find(problem_.shapes.begin(), problem_.shapes.end(), wanted) == problem_.shapes.end()) {
        return refuse(format("M=%lld K=%lld N=%lld is none of the shapes of this context",
                             static_cast<long long>(shape.M), static_cast<long long>(shape.K),
                             static_cast<long long>(shape.N)));
    }
    M_ = wanted.M;
    problem_.K = wanted.K;
    problem_.N = wanted.N;
    return {};
}

Outcome Context::check_attr(const OperandDesc& attr) const {
    const char* name = operand_name(attr.which);
    if (M_ == 0 && (attr.which != Operand::kB || problem_.varies())) {
        return refuse(format("%s: no shape was selected yet", name));
    }
    const OperandDesc own = describe(problem_, attr.which, {std::max<size_t>(M_, 1), problem_.K, problem_.N});
    if (attr.dims == own.dims && attr.bytes == own.bytes && attr.type == own.type) return {};
    return refuse(format("the attributes of %s are not those of this context%s (size %zu, expected %zu)",
                         name, problem_.dynamic ? " in its current shape" : "", attr.bytes, own.bytes));
}

Outcome Context::snapshot(const OperandDesc& attr, const std::byte* from, Binding* target) const {
    if (target->snapshot.size() < attr.bytes) {
        auto buffer = rknpu2::AlignedBuffer::allocate(attr.bytes);
        if (!buffer.ok()) return no_memory();
        target->snapshot = buffer.take();
    }
    std::byte* to = target->snapshot.data();
    if (attr.which == Operand::kA) {
        a_normal_to_native(attr.type, M_, problem_.K, from, to);
    } else if (problem_.b_layout == Layout::kTransposed) {
        b_transposed_to_native(attr.type, problem_.K, problem_.N, from, to);
    } else {
        b_normal_to_native(attr.type, problem_.K, problem_.N, false, from, to);
    }
    target->snapshot_taken = true;
    return {};
}

bool Context::converts(Operand which) const {
    if (which == Operand::kC) return false;
    return which == Operand::kA ? !problem_.ac_native : problem_.b_layout != Layout::kNative;
}

Outcome Context::check_memory(const OperandDesc& attr, const Memory& memory) const {
    const char* name = operand_name(attr.which);
    const int domain = memory.allocation->domain();
    if (domain != problem_.domain) {
        return {Code::kInvalidParameter,
                format("%s: the memory is in domain %d, the context in domain %d: make the memory with a "
                       "context of that domain",
                       name, domain, problem_.domain),
                Rule::kWrongDomain};
    }
    if (!settings_.foreign_memory && memory.context != handle_) {
        return refuse(format("%s: the memory was created with another context", name));
    }
    if (memory.size < attr.bytes) {
        return {Code::kInvalidParameter,
                format("%s: the memory has %zu bytes, %zu are needed: allocate what io_attr says", name,
                       memory.size, attr.bytes),
                Rule::kSmallBuffer};
    }
    const bool native = attr.which == Operand::kC ? problem_.ac_native : !converts(attr.which);
    const size_t alignment = native ? rknpu2::kAtomBytes : rknpu2::dtype_bytes(attr.type, 1);
    if (memory.offset % alignment != 0) {
        return refuse(format("%s: the memory begins at byte %zu of its buffer, which is no multiple of %zu",
                             name, memory.offset, alignment));
    }
    return {};
}

// Makes the device see what is in the memory now.
Outcome Context::take(const OperandDesc& attr, const Memory& memory, Binding* target) const {
    const bool whole = settings_.looks_at_every_byte();
    DeviceView& view = memory.allocation->view();
    if (converts(attr.which)) {
        if (settings_.check != CheckMode::kOff) {
            target->source = fingerprint(memory.cpu(), attr.bytes, whole);
        }
        return snapshot(attr, memory.cpu(), target);
    }
    if (attr.which == Operand::kC) {
        if (settings_.check == CheckMode::kOff) return {};
        memory.allocation->results().expect(
            memory.offset, attr.bytes,
            [&](size_t offset, size_t bytes, std::byte value) { return view.plant(offset, bytes, value); });
        return {};
    }
    target->shadowed =
        attr.which == Operand::kA || attr.bytes <= static_cast<size_t>(settings_.shadow_b_bytes);
    const bool marked = settings_.check != CheckMode::kOff && attr.which == Operand::kB;
    return view.bind(memory.offset, attr.bytes,
                     {.copied = target->shadowed, .marked = marked, .whole = whole});
}

Outcome Context::bind(const OperandDesc& attr, const std::shared_ptr<Memory>& memory) {
    RKNNSIM_RETURN_IF_ERROR(check_attr(attr));
    RKNNSIM_RETURN_IF_ERROR(check_memory(attr, *memory));
    Binding& target = binding(attr.which);
    if (attr.which == Operand::kB && target.bound && !settings_.rebind_b) {
        return refuse("B is already bound (RKNNSIM_REBIND_B)");
    }
    if (attr.which == Operand::kB && problem_.type == MatmulType::kI4I4I16 &&
        problem_.b_layout == Layout::kNormal && settings_.int4_normal_b == Int4NormalB::kRefuseAtBind) {
        return refuse(
            "B of type 10 in normal layout cannot be bound: create the context with B_layout=1 (native)");
    }
    target.bound = false;
    target.snapshot_taken = false;
    target.shadowed = false;
    // Before anything here looks at it: reading makes pages, too.
    target.unwritten = settings_.check != CheckMode::kOff && attr.which != Operand::kC &&
                       memory->allocation->bind_unwritten(memory->offset, attr.bytes);
    RKNNSIM_RETURN_IF_ERROR(take(attr, *memory, &target));
    target.memory = memory;
    target.shape = shape();
    target.bytes = attr.bytes;
    target.bound = true;
    return {};
}

BoundOperand Context::bound(Operand which) const {
    const Binding& held = binding(which);
    BoundOperand operand{.which = which};
    if (!held.bound) return operand;
    operand.memory = held.memory.lock();
    operand.bytes = held.bytes;
    operand.fits = fits(which);
    operand.converted = held.snapshot_taken;
    operand.source = held.source;
    operand.taken_by_run = which == Operand::kA && settings_.normal_a_at_run;
    operand.whole = settings_.looks_at_every_byte();
    operand.shadowed = held.shadowed && !held.snapshot_taken;
    operand.unwritten = held.unwritten;
    return operand;
}

std::string Context::name() const {
    return format("context 0x%llx (type %d, M=%zu K=%zu N=%zu)", static_cast<unsigned long long>(handle_),
                  static_cast<int>(problem_.type), M_, problem_.K, problem_.N);
}

Outcome Context::check_quant_counts(Operand which, int64_t scales, int64_t zero_points) const {
    const bool per_group = problem_.quant == QuantMode::kPerGroup && which == Operand::kB;
    if (problem_.type != MatmulType::kI8I8I32 && problem_.type != MatmulType::kI8I8I8 && !per_group) {
        return refuse("quantisation parameters are for types 2 and 3, and for B of type 9");
    }
    const bool per_channel = problem_.quant == QuantMode::kPerChannel && which == Operand::kB;
    const auto expected = static_cast<int64_t>(per_group     ? problem_.K * problem_.N / problem_.group_size
                                               : per_channel ? problem_.N
                                                             : 1);
    if (scales == expected && (zero_points == expected || (per_group && zero_points == 0))) return {};
    return refuse(format("%s: scale_len=%lld and zp_len=%lld must be %lld", operand_name(which),
                         static_cast<long long>(scales), static_cast<long long>(zero_points),
                         static_cast<long long>(expected)));
}

Outcome Context::set_quant(Operand which, const std::vector<float>& scales,
                           const std::vector<int>& zero_points) {
    RKNNSIM_RETURN_IF_ERROR(check_quant_counts(which, static_cast<int64_t>(scales.size()),
                                               static_cast<int64_t>(zero_points.size())));
    for (const int zero_point : zero_points) {
        if (zero_point != 0) return refuse(format("%s: zp=%d must be 0", operand_name(which), zero_point));
    }
    for (const float scale : scales) {
        if (!std::isfinite(scale) || scale <= 0) {
            return refuse(format("%s: scale=%g must be positive", operand_name(which), scale));
        }
    }
    if (scales.size() == 1) scales_[static_cast<size_t>(which)] = scales[0];
    return {};
}

Outcome Context::check_get_quant(Operand which) const {
    if (problem_.quant == QuantMode::kPerChannel && problem_.type == MatmulType::kI8I8I32 &&
        which == Operand::kB)
        return {};
    return refuse("only B of a per-channel context of type 2 has a normalised scale");
}

bool Context::fits(Operand which) const {
    const Shape& bound = binding(which).shape;
    return (which == Operand::kB || bound.M == M_) && (which == Operand::kC || bound.K == problem_.K) &&
           (which == Operand::kA || bound.N == problem_.N);
}

// Gives the bound memory, or nullptr when a snapshot makes it unnecessary.
Outcome Context::find_bound(Operand which, std::shared_ptr<Memory>* memory) {
    const Binding& bound = binding(which);
    const Code code = which == Operand::kC ? Code::kInvalidOutput : Code::kInvalidInput;
    const char* name = operand_name(which);
    if (!bound.bound) return {code, format("%s is not bound", name)};
    if (!fits(which)) {
        return {code,
                format("%s was bound for M=%zu K=%zu N=%zu, which is not the current shape: bind it again",
                       name, bound.shape.M, bound.shape.K, bound.shape.N)};
    }
    *memory = bound.memory.lock();
    if (*memory == nullptr && !bound.snapshot_taken) {
        return {code,
                format("the memory bound to %s was destroyed: bind another one, or destroy it later", name),
                Rule::kUseAfterDestroy};
    }
    return {};
}

bool Context::multiply(const KernelTier& tier, Scratch& scratch, const Job& job, const Memory* b) const {
    const Binding& bound = bindings_[1];
    if (bound.snapshot_taken) return tier.multiply(job, scratch);
    const DeviceView& view = b->allocation->view();
    if (!bound.shadowed && !view.has_everything()) return tier.multiply(job, scratch);
    const DeviceView::Reading reading(view, b->offset, bound.bytes);
    Job from_view = job;
    from_view.b = reading.data();
    return tier.multiply(from_view, scratch);
}

Outcome Context::compute(const KernelTier& tier, Scratch& scratch, const Memory* a, const Memory* b,
                         const Memory& c) {
    Job job{.type = problem_.type, .M = M_, .K = problem_.K, .N = problem_.N};
    job.scale = scales_[0] * scales_[1] / scales_[2];
    job.rounding = settings_.rounding;
    job.int4_saturation = settings_.int4_saturation;
    clipped_ = 0;
    job.clipped = &clipped_;
    bool ok = false;
    if (binding(Operand::kA).snapshot_taken) {
        if (settings_.normal_a_at_run && a != nullptr) {
            RKNNSIM_RETURN_IF_ERROR(
                snapshot(describe(problem_, Operand::kA, shape()), a->cpu(), &binding(Operand::kA)));
        }
        job.a = binding(Operand::kA).snapshot.data();
        ok = tier.load_a(job, scratch);
    } else {
        const DeviceView::Reading reading(a->allocation->view(), a->offset, binding(Operand::kA).bytes);
        job.a = reading.data();
        ok = tier.load_a(job, scratch);
    }
    if (!ok) return no_memory();
    job.b = binding(Operand::kB).snapshot_taken ? binding(Operand::kB).snapshot.data() : b->cpu();
    const DType c_type = output_type(problem_.type);
    const size_t c_bytes = rknpu2::dtype_bytes(c_type, M_ * problem_.N);
    DeviceView& c_view = c.allocation->view();
    std::byte* result = c_view.result(c.offset);
    if (result == nullptr) result = scratch.get<std::byte>(Scratch::kResult, c_bytes);
    job.c = problem_.ac_native ? result : scratch.get<std::byte>(Scratch::kOutput, c_bytes);
    if (result == nullptr || job.c == nullptr || !multiply(tier, scratch, job, b)) return no_memory();
    if (!problem_.ac_native) c_native_to_normal(c_type, M_, problem_.N, job.c, result);
    c_view.store(c.offset, c_bytes, result);
    return {};
}

Outcome Context::run(const KernelTier& tier, ScratchPool& pool, Faults& faults,
                     std::optional<RunEvent>* event) {
    if (M_ == 0) return {Code::kFail, "no shape was selected yet"};
    std::shared_ptr<Memory> memory[3];
    bool zero = problem_.result_is_zero();
    for (const Operand which : {Operand::kC, Operand::kA, Operand::kB}) {
        Outcome found = find_bound(which, &memory[static_cast<size_t>(which)]);
        if (found.ok()) continue;
        if (settings_.unbound_fails || which == Operand::kC) return found;
        zero = true;
    }
    const Memory& c = *memory[2];
    const size_t c_bytes = describe(problem_, Operand::kC, shape()).bytes;
    const RunFault outcome = faults.run(handle_, core_mask_);
    event->emplace(RunEvent{.context = handle_,
                            .problem = problem_,
                            .M = M_,
                            .core_mask = core_mask_,
                            .operands = {memory[0], memory[1], memory[2]},
                            .computed = outcome.computes,
                            .delay_ns = outcome.delay_ns});
    if (!outcome.computes) return {static_cast<Code>(outcome.code), outcome.text};
    if (zero) {
        c.allocation->view().store(c.offset, c_bytes, nullptr);
    } else {
        std::unique_ptr<Scratch> scratch = pool.borrow();
        Outcome computed = compute(tier, *scratch, memory[0].get(), memory[1].get(), c);
        pool.give_back(std::move(scratch));
        RKNNSIM_RETURN_IF_ERROR(computed);
    }
    for (const Operand which : {Operand::kA, Operand::kB}) {
        const Memory* input = memory[static_cast<size_t>(which)].get();
        if (input != nullptr) input->allocation->results().used(input->offset, binding(which).bytes);
    }
    c.allocation->results().computed(c.offset, c_bytes);
    c.allocation->declare_written(c.offset, c_bytes);
    return {};
}

}  // namespace rknnsim
