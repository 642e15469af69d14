// SPDX-License-Identifier: MIT
#include "matmul/pipeline.hpp"

#include <algorithm>
#include <utility>

#include "system/threads.hpp"

namespace rknpu2 {
namespace {

// Other threads wait for what a task promises, so it must not end by an exception.
template <typename Task>
Status without_exception(const Task& task) noexcept {
    try {
        return task();
    } catch (...) {
        return Status::of_exception();
    }
}

}  // namespace

void Pipeline::begin(const Shape& shape, CubeSync& synced) {
    const std::lock_guard lock(mutex_);
    shape_ = &shape;
    synced_ = &synced;
    cores_.fill({});
    parts_left_ = shape.chunk_parts;
    if (shape.quantised) std::fill(parts_left_.begin(), parts_left_.end(), 0);
    progress_.clear();
    for (const Round& round : shape.rounds)
        progress_.push_back({round.strip->runs.size(), 0, round.parts});
    next_chunk_ = shape.quantised ? shape.chunk_parts.size() : 0;
    next_part_ = completed_ = running_ = 0;
    cpu_tasks_ = overlapped_ = 0;
    waits_ = {};
    status_ = {};
}

void Pipeline::work(Work& work) {
    std::unique_lock lock(mutex_);
    while (!finished()) {
        Task task;
        if (pick(task)) {
            execute(work, task, lock);
        } else {
            wait(lock);
        }
    }
}

// Waits until something has changed.
void Pipeline::wait(std::unique_lock<std::mutex>& lock) {
    const uint64_t seen = changes_;
    if (spinning_ + computing_ < most_awake_) {
        ++spinning_;
        ++waits_.spins;
        waits_.most_awake = std::max(waits_.most_awake, spinning_ + computing_);
        lock.unlock();
        spin_until([&] { return changes_ != seen; }, kRunSpin);
        lock.lock();
        --spinning_;
    }
    if (changes_ != seen) return;
    ++waits_.sleeps;
    ++waiting_;
    changed_.wait(lock, [&] { return changes_ != seen; });
    --waiting_;
}

bool Pipeline::pick(Task& task) {
    for (size_t core = 0; core < cores_.size(); ++core)
        if (!cores_[core].busy && pick_run(core, task)) return true;
    return pick_dequantisation(task) || pick_quantisation(task);
}

// The core's next run, if its activations are there and there is a place for its result.
bool Pipeline::pick_run(size_t core, Task& task) {
    Core& at = cores_[core];
    const std::vector<Round>& rounds = shape_->rounds;
    const auto runs_of = [&](const Round& round) {
        return round.strip->first_run[core + 1] - round.strip->first_run[core];
    };
    while (at.round < rounds.size() && at.runs == runs_of(rounds[at.round])) {
        ++at.round;
        at.runs = 0;
    }
    if (at.round >= std::min(rounds.size(), completed_ + kResultSlots)) return false;
    if (parts_left_[rounds[at.round].chunk] > 0) return false;
    task = {Kind::kRun, at.round, rounds[at.round].strip->first_run[core] + at.runs, false};
    const CubeSync::State state = synced_->begin(cube_of(task));
    if (state == CubeSync::State::kOthers) return false;
    task.sync = state == CubeSync::State::kMine;
    ++at.runs;
    at.busy = true;
    ++running_;
    return true;
}

// The cube that a run reads.
size_t Pipeline::cube_of(const Task& task) const {
    const Round& round = shape_->rounds[task.round];
    return round.chunk * shape_->segments + round.strip->runs[task.index].segment;
}

bool Pipeline::pick_dequantisation(Task& task) {
    const size_t end = std::min(shape_->rounds.size(), completed_ + kResultSlots);
    for (size_t round = completed_; round < end; ++round) {
        Progress& progress = progress_[round];
        if (progress.runs_left > 0 || progress.next_part == shape_->rounds[round].parts) continue;
        task = {Kind::kDequantise, round, progress.next_part++, false};
        return true;
    }
    return false;
}

bool Pipeline::pick_quantisation(Task& task) {
    const std::vector<size_t>& parts = shape_->chunk_parts;
    if (next_chunk_ == parts.size()) return false;
    task = {Kind::kQuantise, next_chunk_, next_part_++, false};
    if (next_part_ == parts[next_chunk_]) {
        ++next_chunk_;
        next_part_ = 0;
    }
    return true;
}

void Pipeline::execute(Work& work, const Task& task, std::unique_lock<std::mutex>& lock) {
    if (task.kind == Kind::kRun) {
        end_run(task, run(work, task, lock));
    } else {
        compute(work, task, lock);
    }
}

void Pipeline::compute(Work& work, const Task& task, std::unique_lock<std::mutex>& lock) {
    ++cpu_tasks_;
    if (running_ > 0) ++overlapped_;
    ++computing_;
    lock.unlock();
    const bool quantises = task.kind == Kind::kQuantise;
    Status status = without_exception([&] {
        quantises ? work.quantise(task.round, task.index) : work.dequantise(task.round, task.index);
        return Status();
    });
    lock.lock();
    --computing_;
    if (!status.ok()) return fail(std::move(status));
    if (quantises) {
        if (--parts_left_[task.round] == 0) tell_waiting();
        return;
    }
    if (--progress_[task.round].parts_left > 0) return;
    while (completed_ < progress_.size() && progress_[completed_].parts_left == 0)
        ++completed_;
    tell_waiting();
}

Status Pipeline::run(Work& work, const Task& task, std::unique_lock<std::mutex>& lock) {
    lock.unlock();
    Status status;
    if (task.sync) {
        status = without_exception([&] { return work.sync(task.round, task.index); });
        lock.lock();
        synced_->end(cube_of(task), status.ok());
        tell_waiting();
        lock.unlock();
    }
    if (status.ok()) status = without_exception([&] { return work.run(task.round, task.index); });
    lock.lock();
    return status;
}

void Pipeline::end_run(const Task& task, Status status) {
    --running_;
    cores_[shape_->rounds[task.round].strip->runs[task.index].core].busy = false;
    --progress_[task.round].runs_left;
    if (status.ok()) return tell_waiting();
    fail(std::move(status));
}

void Pipeline::fail(Status status) {
    if (status_.ok()) status_ = std::move(status);
    tell_waiting();
}

void Pipeline::tell_waiting() {
    ++changes_;
    if (waiting_ > 0) changed_.notify_all();
}

}  // namespace rknpu2
