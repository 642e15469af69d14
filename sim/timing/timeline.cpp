// SPDX-License-Identifier: MIT
#include "timing/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace rknnsim {
namespace {

// Half a nanosecond that is only rounding noise must not become one.
constexpr double kNoise = 1e-6;

uint64_t rounded(double ns) {
    return static_cast<uint64_t>(ns + 0.5);  // NOLINT: never negative; llround is a call
}

}  // namespace

uint64_t RunTime::mac_ns() const {
    // Rounding may not make it longer than the run.
    return std::min(rounded(cost->by_cores[0].mac), stop_ns - start_ns);
}

uint64_t RunTime::dma_ns() const {
    double sum = 0;
    for (int i = 0; i < kCores; ++i)
        sum += share[i] * cost->by_cores[i].dma;
    return std::min(rounded(sum), stop_ns - start_ns);
}

Timeline::Timeline(Listener& listener) : listener_(listener), operations_(kRound), ends_(kEndsKept) {}

Timeline::Operation& Timeline::append(HostThread& thread, uint64_t* id) {
    if (count_ == kRound) resolve();
    if (thread.round != round_) {
        thread.round = round_;
        thread.operations.clear();
        thread.next = 0;
        thread.waiting = false;
        threads_.push_back(&thread);
    }
    thread.operations.push_back(static_cast<uint32_t>(count_));
    *id = next_id_++;
    Operation& operation = operations_[count_++];
    operation.thread = &thread;
    operation.done = false;
    return operation;
}

uint64_t Timeline::add_cpu(HostThread& thread, const char* what, uint64_t cpu_ns, const Dependencies& after) {
    uint64_t id = 0;
    Operation& operation = append(thread, &id);
    operation.what = what;
    operation.cpu_ns = cpu_ns;
    operation.after = after;
    operation.core_mask = -1;
    return id;
}

uint64_t Timeline::add_run(HostThread& thread, uint64_t context, int core_mask,
                           std::shared_ptr<const RunCost> cost, uint64_t submit_ns, uint64_t convert_ns,
                           uint64_t delay_ns, const Dependencies& after) {
    uint64_t id = 0;
    Operation& operation = append(thread, &id);
    operation.what = "submit";
    operation.cpu_ns = submit_ns;
    operation.after = after;
    operation.core_mask = core_mask;
    operation.context = context;
    operation.convert_ns = convert_ns;
    operation.delay_ns = delay_ns;
    operation.cost = std::move(cost);
    return id;
}

// Have all that it waits for ended, and when?
bool Timeline::ready(const Operation& operation, uint64_t* ns) const {
    *ns = std::max(operation.thread->now, operation.after.ns());
    for (const uint64_t id : operation.after) {
        if (id >= first_ && !operations_[id - first_].done) return false;
        *ns = std::max(*ns, end_of(id));
    }
    for (uint64_t id = first_; id <= operation.after.all_up_to(); ++id) {
        if (!operations_[id - first_].done) return false;
        *ns = std::max(*ns, end_of(id));
    }
    if (operation.after.all_up_to() > 0) *ns = std::max(*ns, end_of_rounds_);
    return true;
}

void Timeline::end_operation(uint32_t index, uint64_t end_ns) {
    operations_[index].done = true;
    operations_[index].thread->now = end_ns;
    ends_[(first_ + index) % kEndsKept] = end_ns;
    latest_ = std::max(latest_, end_ns);
}

// Goes on with a thread until it waits for a core or for another thread. Did it get anywhere?
bool Timeline::advance_thread(HostThread& thread) {
    bool moved = false;
    while (!thread.waiting && thread.next < thread.operations.size()) {
        const uint32_t index = thread.operations[thread.next];
        const Operation& operation = operations_[index];
        uint64_t start = 0;
        if (!ready(operation, &start)) break;
        const uint64_t end = start + operation.cpu_ns;
        if (operation.cpu_ns > 0) listener_.on_cpu_time(operation.what, thread.number, start, end);
        if (operation.core_mask < 0) {
            end_operation(index, end);
        } else {
            requests_.push_back({index, start, end});
            thread.waiting = true;
        }
        ++thread.next;
        moved = true;
    }
    return moved;
}

void Timeline::advance_threads() {
    for (bool moved = true; moved;) {
        moved = false;
        for (HostThread* thread : threads_)
            moved = advance_thread(*thread) || moved;
        if (threads_.size() == 1) return;
    }
}

// The request that can start first, among those whose core is idle.
Timeline::Start Timeline::next_start() const {
    Start best;
    const auto rank = [this](const Start& start) {
        const Request& request = requests_[start.request];
        return std::tuple(start.ns, request.request_ns, operations_[request.operation].context,
                          request.operation);
    };
    for (size_t i = 0; i < requests_.size(); ++i) {
        const int mask = operations_[requests_[i].operation].core_mask;
        Start own;
        for (int core = 0; core < kCores; ++core) {
            if ((mask != 0 && (mask >> core & 1) == 0) || cores_[core].busy) continue;
            const uint64_t ns = std::max(requests_[i].request_ns, cores_[core].run.stop_ns);
            if (ns < own.ns) own = {i, core, ns};
        }
        if (own.core >= 0 && (best.core < 0 || rank(own) < rank(best))) best = own;
    }
    return best;
}

// Does the core work at this moment, be it on a run of an earlier round?
bool Timeline::occupied(const Core& core) const {
    return core.busy || (core.run.start_ns <= now_ && now_ < core.run.stop_ns);
}

// Goes to the next moment at which a run starts or ends, or the number of busy cores changes.
void Timeline::step() {
    const Start start = next_start();
    const bool idle = std::none_of(cores_.begin(), cores_.end(), [](const Core& core) { return core.busy; });
    if (idle) {
        now_ = start.ns;
        return begin_run(start);
    }
    const auto busy = std::count_if(cores_.begin(), cores_.end(), [&](const Core& c) { return occupied(c); });
    uint64_t until = start.core >= 0 ? std::max(start.ns, now_) : UINT64_MAX;
    Core* ending = nullptr;
    for (Core& core : cores_) {
        if (!core.busy) {  // an earlier round's run may come up, or end
            for (const uint64_t edge : {core.run.start_ns, core.run.stop_ns}) {
                if (edge <= now_ || edge >= until) continue;
                until = edge;
                ending = nullptr;  // of the cores before, none ends that soon
            }
            continue;
        }
        const double left = core.remaining * core.run.cost->by_cores[busy - 1].total;
        const uint64_t end = now_ + static_cast<uint64_t>(std::ceil(std::max(0.0, left - kNoise)));
        if (end < until || (end == until && ending == nullptr)) {
            until = end;
            ending = &core;
        }
    }
    for (Core& core : cores_) {
        if (!core.busy) continue;
        const double total = core.run.cost->by_cores[busy - 1].total;
        const double done = std::min(core.remaining, static_cast<double>(until - now_) / total);
        const double part = &core == ending ? core.remaining : done;
        core.run.share[busy - 1] += part;
        core.remaining -= part;
    }
    now_ = until;
    if (ending != nullptr) {
        end_run(*ending);
    } else if (start.core >= 0 && start.ns <= now_) {
        begin_run(start);
    }
}

void Timeline::begin_run(const Start& start) {
    const Request request = requests_[start.request];
    requests_.erase(requests_.begin() + static_cast<ptrdiff_t>(start.request));
    Operation& operation = operations_[request.operation];
    Core& core = cores_[start.core];
    core.busy = true;
    core.operation = request.operation;
    core.remaining = 1;
    core.run.cost = std::move(operation.cost);
    core.run.context = operation.context;
    core.run.core = start.core;
    core.run.thread = operation.thread->number;
    core.run.call_ns = request.call_ns;
    core.run.request_ns = request.request_ns;
    core.run.start_ns = now_;
    core.run.share = {};
}

void Timeline::end_run(Core& core) {
    const Operation& operation = operations_[core.operation];
    HostThread& thread = *operation.thread;
    core.busy = false;
    core.run.stop_ns = now_ + operation.delay_ns;
    core.run.end_ns = core.run.stop_ns + operation.convert_ns;
    end_operation(core.operation, core.run.end_ns);
    thread.waiting = false;
    thread.last_run = core.run;
    listener_.on_run_time(core.run);
    if (operation.convert_ns > 0)
        listener_.on_cpu_time("convert C", thread.number, core.run.stop_ns, core.run.end_ns);
}

void Timeline::resolve() {
    if (count_ == 0) return;
    while (true) {
        advance_threads();
        const bool idle = std::none_of(cores_.begin(), cores_.end(), [](const Core& c) { return c.busy; });
        if (idle && requests_.empty()) break;
        step();
    }
    first_ += count_;
    count_ = 0;
    end_of_rounds_ = latest_;
    threads_.clear();
    ++round_;
}

}  // namespace rknnsim
