// SPDX-License-Identifier: MIT
#include "timing/clock.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

constexpr size_t kThreadsKept = 1024;
constexpr size_t kContextsKept = 1024;  // a power of two
constexpr size_t kCostsKept = 1024;     // a power of two

// Names as they appear in traces; compared by address.
constexpr const char* kBind = "bind";
constexpr const char* kConvert = "bind, convert";
constexpr const char* kSync = "sync";
constexpr const char* kOther = "host";

uint64_t whole(double ns) {
    return static_cast<uint64_t>(ns + 0.5);  // NOLINT: never negative; llround is a call
}

size_t operand_bytes(const MatmulShape& shape, Operand which) {
    switch (which) {
        case Operand::kA:
            return rknpu2::dtype_bytes(input_type(shape.type), size_t{shape.M} * shape.K);
        case Operand::kB:
            return rknpu2::dtype_bytes(input_type(shape.type), size_t{shape.K} * shape.N);
        default:
            return rknpu2::dtype_bytes(output_type(shape.type), size_t{shape.M} * shape.N);
    }
}

size_t slot_of(const MatmulShape& shape) {
    uint64_t hash = shape.M * 0x9E3779B97F4A7C15U;
    hash = (hash ^ shape.K) * 0xBF58476D1CE4E5B9U;
    hash = (hash ^ shape.N) * 0x94D049BB133111EBU;
    hash =
        (hash ^ (static_cast<uint64_t>(shape.type) << 1) ^ (shape.ac_native ? 1U : 0U)) * 0x9E3779B97F4A7C15U;
    return static_cast<size_t>(hash >> 40) % kCostsKept;
}

// What a real thread remembers of its HostThread; only good for the clock with that id.
struct Remembered {
    uint64_t clock = 0;
    uint64_t serial = 0;
    size_t index = 0;
};
thread_local Remembered remembered;

uint64_t next_clock_id() {
    static std::atomic<uint64_t> last{0};
    return ++last;
}

}  // namespace

void CoreTotals::add(const RunTime& run) {
    const Work& work = run.cost->work;
    ++runs;
    busy_ns += run.stop_ns - run.start_ns;
    mac_ns += run.mac_ns();
    dma_ns += run.dma_ns();
    stall_ns += run.stall_ns();
    read_bytes += work.read_a + work.read_b + work.read_c;
    written_bytes += work.write_c;
    macs += work.macs;
    ideal_ns += run.cost->ideal_ns;
}

void CoreTotals::add(const CoreTotals& other) {
    runs += other.runs;
    busy_ns += other.busy_ns;
    mac_ns += other.mac_ns;
    dma_ns += other.dma_ns;
    stall_ns += other.stall_ns;
    read_bytes += other.read_bytes;
    written_bytes += other.written_bytes;
    macs += other.macs;
    ideal_ns += other.ideal_ns;
}

VirtualClock::VirtualClock(Profile profile, std::vector<Timeline::Listener*> listeners)
    : id_(next_clock_id()),
      listeners_(std::move(listeners)),
      profile_(profile),
      timeline_(*this),
      contexts_(kContextsKept),
      costs_(kCostsKept) {}

HostThread& VirtualClock::thread() {
    if (remembered.clock == id_ && remembered.index < threads_.size() &&
        threads_[remembered.index]->serial == remembered.serial)
        return *threads_[remembered.index];
    return new_thread();
}

// Programs may start threads without end: the one idle for longest gives its place.
HostThread& VirtualClock::new_thread() {
    size_t index = threads_.size();
    if (threads_.size() < kThreadsKept) {
        threads_.push_back(std::make_unique<HostThread>());
    } else {
        timeline_.resolve();
        const auto oldest =
            std::min_element(threads_.begin(), threads_.end(),
                             [](const auto& a, const auto& b) { return a->round < b->round; });
        forgotten_now_ = std::max(forgotten_now_, (*oldest)->now);
        *oldest = std::make_unique<HostThread>();
        (*oldest)->now = forgotten_now_;
        index = static_cast<size_t>(oldest - threads_.begin());
    }
    HostThread& fresh = *threads_[index];
    fresh.number = ++thread_count_;
    fresh.serial = static_cast<uint64_t>(thread_count_);
    remembered = {id_, fresh.serial, index};
    return fresh;
}

VirtualClock::ContextTime& VirtualClock::context_time(uint64_t handle) {
    ContextTime& entry = contexts_[handle % kContextsKept];
    if (entry.handle != handle) entry = {.handle = handle};
    return entry;
}

std::shared_ptr<const RunCost> VirtualClock::cost_of(const MatmulShape& shape) {
    std::shared_ptr<const RunCost>& entry = costs_[slot_of(shape)];
    if (entry != nullptr && entry->shape == shape) return entry;
    auto cost = std::make_shared<RunCost>();
    cost->shape = shape;
    cost->work = work_of(shape, profile_);
    for (int cores = 1; cores <= kCores; ++cores) {
        cost->bytes_a_ns[cores - 1] = bandwidth(cost->work, profile_, cores);
        cost->by_cores[cores - 1] = duration_of(shape, cost->work, profile_, cores);
    }
    cost->macs_a_ns = 1 / mac_ns(shape, profile_, 1);
    cost->ideal_ns = mac_ns(shape, profile_, cost->work.macs) * profile_.mac_efficiency;
    entry = cost;
    return entry;
}

uint64_t VirtualClock::convert_c_ns(const MatmulShape& shape) const {
    return shape.ac_native ? 0 : whole(convert_ns(profile_, operand_bytes(shape, Operand::kC), shape.M));
}

// Moments must not outlive the Timeline's knowledge of their operations.
void VirtualClock::settle_moments() {
    if (timeline_.last_id() - last_settled_ < Timeline::kEndsKept / 2) return;
    last_settled_ = timeline_.last_id();
    timeline_.resolve();
    memory_times_.settle(timeline_);
    for (ContextTime& context : contexts_)
        context.last.settle(timeline_);
}

// An operand of a run.
struct VirtualClock::Use {
    const Memory* memory = nullptr;  // nullptr: not used
    size_t bytes = 0;
    bool writes = false;
    MemoryTimes::Range* range = nullptr;  // when it is known as one
};

void VirtualClock::wait_for(const Use& use, int waiter, Dependencies* after) {
    if (use.range != nullptr) {
        use.writes ? use.range->wait_for_users(waiter, after) : use.range->wait_for_data(waiter, after);
    } else if (use.writes) {
        memory_times_.wait_for_users(*use.memory, use.bytes, waiter, after);
    } else {
        memory_times_.wait_for_data(*use.memory, use.bytes, waiter, after);
    }
}

void VirtualClock::note(const Use& use, const Moment& moment) {
    if (use.memory == nullptr) return;
    if (use.range != nullptr) {
        use.writes ? void(use.range->data = moment) : use.range->add_user(moment);
    } else if (use.writes) {
        memory_times_.set_data(*use.memory, use.bytes, moment);
    } else {
        memory_times_.add_user(*use.memory, use.bytes, moment);
    }
}

void VirtualClock::on_bind(const BindEvent& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    HostThread& caller = thread();
    ContextTime& context = context_time(event.context);
    Dependencies after;
    context.last.wait(caller.number, &after);
    if (event.which != Operand::kC)
        memory_times_.wait_for_data(*event.memory, event.bytes, caller.number, &after);
    double ns = profile_.bind_us * 1e3;
    if (event.converted) {
        ns += event.which == Operand::kB
                  ? convert_b_ns(profile_, event.bytes, event.problem.b_layout == Layout::kTransposed)
                  : convert_ns(profile_, event.bytes, event.M);
    }
    const char* what = event.converted ? kConvert : kBind;
    context.last = {timeline_.add_cpu(caller, what, whole(ns), after), 0, caller.number};
}

double VirtualClock::sync_ns(const SyncEvent& event) const {
    if (event.lines > 0) return static_cast<double>(event.lines) * profile_.line_ns;
    const double bytes = static_cast<double>(event.passes) * static_cast<double>(event.memory.size);
    return profile_.sync_us * 1e3 + bytes / profile_.sync_gbps;
}

void VirtualClock::on_sync(const SyncEvent& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    HostThread& caller = thread();
    const Memory& memory = event.memory;
    Dependencies after;
    if (event.to_device) {
        memory_times_.wait_for_users(memory, memory.size, caller.number, &after);
    } else {
        memory_times_.wait_for_data(memory, memory.size, caller.number, &after);
    }
    const uint64_t id = timeline_.add_cpu(caller, kSync, whole(sync_ns(event)), after);
    ++totals_.syncs;
    totals_.synced_bytes += static_cast<uint64_t>(event.passes) * memory.size;
    if (event.to_device) memory_times_.set_data(memory, memory.size, {id, 0, caller.number});
}

void VirtualClock::on_run(const RunEvent& event) {
    const Problem& problem = event.problem;
    const MatmulShape shape{.type = problem.type,
                            .ac_native = problem.ac_native,
                            .M = static_cast<uint32_t>(event.M),
                            .K = static_cast<uint32_t>(problem.K),
                            .N = static_cast<uint32_t>(problem.N)};
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    HostThread& caller = thread();
    ContextTime& context = context_time(event.context);
    Dependencies after;
    context.last.wait(caller.number, &after);
    // Operands in normal layout were copied when they were bound.
    const bool used[3] = {problem.ac_native, problem.b_layout == Layout::kNative, true};
    Use uses[3];
    for (const Operand which : {Operand::kA, Operand::kB, Operand::kC}) {
        const auto i = static_cast<size_t>(which);
        if (!used[i] || event.operands[i] == nullptr) continue;
        uses[i] = {event.operands[i].get(), operand_bytes(shape, which), which == Operand::kC};
        uses[i].range = memory_times_.exact(*uses[i].memory, uses[i].bytes, &context.cursors[i]);
        wait_for(uses[i], caller.number, &after);
    }
    const uint64_t id =
        timeline_.add_run(caller, event.context, event.core_mask, cost_of(shape),
                          whole(profile_.submit_us * 1e3), convert_c_ns(shape), event.delay_ns, after);
    context.last = {id, 0, caller.number};
    for (const Use& use : uses)
        note(use, context.last);
}

void VirtualClock::on_run_time(const RunTime& run) {
    totals_.cores[run.core].add(run);
    totals_.submit_ns += run.request_ns - run.call_ns;
    totals_.convert_ns += run.end_ns - run.stop_ns;
    for (Timeline::Listener* listener : listeners_)
        listener->on_run_time(run);
}

void VirtualClock::on_cpu_time(const char* what, int thread, uint64_t start_ns, uint64_t end_ns) {
    if (what == kSync) totals_.sync_ns += end_ns - start_ns;
    if (what == kBind) totals_.bind_ns += end_ns - start_ns;
    if (what == kConvert) {
        const uint64_t bind = std::min(whole(profile_.bind_us * 1e3), end_ns - start_ns);
        totals_.bind_ns += bind;
        totals_.convert_ns += end_ns - start_ns - bind;
    }
    for (Timeline::Listener* listener : listeners_)
        listener->on_cpu_time(what, thread, start_ns, end_ns);
}

Profile VirtualClock::profile() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return profile_;
}

Outcome VirtualClock::set(const std::string& parameter, double value) {
    const std::lock_guard<std::mutex> lock(mutex_);
    timeline_.resolve();
    RKNNSIM_RETURN_IF_ERROR(set_parameter(parameter, value, &profile_));
    for (auto& cost : costs_)
        cost = nullptr;
    return {};
}

RunTime VirtualClock::predict(const MatmulShape& shape, int cores) {
    const std::lock_guard<std::mutex> lock(mutex_);
    RunTime run;
    run.cost = cost_of(shape);
    run.share[cores - 1] = 1;
    run.request_ns = run.start_ns = whole(profile_.submit_us * 1e3);
    run.stop_ns = run.start_ns + static_cast<uint64_t>(std::ceil(run.cost->by_cores[cores - 1].total - 1e-6));
    run.end_ns = run.stop_ns + convert_c_ns(shape);
    return run;
}

RunTime VirtualClock::last_run() {
    const std::lock_guard<std::mutex> lock(mutex_);
    timeline_.resolve();
    return thread().last_run;
}

uint64_t VirtualClock::now() {
    const std::lock_guard<std::mutex> lock(mutex_);
    timeline_.resolve();
    return thread().now;
}

void VirtualClock::advance(uint64_t ns) {
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    timeline_.add_cpu(thread(), kOther, ns, {});
}

void VirtualClock::advance_to(uint64_t ns) {
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    Dependencies after;
    after.not_before(ns);
    timeline_.add_cpu(thread(), kSync, 0, after);
}

void VirtualClock::join() {
    const std::lock_guard<std::mutex> lock(mutex_);
    settle_moments();
    timeline_.resolve();
    Dependencies after;
    after.not_before(timeline_.latest());
    timeline_.add_cpu(thread(), kSync, 0, after);
}

TimeTotals VirtualClock::totals() {
    const std::lock_guard<std::mutex> lock(mutex_);
    timeline_.resolve();
    TimeTotals result = totals_;
    result.elapsed_ns = timeline_.latest();
    return result;
}

void VirtualClock::settled(const std::function<void()>& body) {
    const std::lock_guard<std::mutex> lock(mutex_);
    timeline_.resolve();
    body();
}

}  // namespace rknnsim
