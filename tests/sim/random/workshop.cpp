// SPDX-License-Identifier: MIT
#include "sim/random/workshop.hpp"

#include <algorithm>

#include "matrix/layout.hpp"

namespace rknnsim_random {
namespace {

constexpr int kDomains = 16;

// Patterns that make sense for the type of an operand.
Pattern random_pattern(Rng& rng, int type) {
    if (rng.one_in(30)) return Pattern::kZero;
    if (input_of(type) == rknpu2::DType::kFloat16)
        return rng.one_in(6) ? Pattern::kHalfSpecial : Pattern::kHalf;
    constexpr Pattern kPatterns[] = {Pattern::kBytes, Pattern::kBytes, Pattern::kSmall, Pattern::kExtremes};
    return rng.pick(kPatterns);
}

}  // namespace

Workshop::Workshop(uint64_t seed, const Settings& settings, uint64_t macs)
    : rng(seed), model(settings, false), macs_left_(macs), max_macs_(macs / 4) {
    program.settings = settings;
}

void Workshop::emit(Step step) {
    step.section = section_;
    step.lane = lane_;
    if (step.call == Call::kRun) macs_left_ -= std::min(macs_left_, macs_of(step.ctx));
    model.plan(step);
    program.steps.push_back(std::move(step));
}

// Any aspect ratio, K over a segment now and then; no more products than the budget allows.
void Workshop::random_shape(rknn_matmul_info* info) {
    const int64_t group = static_cast<int64_t>(rknpu2::kernel_group(input_of(info->type)));
    const auto limit = static_cast<int64_t>(rng.one_in(6) ? max_macs_ : max_macs_ / 8);
    int64_t K = 32 * (rng.one_in(12) ? rng.range(257, 320) : rng.skewed(1, 256));
    K = std::min(K, limit / group / 32 * 32);
    const int64_t N =
        group * rng.skewed(1, std::min<int64_t>((program.settings.strict_limits ? 8192 : 40000) / group,
                                                std::max<int64_t>(1, limit / K / group)));
    const int64_t most = !rng.one_in(10) ? 300 : program.settings.strict_limits ? 2047 : 4000;
    const int64_t M = rng.skewed(1, std::clamp<int64_t>(limit / K / N, 1, most));
    info->M = static_cast<int32_t>(M);
    info->K = static_cast<int32_t>(K);
    info->N = static_cast<int32_t>(N);
}

rknn_matmul_info Workshop::random_info(int domain, int type) {
    constexpr int kTypes[] = {1, 2, 3, 4, 10};
    constexpr int kBLayouts[] = {0, 1, 1, 2};
    rknn_matmul_info info{};
    info.type = type > 0 ? type : rng.pick(kTypes);
    info.B_layout = static_cast<int16_t>(rng.pick(kBLayouts));
    info.AC_layout = static_cast<int16_t>(rng.range(0, 1));
    if (info.type == 3 && info.B_layout == 2) info.B_layout = 0;
    if (info.type == 10 && (info.B_layout == 2 || !program.settings.int4_normal_b)) info.B_layout = 1;
    if (type <= 0 && rng.one_in(25)) {  // what the chip answers with zeros
        if (rng.one_in(3)) {
            info.type = 9;
            info.B_layout = info.AC_layout = 1;
            info.B_quant_type = 4;
            info.group_size = static_cast<int16_t>(32 * rng.range(1, 4));
        } else if (info.type == 2 || info.type == 3) {
            info.B_quant_type = 2;
        }
    }
    info.iommu_domain_id = domain;
    if (domain < 0) info.iommu_domain_id = rng.one_in(3) ? static_cast<int>(rng.range(0, kDomains - 1)) : 0;
    random_shape(&info);
    return info;
}

int Workshop::new_context(int domain, int type) {
    Step step;
    step.call = rng.one_in(3) ? Call::kCreateDynamic : Call::kCreate;
    step.ctx = program.contexts++;
    step.info = random_info(domain, type);
    if (step.call == Call::kCreateDynamic) {
        const int64_t shapes = rng.skewed(1, rng.one_in(20) ? 512 : 6);
        const int64_t most = step.info.M;
        for (int64_t i = 0; i < shapes; ++i) {
            const auto M = static_cast<int32_t>(i == 0 ? most : rng.skewed(1, most));
            step.shapes.push_back({M, step.info.K, step.info.N});
        }
        std::swap(step.shapes.front(), rng.pick(step.shapes));
        step.info.M = static_cast<int32_t>(rng.range(0, 5));  // not looked at
        step.count = shapes;
    }
    const int ctx = step.ctx;
    emit(std::move(step));
    if (rng.one_in(4)) {
        constexpr uint64_t kMasks[] = {0, 1, 2, 4, 3, 7, 0xFFFF};
        const uint64_t mask = rng.pick(kMasks);
        const bool several = mask == 3 || mask > 4;
        if (!several || program.settings.cores_fall_back)
            emit({.call = Call::kCoreMask, .ctx = ctx, .flags = mask});
    }
    return ctx;
}

// A part of an old buffer, or of one made for it.
int Workshop::import_part(int ctx, uint64_t bytes) {
    int source = kNone;
    for (const int slot : live_memories()) {
        const Memory& old = *model.memory(slot);
        if (section_ == 0 && context_for(slot) != kNone && old.size >= bytes && old.size <= kMaxData &&
            old.allocation->domain == model.context(ctx)->info.iommu_domain_id && rng.one_in(3))
            source = slot;
    }
    if (source == kNone) {
        source = program.memories++;
        const uint64_t size = bytes + static_cast<uint64_t>(rng.range(0, 64)) * 64;
        emit({.call = Call::kCreateMem, .ctx = ctx, .mem = source, .size = size});
    }
    const Memory& old = *model.memory(source);
    Step step;
    step.call = old.by_address || rng.one_in(3) ? Call::kFromPhys : Call::kFromFd;
    step.ctx = ctx;
    step.mem = program.memories++;
    step.source = source;
    step.size = bytes;
    step.fd = rng.one_in(3) ? Fd::kDuplicate : Fd::kOwn;
    step.offset = 16 * rng.range(0, static_cast<int64_t>((old.size - bytes) / 16));
    if (step.call == Call::kFromFd) {  // counted from the start of the buffer
        const uint64_t room = old.allocation->size - bytes;
        step.offset = 16 * rng.range(0, static_cast<int64_t>(room / 16));
    } else if (old.offset % 16 != 0) {
        step.offset = 0;
    }
    emit(step);
    return step.mem;
}

int Workshop::new_memory(int ctx, uint64_t bytes, bool apart) {
    if (!apart && rng.one_in(3)) return import_part(ctx, bytes);
    Step step;
    step.call = rng.one_in(2) ? Call::kCreateMem2 : Call::kCreateMem;
    step.ctx = ctx;
    step.mem = program.memories++;
    step.size = bytes + (rng.one_in(3) ? static_cast<uint64_t>(rng.skewed(1, 5000)) : 0);
    if (step.call == Call::kCreateMem2) {
        constexpr uint64_t kFlags[] = {0, 1, 2, 4, 5, 6, 0x20000, 0x20001, 0x20002};
        step.flags = rng.pick(kFlags);
        const bool may_be_without = model.context(ctx)->info.iommu_domain_id == 0;
        if (may_be_without && step.flags >= 0x20000 && rng.one_in(2)) step.ctx = kNone;
    }
    emit(step);
    return step.mem;
}

uint64_t Workshop::operand_bytes(int ctx, int operand) const {
    const Context& context = *model.context(ctx);
    const int most = *std::max_element(context.rows.begin(), context.rows.end());
    return attr_of(context.info, operand, most).size;
}

bool Workshop::overlaps(int ctx, int operand, int mem, uint64_t bytes) const {
    const Context& context = *model.context(ctx);
    const Memory& own = *model.memory(mem);
    for (int other = 0; other < 3; ++other) {
        const Binding& binding = context.bindings[other];
        const Memory* theirs = model.memory(binding.mem);
        if (other == operand || (other != kC && operand != kC) || theirs == nullptr) continue;
        if (theirs->allocation != own.allocation) continue;
        if (own.offset < theirs->offset + std::max(binding.size, operand_bytes(ctx, other)) &&
            theirs->offset < own.offset + bytes)
            return true;
    }
    return false;
}

int Workshop::memory_for(int ctx, int operand, bool fresh) {
    const uint64_t bytes = operand_bytes(ctx, operand);
    if (!fresh && rng.one_in(3)) {
        std::vector<int> candidates;
        for (const int slot : live_memories()) {
            const Memory& mem = *model.memory(slot);
            if (mem.size >= bytes && mem.size <= kMaxData && mem.offset % 16 == 0 && !mem.edited &&
                mem.allocation->domain == model.context(ctx)->info.iommu_domain_id &&
                !overlaps(ctx, operand, slot, bytes))
                candidates.push_back(slot);
        }
        if (!candidates.empty()) return rng.pick(candidates);
    }
    const int made = new_memory(ctx, bytes, fresh);
    return overlaps(ctx, operand, made, bytes) ? new_memory(ctx, bytes, true) : made;
}

void Workshop::write(int mem, int ctx, int operand) {
    const Memory& memory = *model.memory(mem);
    Step step;
    step.call = Call::kWrite;
    step.mem = mem;
    step.size = std::min(memory.size, operand_bytes(ctx, operand));
    if (rng.one_in(5)) {  // a part
        step.offset = rng.range(0, static_cast<int64_t>(step.size) - 1) / 2 * 2;
        step.size = static_cast<uint64_t>(rng.range(1, static_cast<int64_t>(step.size) - step.offset));
    }
    step.pattern = random_pattern(rng, model.context(ctx)->info.type);
    step.seed = rng.bits();
    emit(step);
}

int Workshop::current_shape(int ctx) const {
    const Context& context = *model.context(ctx);
    const auto found = std::find(context.rows.begin(), context.rows.end(), context.M);
    return found == context.rows.end() ? 0 : static_cast<int>(found - context.rows.begin());
}

void Workshop::bind(int ctx, int operand, int mem) {
    emit({.call = Call::kBind, .ctx = ctx, .mem = mem, .operand = operand, .shape = current_shape(ctx)});
}

void Workshop::select_shape(int ctx) {
    const Context& context = *model.context(ctx);
    Step step;
    step.call = Call::kSelectShape;
    step.ctx = ctx;
    step.shapes = {{rng.pick(context.rows), context.info.K, context.info.N}};
    emit(std::move(step));
}

void Workshop::sync(int ctx, int mem, int mode) {
    emit({.call = Call::kSync, .ctx = ctx, .mem = mem, .flags = static_cast<uint64_t>(mode)});
}

uint64_t Workshop::macs_of(int ctx) const {
    const Context* context = model.context(ctx);
    if (context == nullptr) return 0;
    return static_cast<uint64_t>(std::max(context->M, 1)) * static_cast<uint64_t>(context->info.K) *
           static_cast<uint64_t>(context->info.N);
}

void Workshop::run(int ctx) {
    const Step step{.call = Call::kRun, .ctx = ctx};
    if (!can_afford(ctx) || !model.predict(step).ok) return;
    emit(step);
    const int mem = model.context(ctx)->bindings[kC].mem;
    if (program.settings.results_synced && model.memory(mem) != nullptr) show(ctx, mem, true);
}

void Workshop::lines(int mem, int operation) {
    const auto size = static_cast<int64_t>(model.memory(mem)->size);
    Step step{.call = Call::kLines, .mem = mem, .flags = static_cast<uint64_t>(operation)};
    if (rng.one_in(4)) step.offset = rng.range(0, size - 1);
    step.size = static_cast<uint64_t>(rng.one_in(4) ? rng.range(1, size - step.offset) : size - step.offset);
    emit(step);
}

void Workshop::show(int ctx, int mem, bool from_device) {
    if (!program.settings.follows_lines() || rng.one_in(6)) return;
    if (rng.one_in(3)) return lines(mem, from_device ? 2 : static_cast<int>(rng.range(1, 2)));
    int handle = mem;
    for (const int slot : live_memories()) {
        const Memory& other = *model.memory(slot);
        if (section_ == 0 && !other.imported && !other.edited && rng.one_in(2) &&
            other.allocation == model.memory(mem)->allocation)
            handle = slot;
    }
    sync(ctx, handle, rng.one_in(4) ? 3 : from_device ? 2 : 1);
}

void Workshop::set_scales(int ctx) {
    const Context& context = *model.context(ctx);
    const bool groups = context.info.type == 9;
    if (context.info.type != 2 && context.info.type != 3 && !groups) return;
    Step step;
    step.call = Call::kSetQuant;
    step.ctx = ctx;
    step.operand = groups ? kB : static_cast<int>(rng.range(0, 2));
    step.count = step.zp_count = quant_count(context.info, step.operand);
    if (step.count > kMostScales) return;
    if (groups && rng.one_in(2)) {  // as the vendor's demo does
        step.zp_count = 0;
        step.null_argument = 3;
    }
    // Powers of two make ties, which must go to even; C's brings sums back into the range of int8.
    const int exponent = static_cast<int>(step.operand == kC ? rng.range(0, 12) : rng.range(-6, 1));
    step.scale = exponent < 0 ? 1.0F / static_cast<float>(1 << -exponent) : static_cast<float>(1 << exponent);
    if (rng.one_in(3)) step.scale *= static_cast<float>(rng.range(1, 1000)) / 300.0F;
    emit(step);
}

void Workshop::complete(int ctx) {
    if (model.context(ctx)->M == 0) select_shape(ctx);
    for (const int operand : {kA, kB, kC}) {
        const Binding& binding = model.context(ctx)->bindings[operand];
        const bool valid = binding.bound && (operand == kB || binding.M == model.context(ctx)->M) &&
                           model.memory(binding.mem) != nullptr;
        if (valid) continue;
        // After a change of shape mostly the same memory again.
        const bool again = binding.bound && model.memory(binding.mem) != nullptr && !rng.one_in(4) &&
                           model.memory(binding.mem)->size >= operand_bytes(ctx, operand);
        if (operand == kB && binding.bound && program.settings.rebind_reject) continue;
        const int mem = again ? binding.mem : memory_for(ctx, operand, section_ > 0);
        if (operand != kC && (!again || rng.one_in(2))) write(mem, ctx, operand);
        bind(ctx, operand, mem);
        if (operand != kC || (program.settings.follows_lines() && rng.one_in(4))) show(ctx, mem);
    }
    run(ctx);
}

std::vector<int> Workshop::live_contexts() const {
    std::vector<int> slots;
    for (int slot = 0; slot < program.contexts; ++slot) {
        if (model.context(slot) != nullptr) slots.push_back(slot);
    }
    return slots;
}

std::vector<int> Workshop::live_memories() const {
    std::vector<int> slots;
    for (int slot = 0; slot < program.memories; ++slot) {
        if (model.memory(slot) != nullptr) slots.push_back(slot);
    }
    return slots;
}

int Workshop::context_for(int mem) const {
    for (const int slot : live_contexts()) {
        if (model.context(slot)->info.iommu_domain_id == model.memory(mem)->allocation->domain) return slot;
    }
    return kNone;
}

}  // namespace rknnsim_random
