// SPDX-License-Identifier: MIT
#include "predict/kv_blocks.hpp"

#include <algorithm>
#include <utility>

#include "matrix/layout.hpp"
#include "plan/weight_plan.hpp"

namespace rknpu2 {

AttentionSizes attention_sizes(const ModelShape& model) {
    const auto width = static_cast<size_t>(model.head_dim);
    return {static_cast<size_t>(model.kv_heads), width, width};
}

bool sees(const SeenParts& seen, size_t part) {
    return part < seen.size() && seen[part].any();
}

KvBlocks::KvBlocks(const ModelShape& model, const EngineSchedule& engine)
    : heads_(static_cast<size_t>(model.kv_heads)),
      value_rows_(static_cast<size_t>(engine.value_rows)),
      held_(static_cast<size_t>(engine.attentions)) {
    const AttentionSizes sizes = attention_sizes(model);
    const size_t tried = (static_cast<size_t>(engine.cell_mib) << 20) / sizes.block();
    room_ = engine.cell_mib > 0 ? std::max<size_t>(tried, 1) : sizes.blocks();
    blocks_.reserve(room_);
}

// Is there anything to be packed?
bool KvBlocks::lacks(const Block& block, const SeenParts& seen) const {
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        if (value_depth(block.number, value_rows_) > kValueBlock && !block.begun[part]) return true;
        const size_t at = block.number * kPartsOfBlock + part;
        if (at < seen.size() && (seen[at] & ~block.packed[part]).any()) return true;
    }
    return false;
}

bool KvBlocks::is_held(const Block& block) const {
    return std::ranges::any_of(
        held_, [&](const auto& held) { return std::ranges::find(held, &block) != held.end(); });
}

KvBlocks::Block& KvBlocks::block_for(int64_t layer, size_t number, const SeenParts& seen, size_t place) {
    const auto lacks_some = [&](const Block& block) { return lacks(block, seen); };
    if (Block* const known = find_block(blocks_, layer, number, place, lacks_some); known != nullptr)
        return *known;
    Block* room = block_to_replace(blocks_, layer, [&](const Block& block) { return is_held(block); });
    if (blocks_.size() < room_) room = &blocks_.emplace_back();
    *room = {.layer = layer, .number = number, .place = place, .packed = SeenParts(kPartsOfBlock)};
    return *room;
}

void KvBlocks::pack(Block& block, const SeenParts& seen, PackedBlocks::Group& group) const {
    static const std::bitset<kValueBlock> kNothing;
    const size_t depth = value_depth(block.number, value_rows_);
    bool any = false;
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const size_t at = block.number * kPartsOfBlock + part;
        auto& packed = block.packed[part];
        const auto fresh = (at < seen.size() ? seen[at] : kNothing) & ~packed;
        // What a product by values takes is whole, or zeros.
        if (fresh.none() && (depth == kValueBlock || block.begun[part])) continue;
        size_t first = 0, last = kValueBlock - 1;
        if (std::exchange(block.begun[part], true)) {
            while (!fresh[first])
                ++first;
            while (!fresh[last])
                --last;
        }
        packed |= fresh;
        for (size_t i = first; i <= last; ++i)
            group.rows_read += packed[i] ? 1 : 0;
        constexpr size_t kGroup = kernel_group(DType::kFloat16);
        group.rows_written += static_cast<double>(last - first + 1);
        group.rows_published += static_cast<double>(round_up(last + 1, kGroup) - first / kGroup * kGroup);
        group.values_published += static_cast<double>(depth);
        group.tasks += 2 * heads_ * packing_tasks(first, last + 1 - first);
        any = true;
    }
    if (any) ++group.buffers;
}

PackedBlocks KvBlocks::pack(int64_t layer, const SeenParts& seen, size_t place) {
    std::vector<size_t> all;
    for (size_t block = 0; block * kPartsOfBlock < seen.size(); ++block) {
        const auto any = [&](size_t part) { return sees(seen, block * kPartsOfBlock + part); };
        if (any(0) || any(1)) all.push_back(block);
    }
    PackedBlocks packed;
    std::vector<const Block*>& held = held_[place];
    const size_t room = std::max<size_t>(room_ / held_.size(), 1);
    if (room_ < held_.size())
        std::ranges::for_each(held_, [](auto& kept) { kept.clear(); });  // it waits for them
    for (size_t from = 0; from < all.size(); from += room) {
        PackedBlocks::Group& group = packed.groups.emplace_back();
        group.blocks.assign(all.begin() + static_cast<std::ptrdiff_t>(from),
                            all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), from + room)));
        held.clear();
        for (const size_t number : group.blocks) {
            Block& block = block_for(layer, number, seen, place);
            block.used = ++uses_;
            held.push_back(&block);
            pack(block, seen, group);
        }
    }
    return packed;
}

}  // namespace rknpu2
