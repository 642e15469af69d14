// SPDX-License-Identifier: MIT
#include "sim/random/generate.hpp"

#include <algorithm>

#include "matrix/layout.hpp"
#include "sim/random/hostile.hpp"
#include "sim/random/workshop.hpp"

namespace rknnsim_random {
namespace {

Settings random_settings(Rng& rng, const Options& options) {
    Settings settings;
    settings.shadow = options.shadow;
    settings.check = !rng.one_in(4);
    settings.int4_normal_b = rng.one_in(3);
    settings.int4_bytes = !rng.one_in(4);
    settings.saturate_segment = rng.one_in(4);
    settings.rounding = rng.one_in(3) ? static_cast<int>(rng.range(0, 2)) : 0;
    settings.unbound_zeros = rng.one_in(8);
    settings.rebind_reject = rng.one_in(8);
    settings.serialise = rng.one_in(8);
    settings.strict_limits = rng.one_in(4);
    settings.contexts_fail = rng.one_in(4);
    settings.cores_fall_back = rng.one_in(4);
    settings.normal_a_at_run = rng.one_in(8);
    settings.non_cacheable_stale = !rng.one_in(4);
    const auto has = [&](Board reading) {
        return options.board == Board::kWorst || options.board == reading ||
               (options.board == Board::kAny && rng.one_in(2));
    };
    settings.bind_leaves = has(Board::kBind);
    settings.import_sync_nothing = has(Board::kImportSync);
    settings.results_synced = has(Board::kResults);
    settings.dirty_overwrites = has(Board::kDirty);
    if (options.board == Board::kWorst) settings.non_cacheable_stale = true;
    return settings;
}

// An input that is bound in place or by a copy, and still there; kNone when the context has none.
int bound_memory(const Workshop& shop, int ctx, int operand) {
    const int mem = shop.model.context(ctx)->bindings[operand].mem;
    return shop.model.memory(mem) == nullptr ? kNone : mem;
}

// Stores into a result area, which is cleaned before the run, or not.
void scribble(Workshop& shop, int ctx) {
    const int mem = bound_memory(shop, ctx, kC);
    if (mem == kNone) return;
    shop.write(mem, ctx, kC);
    if (shop.rng.one_in(2)) shop.show(ctx, mem);
    shop.run(ctx);
}

// New data for an input: seen by the device, or not when the program forgets what it has to do.
void rewrite(Workshop& shop, int ctx) {
    if (shop.program.settings.follows_lines() && shop.rng.one_in(4)) return scribble(shop, ctx);
    const int operand = shop.rng.one_in(2) ? kA : kB;
    const int mem = bound_memory(shop, ctx, operand);
    if (mem == kNone) return;
    shop.write(mem, ctx, operand);
    switch (shop.rng.range(0, 4)) {
        case 0:
            shop.sync(ctx, mem, shop.rng.one_in(2) ? 1 : 3);
            break;
        case 1: {
            const Step bind{.call = Call::kBind, .ctx = ctx, .mem = mem, .operand = operand};
            if (operand == kB && shop.model.predict(bind).ok) shop.bind(ctx, operand, mem);
            if (operand == kA && shop.model.context(ctx)->M != 0) shop.bind(ctx, operand, mem);
            break;
        }
        case 2:
            shop.sync(ctx, mem, 2);  // the wrong direction: the old data stay
            break;
        default:
            break;  // stale
    }
    shop.run(ctx);
}

// A result, in place, as the input of another context that needs no more bytes.
void chain(Workshop& shop, int ctx) {
    const int mem = bound_memory(shop, ctx, kC);
    if (mem == kNone) return;
    std::vector<int> takers;
    for (const int other : shop.live_contexts()) {
        const Context& taker = *shop.model.context(other);
        if (taker.M == 0 || taker.info.iommu_domain_id != shop.model.memory(mem)->allocation->domain)
            continue;
        if (shop.operand_bytes(other, kA) > shop.model.memory(mem)->size) continue;
        if (!shop.overlaps(other, kA, mem, shop.operand_bytes(other, kA))) takers.push_back(other);
    }
    if (takers.empty()) return;
    const int taker = shop.rng.pick(takers);
    shop.bind(taker, kA, mem);
    shop.complete(taker);
    if (shop.rng.one_in(2)) {  // once more with another result, without a sync
        shop.complete(ctx);
        shop.run(taker);
    }
}

void convert(Workshop& shop, int ctx) {
    const rknn_matmul_info& info = shop.model.context(ctx)->info;
    const auto elements = static_cast<uint64_t>(info.K) * static_cast<uint64_t>(info.N);
    const uint64_t native = rknpu2::dtype_bytes(input_of(info.type), elements);
    const bool bytes = info.type == 10 && shop.program.settings.int4_bytes;
    if (elements > (1U << 20) || info.type == 9) return;
    Step step;
    step.call = Call::kConvertB;
    step.info = info;
    step.info.B_layout = 1;
    const int target = shop.new_memory(ctx, std::max(native, shop.operand_bytes(ctx, kB)), true);
    step.source = shop.new_memory(ctx, bytes ? elements : native, true);
    step.mem = target;
    Step data{.call = Call::kWrite, .mem = step.source, .size = bytes ? elements : native};
    data.pattern = input_of(info.type) == rknpu2::DType::kFloat16 ? Pattern::kHalf : Pattern::kBytes;
    data.seed = shop.rng.bits();
    shop.emit(data);
    shop.emit(step);
    const Step bind{.call = Call::kBind, .ctx = ctx, .mem = target, .operand = kB};
    if (shop.model.predict(bind).ok) shop.emit(bind);
    shop.complete(ctx);
    shop.emit({.call = Call::kInspect, .mem = target});
}

void destroy_memory(Workshop& shop) {
    const std::vector<int> live = shop.live_memories();
    if (live.empty()) return;
    const int mem = shop.rng.pick(live);
    const int ctx =
        shop.model.memory(mem)->ctx == kNone && shop.rng.one_in(2) ? kNone : shop.context_for(mem);
    if (shop.model.memory(mem)->size <= kMaxData) shop.emit({.call = Call::kInspect, .mem = mem});
    const Step step{.call = Call::kDestroyMem, .ctx = ctx, .mem = mem};
    if (shop.model.predict(step).ok) shop.emit(step);
}

// Several threads, each with contexts of its own on one B that all of them read.
void threads(Workshop& shop, int section, int lanes) {
    const int base = shop.new_context();
    const rknn_matmul_info info = shop.model.context(base)->info;
    const int b = shop.new_memory(base, shop.operand_bytes(base, kB), true);
    shop.write(b, base, kB);
    shop.sync(base, b, 1);
    for (int lane = 0; lane < lanes; ++lane) {
        shop.set_lane(section, lane);
        Step create{.call = Call::kCreate, .ctx = shop.program.contexts++, .info = info};
        create.info.M =
            static_cast<int32_t>(shop.rng.range(1, std::max(1, shop.model.context(base)->rows.front())));
        shop.emit(create);
        shop.emit({.call = Call::kCoreMask, .ctx = create.ctx, .flags = uint64_t{1} << (lane % 3)});
        shop.bind(create.ctx, kB, b);
        for (int64_t round = shop.rng.range(1, 3); round > 0; --round) {
            shop.complete(create.ctx);
            if (shop.rng.one_in(2)) {
                const int a = bound_memory(shop, create.ctx, kA);
                if (a == kNone) continue;
                shop.write(a, create.ctx, kA);
                if (shop.rng.one_in(2)) shop.sync(create.ctx, a, 1);
            }
            shop.run(create.ctx);
        }
        if (shop.rng.one_in(3)) shop.emit({.call = Call::kDestroy, .ctx = create.ctx});
    }
    shop.set_lane(0, 0);
}

// Rows "more than 150 contexts" and "4 GiB of address space".
void crowd(Workshop& shop, int ctx) {
    rknn_matmul_info info{.M = 1, .K = 32, .N = 64, .type = 2, .B_layout = 1, .AC_layout = 1};
    std::vector<int> made;
    while (shop.model.live_contexts() <= kContextLimit) {
        made.push_back(shop.program.contexts++);
        shop.emit({.call = Call::kCreate, .ctx = made.back(), .info = info});
    }
    if (shop.program.settings.contexts_fail)
        shop.emit({.call = Call::kRun, .ctx = ctx, .wrong = "too many contexts"});
    else
        shop.run(ctx);
    for (const int slot : made)
        shop.emit({.call = Call::kDestroy, .ctx = slot});
    shop.run(ctx);
}

void fill_domain(Workshop& shop, int ctx) {
    const uint64_t third = uint64_t{1431} << 20;
    int made[4];
    for (int& slot : made) {
        slot = shop.program.memories++;
        shop.emit({.call = Call::kCreateMem2, .ctx = ctx, .mem = slot, .size = third});
    }
    for (const int slot : made)
        shop.emit({.call = Call::kDestroyMem, .ctx = ctx, .mem = slot});
}

void destroy_context(Workshop& shop, int ctx) {
    // A memory without a context of its domain cannot be destroyed until there is one again.
    shop.emit({.call = Call::kDestroy, .ctx = ctx});
}

void small_things(Workshop& shop, int ctx) {
    switch (shop.rng.range(0, 3)) {
        case 0:
            shop.emit({.call = Call::kQuery, .ctx = ctx, .size = 512, .flags = 5});
            break;
        case 1: {
            const Step step{.call = Call::kGetQuant, .ctx = ctx, .operand = kB};
            if (shop.model.predict(step).ok) shop.emit(step);
            break;
        }
        case 2: {
            const std::vector<int> live = shop.live_memories();
            if (!live.empty() && shop.model.memory(live.back())->size <= kMaxData)
                shop.emit({.call = Call::kInspect, .mem = live.back()});
            break;
        }
        default:
            shop.set_scales(ctx);
            break;
    }
}

void act(Workshop& shop, const Options& options, int* sections) {
    std::vector<int> contexts = shop.live_contexts();
    if (contexts.empty() || (contexts.size() < 5 && shop.rng.one_in(8))) {
        shop.complete(shop.new_context());
        return;
    }
    const int ctx = shop.rng.pick(contexts);
    const int64_t die = shop.rng.range(0, 99);
    if (die < 25) {
        shop.complete(ctx);
    } else if (die < 55) {
        rewrite(shop, ctx);
    } else if (die < 65) {
        if (!shop.model.context(ctx)->dynamic) return shop.set_scales(ctx);
        shop.select_shape(ctx);
        shop.complete(ctx);
    } else if (die < 75) {
        chain(shop, ctx);
    } else if (die < 80) {
        convert(shop, ctx);
    } else if (die < 84) {
        destroy_memory(shop);
    } else if (die < 87) {
        destroy_context(shop, ctx);
    } else if (die < 95) {
        small_things(shop, ctx);
    } else if (die < 98 && options.threads > 1) {
        threads(shop, ++*sections, static_cast<int>(shop.rng.range(2, options.threads)));
    } else if (shop.rng.one_in(6)) {
        crowd(shop, ctx);
    } else if (shop.rng.one_in(4)) {
        fill_domain(shop, ctx);
    }
}

}  // namespace

Program generate(uint64_t seed, const Options& options) {
    Rng rng(seed);
    const Settings settings = random_settings(rng, options);
    Workshop shop(rng.bits(), settings, options.macs);
    shop.program.seed = seed;
    int sections = 0;
    const int64_t actions = shop.rng.range(3, 24);
    for (int64_t i = 0; i < actions; ++i) {
        act(shop, options, &sections);
        if (options.illegal && shop.rng.one_in(2)) do_wrong(shop);
    }
    if (options.illegal) do_wrong(shop);
    for (const int slot : shop.live_memories()) {
        if (shop.model.memory(slot)->size <= kMaxData) shop.emit({.call = Call::kInspect, .mem = slot});
    }
    return shop.program;
}

}  // namespace rknnsim_random
