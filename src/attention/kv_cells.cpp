// SPDX-License-Identifier: MIT
#include "attention/kv_cells.hpp"

#include <algorithm>

#include "kernels/quantise.hpp"
#include "matrix/float16.hpp"

namespace rknpu2 {
namespace {

constexpr size_t kHalf = sizeof(uint16_t);
constexpr size_t kGroup = kernel_group(DType::kFloat16);
constexpr size_t kRowsAtATime = 32;  // that are made halves

// Keys or values of a head, from one position on, and where they go.
struct RowsOfHead {
    const CacheRows& from;
    size_t head;
    size_t position;  // of the first row
    bool (*pack)(const HalvesToBlock& rows, KernelTier tier);
    HalvesToBlock to;  // `rows` and `row_bytes` are still to be filled in
};

// Elements of another type, as halves. False if one that is seen has none.
bool to_halves(const RowsOfHead& rows, size_t first, size_t count, uint16_t* halves) {
    thread_local std::vector<float> row;
    const size_t width = rows.from.width;
    row.resize(width);
    for (size_t i = 0; i < count; ++i) {
        if (rows.to.seen[first + i] == 0) continue;
        rows.from.dequantise(rows.from.row(rows.position + first + i, rows.head), row.data(),
                             static_cast<int64_t>(width));
        const float largest = row_absmax(row.data(), width);
        if (!(largest <= kFloat16Max)) return false;
        std::transform(row.begin(), row.end(), halves + i * width, float_to_float16);
    }
    return true;
}

// Packs rows first .. first + count - 1 of these. False if one that is seen has no half.
bool pack_some(const RowsOfHead& rows, size_t first, size_t count) {
    HalvesToBlock some = rows.to;
    some.first += first;
    some.count = count;
    some.seen += first;
    if (rows.from.dequantise == nullptr) {
        some.rows = rows.from.row(rows.position + first, rows.head);
        some.row_bytes = rows.from.position_bytes;
        return rows.pack(some, default_tier());
    }
    thread_local std::vector<uint16_t> halves;
    halves.resize(kRowsAtATime * rows.from.width);
    some.rows = reinterpret_cast<const std::byte*>(halves.data());
    some.row_bytes = rows.from.width * kHalf;
    return to_halves(rows, first, count, halves.data()) && rows.pack(some, default_tier());
}

}  // namespace

void KvCells::use(const AttentionProblem& problem, int domain) {
    const size_t key_width = round_up(problem.keys.width, kTileK);
    const size_t value_width = round_up(problem.values.width, kGroup);
    if (heads_ == problem.kv_heads && key_width_ == key_width && value_width_ == value_width &&
        domain_ == domain)
        return;
    domain_ = domain;
    heads_ = problem.kv_heads;
    key_width_ = key_width;
    value_width_ = value_width;
    blocks_.clear();
    room_ = std::max<size_t>(kMostCellBytes / (heads_ * head_bytes()), 1);
}

void KvCells::forget() {
    for (Block& block : blocks_)
        block.number = SIZE_MAX;
}

size_t KvCells::head_bytes() const {
    return (key_width_ + value_width_) * kAttentionBlock * kHalf;
}

// The block, if it is there. Else room for it: that of another layer's that was used longest ago; or, since
// blocks of a layer are asked for in turns, that of this layer's which will be needed last.
Result<KvCells::Block*> KvCells::block_for(uint64_t layer, size_t number) {
    Block* oldest = nullptr;
    Block* newest = nullptr;
    for (Block& block : blocks_) {
        if (block.layer == layer && block.number == number) return &block;
        if (std::ranges::find(current_, &block) != current_.end()) continue;
        if (block.layer != layer && (oldest == nullptr || block.used < oldest->used)) oldest = &block;
        if (block.layer == layer && (newest == nullptr || block.used > newest->used)) newest = &block;
    }
    Block* room = oldest != nullptr ? oldest : newest;
    if (blocks_.size() < room_) {
        const Slice memory = RKNPU2_TAKE(
            npu_.areas.activations(domain_, kAreasOfCells + blocks_.size(), heads_ * head_bytes()));
        blocks_.reserve(room_);  // so that pointers to them stay
        room = &blocks_.emplace_back();
        room->memory = memory;
    }
    if (room == nullptr)
        return Status(StatusCode::kInternal, "more blocks of a cache at a time than there is room for");
    room->layer = layer;
    room->number = number;
    room->packed.reset();
    room->no_half.reset();
    room->begun.fill(false);
    return room;
}

// The parts of a run by values are whole, or zeros.
void KvCells::add_work(Block& block, const Visibility& visibility, std::vector<Work>& work) const {
    static constexpr std::array<uint8_t, kValueBlock> kNothing{};
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        const size_t at = block.number * kPartsOfBlock + part;
        const uint8_t* const seen = at < visibility.parts() ? visibility.seen(at) : kNothing.data();
        Work some;
        some.block = &block;
        some.part = part;
        size_t first = kValueBlock;
        size_t last = 0;
        for (size_t i = 0; i < kValueBlock; ++i) {
            const bool was = block.packed[part * kValueBlock + i];
            some.seen[i] = was || seen[i] != 0 ? 1 : 0;
            if (some.seen[i] == 0 || was) continue;
            block.packed.set(part * kValueBlock + i);
            first = std::min(first, i);
            last = i;
        }
        const bool joined = value_depth(block.number) > kValueBlock && !block.begun[part];
        if (first == kValueBlock && !joined) continue;
        const bool all = !std::exchange(block.begun[part], true);
        some.first = all ? 0 : first;
        some.count = all ? kValueBlock : last + 1 - first;
        work.push_back(some);
    }
}

Slice KvCells::keys(size_t block, size_t head, size_t columns) const {
    Slice slice = (*std::ranges::find(current_, block, &Block::number))->memory;
    slice.offset += head * head_bytes();
    slice.bytes = columns * key_width_ * kHalf;
    return slice;
}

Slice KvCells::values(size_t block, size_t head, size_t part) const {
    Slice slice = keys(block, head, kAttentionBlock);
    const size_t bytes = value_depth(block) * value_width_ * kHalf;
    slice.offset += slice.bytes + part * bytes;
    slice.bytes = bytes;
    return slice;
}

void KvCells::pack_head(const AttentionProblem& problem, const Work& work, size_t head) {
    const size_t block = work.block->number;
    const size_t position = (block * kPartsOfBlock + work.part) * kValueBlock + work.first;
    const auto native = [](const Slice& slice) { return reinterpret_cast<uint16_t*>(slice.data()); };
    const uint8_t* const seen = work.seen.data() + work.first;
    const size_t first = work.part * kValueBlock + work.first;  // of the block
    const size_t depth = value_depth(block);
    const RowsOfHead both[] = {{problem.keys,
                                head,
                                position,
                                pack_keys,
                                {nullptr, 0, problem.keys.width, key_width_, first, 0, seen,
                                 native(keys(block, head, kAttentionBlock))}},
                               {problem.values,
                                head,
                                position,
                                pack_values,
                                {nullptr, 0, problem.values.width, value_width_, first % depth, 0, seen,
                                 native(values(block, head, first / depth)), depth}}};
    const auto pack_one_by_one = [&](const RowsOfHead& rows, size_t begin, size_t count) {
        static constexpr uint8_t kUnseen = 0;
        for (size_t i = begin; i < begin + count; ++i) {
            if (pack_some(rows, i, 1)) continue;
            RowsOfHead zeros = rows;
            zeros.to.first += i;
            zeros.to.seen = &kUnseen;
            pack_some(zeros, 0, 1);
            const std::lock_guard lock(no_half_mutex_);
            work.block->no_half.set(first + i);
        }
    };
    for (const RowsOfHead& rows : both) {
        const size_t step = rows.from.dequantise == nullptr ? work.count : kRowsAtATime;
        for (size_t i = 0; i < work.count; i += step) {
            const size_t count = std::min(step, work.count - i);
            if (!pack_some(rows, i, count)) pack_one_by_one(rows, i, count);
        }
    }
}

bool KvCells::sees_what_has_no_half(const AttentionProblem& problem, size_t token) const {
    for (const Block* const block : current_) {
        for (size_t i = 0; block->no_half.any() && i < kAttentionBlock; ++i) {
            if (!block->no_half[i]) continue;
            if (problem.mask == nullptr) return true;
            for (size_t head = 0; head < problem.mask_heads; ++head)
                if (problem.mask_row(token, head)[block->number * kAttentionBlock + i] != kHiddenMask)
                    return true;
        }
    }
    return false;
}

Status KvCells::pack(const AttentionProblem& problem, const Visibility& visibility, uint64_t layer,
                     std::span<const size_t> blocks) {
    current_.clear();
    for (const size_t number : blocks) {
        Block* const block = RKNPU2_TAKE(block_for(layer, number));
        block->used = ++uses_;
        current_.push_back(block);
    }
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    std::vector<Work> work;
    for (Block* const block : current_)
        add_work(*block, visibility, work);
    npu_.pool.parallel_for(work.size() * heads_,
                           [&](size_t i) { pack_head(problem, work[i / heads_], i % heads_); });
    Status status = publish(work);
    for (const Work& some : work)
        if (!status.ok()) some.block->number = SIZE_MAX;  // the NPU does not know what is there
    return status;
}

// Tells the NPU what has been written, a buffer at a time.
Status KvCells::publish(std::span<const Work> work) {
    for (size_t i = 0; i < work.size();) {
        const Block* const block = work[i].block;
        std::vector<Extent> where;
        for (; i < work.size() && work[i].block == block; ++i) {
            const size_t first = work[i].part * kValueBlock + work[i].first;
            const size_t row_bytes = key_width_ * kHalf;
            const size_t begin = first / kGroup * kGroup * row_bytes;
            const size_t end = round_up(first + work[i].count, kGroup) * row_bytes;
            for (size_t head = 0; head < heads_; ++head) {
                const Slice of_values = values(block->number, head, first / value_depth(block->number));
                where.push_back({keys(block->number, head, 0).offset + begin, end - begin});
                where.push_back({of_values.offset, of_values.bytes});
                npu_.counters.attention.packed_bytes += end - begin + of_values.bytes;
            }
        }
        RKNPU2_RETURN_IF_ERROR(
            npu_.coherency->weights_written(npu_.memory.allocator(domain_), block->memory.memory(), where));
    }
    return {};
}

}  // namespace rknpu2
