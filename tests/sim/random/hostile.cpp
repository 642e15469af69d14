// SPDX-License-Identifier: MIT
#include "sim/random/hostile.hpp"

#include <climits>
#include <limits>

#include "matrix/layout.hpp"

namespace rknnsim_random {
namespace {

constexpr int64_t kOddNumbers[] = {0,       1,       -1,         2,          3,          15,
                                   31,      33,      63,         65,         -32,        INT32_MAX,
                                   INT_MIN, 1 << 30, 0x7FFFFFE0, 0x80000000, UINT32_MAX, 10272};

int any_context(Workshop& shop, bool dead) {
    if (!dead || shop.program.contexts == 0) return shop.rng.one_in(2) ? kNone : kUnknown;
    return static_cast<int>(shop.rng.range(0, shop.program.contexts - 1));  // mostly one that was destroyed
}

int any_memory(Workshop& shop) {
    if (shop.program.memories == 0 || shop.rng.one_in(4)) return shop.rng.one_in(2) ? kNone : kUnknown;
    return static_cast<int>(shop.rng.range(0, shop.program.memories - 1));
}

void spoil_info(Workshop& shop, Step* step) {
    Rng& rng = shop.rng;
    rknn_matmul_info& info = step->info;
    const auto number = static_cast<int32_t>(rng.pick(kOddNumbers));
    switch (rng.range(0, 11)) {
        case 0:
            info.type = static_cast<int>(rng.one_in(2) ? rng.range(-1, 17) : number);
            break;
        case 1:
            info.B_layout = static_cast<int16_t>(rng.range(-1, 4));
            break;
        case 2:
            info.AC_layout = static_cast<int16_t>(rng.range(-1, 3));
            break;
        case 3:
            info.B_quant_type = static_cast<int16_t>(rng.range(-1, 6));
            break;
        case 4:
            info.AC_quant_type = static_cast<int16_t>(rng.range(1, 3));
            break;
        case 5:
            info.iommu_domain_id = rng.one_in(2) ? 16 : number;
            break;
        case 6:
        case 7:
            info.K = rng.one_in(2) ? number : info.K + static_cast<int32_t>(rng.range(1, 31));
            break;
        case 8:
        case 9:
            info.N = rng.one_in(2) ? number : info.N + static_cast<int32_t>(rng.range(1, 31));
            break;
        case 10:
            info.M = rng.one_in(2) ? number : 2048;
            break;
        default:
            step->null_argument = static_cast<int>(rng.range(1, step->call == Call::kCreateDynamic ? 4 : 3));
            break;
    }
}

void spoil_shapes(Workshop& shop, Step* step) {
    Rng& rng = shop.rng;
    if (step->shapes.empty() || rng.one_in(3)) return spoil_info(shop, step);
    if (step->call == Call::kCreateDynamic && rng.one_in(2)) {
        constexpr int64_t kCounts[] = {0, -1, 513, 1 << 20, INT32_MAX, INT32_MIN};
        step->count = rng.pick(kCounts);
        return;
    }
    rknn_matmul_shape& shape = rng.pick(step->shapes);
    int32_t* const fields[] = {&shape.M, &shape.K, &shape.N};
    int32_t& field = *rng.pick(fields);
    field = rng.one_in(2) ? static_cast<int32_t>(rng.pick(kOddNumbers)) : field + 32;
}

void spoil_bind(Workshop& shop, Step* step) {
    Rng& rng = shop.rng;
    switch (rng.range(0, 4)) {
        case 0:
            step->mem = any_memory(shop);
            break;
        case 1:
            step->null_argument = 1;
            break;
        case 2:
            step->operand = static_cast<int>(rng.range(0, 2));
            break;
        default: {
            constexpr int64_t kNames[] = {'D', 'a', 'C', 'A', 0, -1, ' '};
            const auto field = static_cast<Edit::Field>(rng.range(Edit::kName, Edit::kType));
            step->edit = Edit{field, field == Edit::kName ? rng.pick(kNames) : rng.pick(kOddNumbers)};
            break;
        }
    }
}

void spoil_quant(Workshop& shop, Step* step) {
    Rng& rng = shop.rng;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float scales[] = {0.0F,
                            -0.0F,
                            -1.0F,
                            -std::numeric_limits<float>::min(),
                            kInfinity,
                            -kInfinity,
                            std::numeric_limits<float>::quiet_NaN()};
    constexpr int64_t kCounts[] = {0, -1, 2, 33, 1 << 24, INT32_MAX, INT32_MIN};
    switch (rng.range(0, 5)) {
        case 0:
            step->scale = rng.pick(scales);
            break;
        case 1:
            step->zp = static_cast<int>(rng.pick(kOddNumbers));
            break;
        case 2:
            step->count = rng.pick(kCounts);
            break;
        case 3:
            step->zp_count = rng.pick(kCounts);
            break;
        case 4:
            step->null_argument = static_cast<int>(rng.range(1, step->call == Call::kGetQuant ? 1 : 3));
            break;
        default:
            step->edit = Edit{Edit::kName, 'Q'};
            break;
    }
}

void spoil_memory(Workshop& shop, Step* step) {
    Rng& rng = shop.rng;
    if (step->call == Call::kDestroyMem || step->call == Call::kSync) {
        constexpr uint64_t kModes[] = {0, 4, 7, 0xFFFFFFFF, 0x80000000};
        if (rng.one_in(2)) step->mem = any_memory(shop);
        if (rng.one_in(4)) step->null_argument = 1;
        if (step->call == Call::kSync && rng.one_in(2)) step->flags = rng.pick(kModes);
        return;
    }
    step->mem = shop.program.memories++;  // never filled
    constexpr uint64_t kSizes[] = {0,          UINT32_MAX,        uint64_t{1} << 32,
                                   UINT64_MAX, uint64_t{1} << 63, 0xFFFFF001};
    constexpr uint64_t kFlags[] = {3, 8, 0x10000, 0x20003, UINT64_MAX, 0x40000};
    constexpr int64_t kOffsets[] = {-1, -4096, INT32_MAX, INT32_MIN, 1 << 30};
    if (step->call == Call::kCreateMem) {
        step->size = rng.one_in(2) ? 0 : 0xFFFFF001;
    } else if (step->call == Call::kCreateMem2) {
        if (rng.one_in(2))
            step->size = rng.pick(kSizes);
        else
            step->flags = rng.pick(kFlags);
    } else if (rng.one_in(3)) {
        step->offset = rng.pick(kOffsets);
    } else if (rng.one_in(3)) {
        step->size = rng.one_in(2) ? 0 : UINT32_MAX;
    } else if (rng.one_in(2)) {
        step->fd = static_cast<Fd>(rng.range(static_cast<int>(Fd::kPipe), static_cast<int>(Fd::kMinusOne)));
    } else if (rng.one_in(2)) {
        step->null_argument = 1;
    } else {
        step->source = any_memory(shop);
    }
}

// Changes one argument of a copy of an earlier step.
void spoil(Workshop& shop, Step* step) {
    const bool has_context =
        step->call != Call::kCreate && step->call != Call::kCreateDynamic && step->call != Call::kConvertB;
    if (has_context && shop.rng.one_in(3)) {
        step->ctx = any_context(shop, shop.rng.one_in(2));
        step->wrong = "another context";
        return;
    }
    step->wrong = "an argument";
    switch (step->call) {
        case Call::kCreate:
        case Call::kConvertB:
            return spoil_info(shop, step);
        case Call::kCreateDynamic:
            return spoil_shapes(shop, step);
        case Call::kSelectShape:
            if (shop.rng.one_in(4))
                step->null_argument = 1;
            else
                spoil_shapes(shop, step);
            return;
        case Call::kBind:
            return spoil_bind(shop, step);
        case Call::kSetQuant:
        case Call::kGetQuant:
            return spoil_quant(shop, step);
        case Call::kCoreMask:
            step->flags = static_cast<uint64_t>(shop.rng.pick(kOddNumbers));
            return;
        case Call::kQuery:
            if (shop.rng.one_in(3)) step->null_argument = 1;
            if (shop.rng.one_in(2))
                step->flags = static_cast<uint64_t>(shop.rng.range(0, 30));
            else
                step->size = static_cast<uint64_t>(shop.rng.range(0, 511));
            return;
        default:
            return spoil_memory(shop, step);
    }
}

// A call of any kind on whatever, to be judged by the model.
Step blind_call(Workshop& shop) {
    Rng& rng = shop.rng;
    constexpr Call kCalls[] = {Call::kRun,      Call::kDestroy,    Call::kDestroyMem, Call::kSync,
                               Call::kBind,     Call::kSetQuant,   Call::kGetQuant,   Call::kQuery,
                               Call::kCoreMask, Call::kSelectShape};
    Step step;
    step.call = rng.pick(kCalls);
    step.ctx = any_context(shop, true);
    step.mem = any_memory(shop);
    step.operand = static_cast<int>(rng.range(0, 2));
    step.count = step.zp_count = 1;
    step.flags = step.call == Call::kQuery ? 5 : 1;
    step.size = 512;
    step.shapes = {{1, 32, 64}};
    step.wrong = "a call on whatever";
    return step;
}

// Changes fields of a rknn_tensor_mem, uses it, and puts it back.
void use_edited(Workshop& shop, int mem) {
    const int ctx = shop.context_for(mem);
    if (ctx == kNone) return;
    constexpr Edit kEdits[] = {
        {Edit::kVirt, 64}, {Edit::kPhys, 4096}, {Edit::kFd, 1}, {Edit::kOffset, 64}, {Edit::kSize, 64}};
    shop.emit({.call = Call::kEditMem, .mem = mem, .edit = shop.rng.pick(kEdits)});
    const char* const wrong = "edited memory";
    shop.emit({.call = Call::kSync, .ctx = ctx, .mem = mem, .flags = 1, .wrong = wrong});
    shop.emit({.call = Call::kBind, .ctx = ctx, .mem = mem, .operand = kB, .wrong = wrong});
    shop.emit({.call = Call::kDestroyMem, .ctx = ctx, .mem = mem, .wrong = wrong});
    shop.emit({.call = Call::kEditMem, .mem = mem});
}

void destroy_twice(Workshop& shop, int mem) {
    const int ctx = shop.context_for(mem);
    if (ctx == kNone) return;
    const Step step{.call = Call::kDestroyMem, .ctx = ctx, .mem = mem, .wrong = "maybe twice"};
    if (!shop.model.predict(step).ok) return;
    shop.emit(step);
    if (shop.rng.one_in(2)) shop.new_memory(ctx, 4096, true);  // may get the same place in memory
    shop.emit(step);
    shop.emit({.call = Call::kSync, .ctx = ctx, .mem = mem, .flags = 1, .wrong = "destroyed memory"});
}

// A part that begins where the device cannot read.
void bind_misaligned(Workshop& shop, int ctx) {
    const int operand = static_cast<int>(shop.rng.range(0, 2));
    const uint64_t bytes = shop.operand_bytes(ctx, operand);
    const int source = shop.new_memory(ctx, bytes + 64, true);
    Step part{
        .call = Call::kFromPhys, .ctx = ctx, .mem = shop.program.memories++, .source = source, .size = bytes};
    part.offset = shop.rng.range(1, 15);
    shop.emit(part);
    if (!shop.model.context(ctx)->dynamic) {
        const Step bind{.call = Call::kBind,
                        .ctx = ctx,
                        .mem = part.mem,
                        .operand = operand,
                        .wrong = "maybe misaligned"};
        if (!shop.model.predict(bind).ok) shop.emit(bind);
    }
}

void bind_too_small(Workshop& shop, int ctx) {
    const int operand = static_cast<int>(shop.rng.range(0, 2));
    const uint64_t bytes = shop.operand_bytes(ctx, operand);
    Step create{.call = Call::kCreateMem, .ctx = ctx, .mem = shop.program.memories++, .size = bytes - 1};
    shop.emit(create);
    const Step bind{.call = Call::kBind,
                    .ctx = ctx,
                    .mem = create.mem,
                    .operand = operand,
                    .wrong = "one byte too small"};
    if (!shop.model.predict(bind).ok) shop.emit(bind);
}

void one_wrong_thing(Workshop& shop) {
    const std::vector<int> contexts = shop.live_contexts();
    const std::vector<int> memories = shop.live_memories();
    const int64_t die = shop.rng.range(0, 19);
    if (die == 0 && !memories.empty()) return use_edited(shop, shop.rng.pick(memories));
    if (die == 1 && !memories.empty()) return destroy_twice(shop, shop.rng.pick(memories));
    if (die == 2 && !contexts.empty()) return bind_misaligned(shop, shop.rng.pick(contexts));
    if (die == 3 && !contexts.empty()) return bind_too_small(shop, shop.rng.pick(contexts));
    if (die == 4 && !contexts.empty()) {
        const int ctx = shop.rng.pick(contexts);
        const Step collide{.call = Call::kCollide, .ctx = ctx, .size = 4, .wrong = "two threads"};
        if (shop.macs_of(ctx) < 200000) shop.emit(collide);
        return;
    }
    for (int attempt = 0; attempt < 20; ++attempt) {
        Step step =
            die < 9 || shop.program.steps.empty() ? blind_call(shop) : shop.rng.pick(shop.program.steps);
        const bool own = step.call >= Call::kWrite;
        if (own || step.section != 0 || *step.wrong != '\0') {
            if (own || step.section != 0) continue;
        } else {
            spoil(shop, &step);
        }
        const Expect expect = shop.model.predict(step);
        if (expect.ok || expect.unsure) continue;
        return shop.emit(step);
    }
}

}  // namespace

void do_wrong(Workshop& shop) {
    for (int64_t i = shop.rng.range(1, 4); i > 0; --i)
        one_wrong_thing(shop);
    const std::vector<int> contexts = shop.live_contexts();
    if (!contexts.empty()) shop.run(shop.rng.pick(contexts));  // as if nothing had happened
}

}  // namespace rknnsim_random
