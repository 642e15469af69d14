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

AttentionSizes sizes_of(const AttentionProblem& problem) {
    return {problem.kv_heads, problem.keys.width, problem.values.width};
}

}  // namespace

KvCells::KvCells(NpuResources& npu, const AttentionProblem& problem, int domain, size_t first_area)
    : npu_(npu), domain_(domain), first_area_(first_area), sizes_(sizes_of(problem)) {
    blocks_.reserve(sizes_.blocks());  // so that pointers to them stay
}

bool KvCells::are_for(const AttentionProblem& problem, int domain) const {
    return domain_ == domain && sizes_ == sizes_of(problem);
}

void KvCells::forget() {
    for (std::vector<Block*>& blocks : held_)
        blocks.clear();
    for (Block& block : blocks_)
        block.number = SIZE_MAX;
}

bool KvCells::is_held(const Block& block, size_t but_by) const {
    for (size_t place = 0; place < kPlaces; ++place)
        if (place != but_by && std::ranges::find(held_[place], &block) != held_[place].end()) return true;
    return false;
}

// Is there anything to be packed?
bool KvCells::lacks(const Block& block, const Visibility& visibility) {
    for (size_t part = 0; part < kPartsOfBlock; ++part) {
        if (value_depth(block.number) > kValueBlock && !block.begun[part]) return true;
        const size_t at = block.number * kPartsOfBlock + part;
        if (at >= visibility.parts()) break;
        const uint8_t* const seen = visibility.seen(at);
        for (size_t i = 0; i < kValueBlock; ++i)
            if (seen[i] != 0 && !block.packed[part * kValueBlock + i]) return true;
    }
    return false;
}

bool KvCells::may_pack(const Visibility& visibility, uint64_t layer, std::span<const size_t> blocks,
                       size_t place) const {
    size_t new_ones = 0;
    size_t kept = 0;  // by others, or asked for
    std::vector<const Block*> wanted;
    for (const size_t number : blocks) {
        const Block* const block = find_block(blocks_, layer, number, place,
                                              [&](const Block& known) { return lacks(known, visibility); });
        if (block == nullptr) ++new_ones;
        if (block == nullptr) continue;
        if (is_held(*block, place) && lacks(*block, visibility)) return false;
        wanted.push_back(block);
    }
    for (const Block& block : blocks_)
        if (is_held(block, place) || std::ranges::find(wanted, &block) != wanted.end()) ++kept;
    return kept + new_ones <= sizes_.blocks();
}

// New memory for a block, or that of another one.
Result<KvCells::Block*> KvCells::new_block(uint64_t layer, size_t number, size_t place) {
    Block* room = block_to_replace(blocks_, layer, [&](const Block& block) { return is_held(block); });
    if (blocks_.size() < sizes_.blocks()) {
        const auto memory = npu_.areas.activations(domain_, first_area_ + blocks_.size(), sizes_.block());
        if (!memory.ok() && (room == nullptr || memory.status().code() != StatusCode::kOutOfMemory))
            return memory.status();
        if (memory.ok()) {
            room = &blocks_.emplace_back();
            room->memory = memory.value();
        }
    }
    if (room == nullptr)
        return Status(StatusCode::kInternal, "more blocks of a cache at a time than there is room for");
    room->layer = layer;
    room->number = number;
    room->place = place;
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

Slice KvCells::keys_of(const Block& block, size_t head, size_t columns) const {
    Slice slice = block.memory;
    slice.offset += head * sizes_.head();
    slice.bytes = columns * sizes_.key_width * kHalf;
    return slice;
}

Slice KvCells::values_of(const Block& block, size_t head, size_t part) const {
    Slice slice = keys_of(block, head, kAttentionBlock);
    const size_t bytes = value_depth(block.number) * sizes_.value_width * kHalf;
    slice.offset += slice.bytes + part * bytes;
    slice.bytes = bytes;
    return slice;
}

Slice KvCells::keys(size_t place, size_t block, size_t head, size_t columns) const {
    return keys_of(**std::ranges::find(held_[place], block, &Block::number), head, columns);
}

Slice KvCells::values(size_t place, size_t block, size_t head, size_t part) const {
    return values_of(**std::ranges::find(held_[place], block, &Block::number), head, part);
}

std::vector<KvCells::Task> KvCells::tasks_of(const std::vector<Work>& work) const {
    std::vector<Task> tasks;
    for (const Work& some : work) {
        for (size_t first = 0, end = 0; first < some.count; first = end) {
            const size_t next = round_up(some.first + first + 1, kPositionsOfPacking) - some.first;
            end = std::min(next, some.count);
            for (size_t head = 0; head < sizes_.kv_heads; ++head)
                for (const bool values : {false, true})
                    tasks.push_back({&some, head, values, first, end - first});
        }
    }
    return tasks;
}

void KvCells::pack(const AttentionProblem& problem, const Task& task) {
    const Work& work = *task.work;
    const size_t head = task.head;
    const size_t block = work.block->number;
    const size_t position = (block * kPartsOfBlock + work.part) * kValueBlock + work.first;
    const auto native = [](const Slice& slice) { return reinterpret_cast<uint16_t*>(slice.data()); };
    const uint8_t* const seen = work.seen.data() + work.first;
    const size_t first = work.part * kValueBlock + work.first;  // of the block
    const size_t depth = value_depth(block);
    const RowsOfHead rows =
        task.values ? RowsOfHead{problem.values,
                                 head,
                                 position,
                                 pack_values,
                                 {nullptr, 0, problem.values.width, sizes_.value_width, first % depth, 0,
                                  seen, native(values_of(*work.block, head, first / depth)), depth}}
                    : RowsOfHead{problem.keys,
                                 head,
                                 position,
                                 pack_keys,
                                 {nullptr, 0, problem.keys.width, sizes_.key_width, first, 0, seen,
                                  native(keys_of(*work.block, head, kAttentionBlock))}};
    const auto pack_one_by_one = [&](size_t begin, size_t count) {
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
    const size_t step = rows.from.dequantise == nullptr ? task.count : kRowsAtATime;
    for (size_t i = 0; i < task.count; i += step) {
        const size_t count = std::min(step, task.count - i);
        if (!pack_some(rows, task.first + i, count)) pack_one_by_one(task.first + i, count);
    }
}

bool KvCells::sees_what_has_no_half(const AttentionProblem& problem, size_t token, size_t place) const {
    for (const Block* const block : held_[place]) {
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
                     std::span<const size_t> blocks, size_t place) {
    std::vector<Block*>& held = held_[place];
    held.clear();
    // Those that are there first, so that new ones do not take their room.
    for (const size_t number : blocks)
        if (Block* const known = find_block(blocks_, layer, number, place,
                                            [&](const Block& block) { return lacks(block, visibility); });
            known != nullptr)
            held.push_back(known);
    for (const size_t number : blocks) {
        if (std::ranges::find(held, number, &Block::number) != held.end()) continue;
        held.push_back(RKNPU2_TAKE(new_block(layer, number, place)));
    }
    std::ranges::sort(held, {}, &Block::number);
    for (Block* const block : held)
        block->used = ++uses_;
    const PhaseTimer timer(npu_.counters, Phase::kQuantise);
    std::vector<Work> work;
    for (Block* const block : held)
        add_work(*block, visibility, work);
    const std::vector<Task> tasks = tasks_of(work);
    npu_.pool.parallel_for(tasks.size(), [&](size_t i) { pack(problem, tasks[i]); });
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
            const size_t row_bytes = sizes_.key_width * kHalf;
            const size_t begin = first / kGroup * kGroup * row_bytes;
            const size_t end = round_up(first + work[i].count, kGroup) * row_bytes;
            for (size_t head = 0; head < sizes_.kv_heads; ++head) {
                const Slice of_values = values_of(*block, head, first / value_depth(block->number));
                where.push_back({keys_of(*block, head, 0).offset + begin, end - begin});
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
