// SPDX-License-Identifier: MIT
#include "predict/timeline.hpp"

#include <algorithm>
#include <limits>
#include <queue>

namespace rknpu2 {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Running {
    size_t index = 0;
    bool busy = false;
    double fixed_ns = 0;  // what is left of it
    double body = 1;      // share of the parts that is left
    double rate = 0;      // of the fixed time or of the parts, a nanosecond

    bool in_body() const { return busy && fixed_ns <= 0; }
    double ends_in() const { return !busy || rate <= 0 ? kNever : (fixed_ns > 0 ? fixed_ns : body) / rate; }
};

// For the NPU.
struct Job {
    size_t begins = 0;          // operations that wait for none of the job's
    std::vector<size_t> ready;  // those of them that could begin
    size_t left = 0;            // operations that have not ended
    int64_t submitted = -1;     // its number in the order of submission
};

class Scheduler {
  public:
    Scheduler(const std::vector<Operation>& operations, const Machine& machine)
        : operations_(operations),
          machine_(machine),
          slots_(machine.slots),
          waits_(operations.size()),
          next_(operations.size()) {
        schedule_.spans.resize(operations.size());
        for (const Operation& operation : operations) {
            if (operation.job < 0 || !operation.on_npu()) continue;
            jobs_.resize(std::max(jobs_.size(), static_cast<size_t>(operation.job) + 1));
            Job& job = jobs_[static_cast<size_t>(operation.job)];
            ++job.left;
            const auto of_job = [&](size_t earlier) {
                return operations[earlier].job == operation.job && operations[earlier].on_npu();
            };
            if (std::ranges::none_of(operation.after, of_job)) ++job.begins;
        }
        for (size_t i = 0; i < operations.size(); ++i) {
            bytes_.push_back(operations[i].bytes());
            waits_[i] = operations[i].after.size();
            for (const size_t earlier : operations[i].after)
                next_[earlier].push_back(i);
            if (waits_[i] == 0) ready(i);
        }
    }

    Schedule run() {
        for (size_t done = 0; done < operations_.size();) {
            submit();
            for (size_t server = 0; server < kServers; ++server)
                start(server);
            set_rates();
            double step = kNever;
            for (const Running& running : running_)
                step = std::min(step, running.ends_in());
            pass(step);
            for (size_t server = 0; server < kServers; ++server)
                done += finish(server, step) ? 1 : 0;
        }
        schedule_.elapsed_ns = now_;
        return std::move(schedule_);
    }

  private:
    using Candidate = std::pair<int64_t, size_t>;  // order, index
    using Queue = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

    Queue& queue_of(const Operation& operation) {
        switch (operation.section) {
            case Operation::Section::kNone:
                break;
            case Operation::Section::kBegins:
                return sections_;
            case Operation::Section::kGoesOn:
            case Operation::Section::kEnds:
                return within_;
        }
        return queues_[operation.server];
    }

    // What a server takes next. With one section at a time the CPU's team may decide to wait for the NPU.
    Queue& next_for(size_t server) {
        Queue& any = queues_[server];
        if (server != kCpuTeam) return any;
        const auto first = [](Queue& a, Queue& b) -> Queue& {
            return b.empty() || (!a.empty() && a.top() < b.top()) ? a : b;
        };
        if (machine_.sections > 1) {
            Queue& begun = first(any, within_);
            return open_ < machine_.sections ? first(begun, sections_) : begun;
        }
        if (open_ == 0) return first(any, sections_);
        const bool before = machine_.passes_meanwhile > 1 ||
                            (machine_.passes_meanwhile == 1 && !any.empty() && any.top().first < order_);
        if (before && !waits_for_npu_ && !any.empty()) return any;
        waits_for_npu_ = true;
        return within_;
    }

    void ready(size_t index) {
        const Operation& operation = operations_[index];
        if (operation.job < 0 || !operation.on_npu()) {
            queue_of(operation).push({operation.order, index});
            return;
        }
        Job& job = jobs_[static_cast<size_t>(operation.job)];
        if (job.submitted >= 0) {
            queues_[operation.server].push({job.submitted, index});
            return;
        }
        job.ready.push_back(index);
        if (job.ready.size() == job.begins)
            waiting_.push({operation.order, static_cast<size_t>(operation.job)});
    }

    // Jobs go to the NPU in the order in which they are submitted.
    void submit() {
        const bool lead_is_free = !running_[kCpuTeam].busy && !waits_for_npu_;
        while (lead_is_free && !waiting_.empty() && slots_ > 0 && in_lane_ < machine_.jobs_in_lane) {
            Job& job = jobs_[waiting_.top().second];
            waiting_.pop();
            --slots_;
            ++in_lane_;
            job.submitted = submitted_++;
            for (const size_t index : job.ready)
                queues_[operations_[index].server].push({job.submitted, index});
        }
    }

    void start(size_t server) {
        if (running_[server].busy) return;
        Queue& queue = next_for(server);
        if (queue.empty()) return;
        const size_t index = queue.top().second;
        queue.pop();
        running_[server] = {.index = index, .busy = true, .fixed_ns = operations_[index].fixed_ns};
        if (operations_[index].section == Operation::Section::kBegins) {
            ++open_;
            order_ = operations_[index].order;
        }
        Span& span = schedule_.spans[index];
        span.start_ns = span.body_ns = now_;
        // The server's last operation, if it ended just now, or the last of those that this one waited for.
        for (const int64_t last : {last_[kCpuTeam], last_[server]})
            if (last >= 0 && schedule_.spans[static_cast<size_t>(last)].end_ns == now_) span.cause = last;
        for (const size_t earlier : operations_[index].after) {
            if (schedule_.spans[earlier].end_ns == now_) span.cause = static_cast<int64_t>(earlier);
        }
        // Room in the lane.
        for (size_t core = 0; span.cause < 0 && now_ > 0 && core < kNpuCores; ++core)
            if (last_[core] >= 0 && schedule_.spans[static_cast<size_t>(last_[core])].end_ns == now_)
                span.cause = last_[core];
    }

    double cpu_share() const {
        double submitting = 0;
        for (size_t core = 0; core < kNpuCores; ++core)
            submitting += running_[core].busy && running_[core].fixed_ns > 0 ? 1 : 0;
        return 1 - std::min(submitting, machine_.cpu_threads - 1) / machine_.cpu_threads;
    }

    // Time of the parts when their traffic is slowed down by `slow`.
    double duration(size_t server, double slow) const {
        double sum = 0;
        for (const Part& part : operations_[running_[server].index].parts) {
            const double gbps = part.gbps.with[server == kCpuTeam ? 0 : cores_ - 1];
            sum += part.count * std::max(part.compute_ns, part.bytes / gbps * slow);
        }
        return sum;
    }

    // Bytes a nanosecond that the running operations move.
    double demand(double slow) const {
        double sum = 0;
        for (size_t server = 0; server < kServers; ++server)
            if (running_[server].in_body()) sum += bytes_[running_[server].index] * body_rate(server, slow);
        return sum;
    }

    double body_rate(size_t server, double slow) const {
        if (server == kCpuTeam && cores_ > 0) slow = std::max(slow, 1 / machine_.beside_npu);
        return (server == kCpuTeam ? cpu_share() : 1) / std::max(duration(server, slow), 1e-3);
    }

    void set_rates() {
        cores_ = 0;
        for (size_t core = 0; core < kNpuCores; ++core)
            cores_ += running_[core].in_body() ? 1 : 0;
        double slow = 1;
        if (demand(1) > machine_.dram_gbps) {
            double low = 1, high = 2;
            while (demand(high) > machine_.dram_gbps)
                high *= 2;
            while (high - low > 1e-9 * low) {
                slow = (low + high) / 2;
                (demand(slow) > machine_.dram_gbps ? low : high) = slow;
            }
        }
        for (size_t server = 0; server < kServers; ++server) {
            Running& running = running_[server];
            if (!running.busy) continue;
            running.rate =
                running.in_body() ? body_rate(server, slow) : (server == kCpuTeam ? cpu_share() : 1);
        }
    }

    void pass(double step) {
        double moved = 0;
        for (const Running& running : running_)
            if (running.in_body()) moved += bytes_[running.index] * running.rate * step;
        if (moved > 0) schedule_.bandwidth.push_back({now_, now_ + step, moved});
        now_ += step;
    }

    // Takes the step off what is left; did the operation end?
    bool finish(size_t server, double step) {
        Running& running = running_[server];
        if (!running.busy) return false;
        const bool reached = running.ends_in() <= step;
        if (running.fixed_ns > 0) {
            running.fixed_ns = reached ? 0 : running.fixed_ns - step * running.rate;
            schedule_.spans[running.index].body_ns = now_;
            if (running.fixed_ns > 0 || !operations_[running.index].parts.empty()) return false;
        } else if (!reached) {
            running.body -= step * running.rate;
            return false;
        }
        running.busy = false;
        last_[server] = static_cast<int64_t>(running.index);
        schedule_.spans[running.index].end_ns = now_;
        ended(operations_[running.index]);
        for (const size_t later : next_[running.index])
            if (--waits_[later] == 0) ready(later);
        return true;
    }

    void ended(const Operation& operation) {
        if (operation.job >= 0) {
            if (!operation.on_npu()) ++slots_;
            if (operation.on_npu() && --jobs_[static_cast<size_t>(operation.job)].left == 0) --in_lane_;
        }
        if (operation.on_npu()) return;
        waits_for_npu_ = false;
        if (operation.section == Operation::Section::kEnds) --open_;
    }

    const std::vector<Operation>& operations_;
    const Machine machine_;
    int64_t slots_;  // that are free
    int64_t in_lane_ = 0;
    int64_t submitted_ = 0;
    int64_t open_ = 0;   // sections
    int64_t order_ = 0;  // of the last one that began
    bool waits_for_npu_ = false;
    std::vector<Job> jobs_;
    std::vector<double> bytes_;
    std::vector<size_t> waits_;
    std::vector<std::vector<size_t>> next_;
    std::array<Queue, kServers> queues_;
    Queue sections_, within_;  // the CPU's operations that begin sections; those of open ones
    Queue waiting_;            // jobs that could be submitted
    std::array<Running, kServers> running_;
    size_t cores_ = 0;  // that are at their parts
    std::array<int64_t, kServers> last_ = {-1, -1, -1, -1};
    double now_ = 0;
    Schedule schedule_;
};

double overlap(double start, double end, double from, double to) {
    return std::max(0.0, std::min(end, to) - std::max(start, from));
}

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
    for (uint64_t Counts::*const count :
         {&Counts::runs, &Counts::attention_runs, &Counts::weight_bytes, &Counts::activation_bytes,
          &Counts::result_bytes, &Counts::scores, &Counts::packed_bytes, &Counts::attentions,
          &Counts::few_tokens, &Counts::flows, &Counts::flow_chunks})
        this->*count += other.*count;
    return *this;
}

double Operation::bytes() const {
    double sum = 0;
    for (const Part& part : parts)
        sum += part.count * part.bytes;
    return sum;
}

Schedule make_schedule(const std::vector<Operation>& operations, const Machine& machine) {
    return Scheduler(operations, machine).run();
}

std::vector<size_t> critical_path(const Schedule& schedule) {
    std::vector<size_t> path;
    if (schedule.spans.empty()) return path;
    const auto last = std::ranges::max_element(schedule.spans, {}, &Span::end_ns);
    for (int64_t i = last - schedule.spans.begin(); i >= 0; i = schedule.spans[static_cast<size_t>(i)].cause)
        path.push_back(static_cast<size_t>(i));
    std::reverse(path.begin(), path.end());
    return path;
}

void Utilisation::add(const Utilisation& other, double weight) {
    npu += weight * other.npu;
    npu_launch += weight * other.npu_launch;
    for (size_t core = 0; core < kNpuCores; ++core)
        npu_core[core] += weight * other.npu_core[core];
    cpu += weight * other.cpu;
    dram += weight * other.dram;
}

Busiest busiest(const Utilisation& u) {
    return std::ranges::max({Busiest{"NPU", u.npu}, Busiest{"CPU", u.cpu}, Busiest{"memory", u.dram}}, {},
                            &Busiest::share);
}

Utilisation utilisation(const std::vector<Operation>& operations, const Schedule& schedule,
                        const Machine& machine, double from_ns, double to_ns) {
    Utilisation sum;
    const double window = to_ns - from_ns;
    for (size_t i = 0; i < operations.size(); ++i) {
        const Span& span = schedule.spans[i];
        const double held = overlap(span.start_ns, span.end_ns, from_ns, to_ns) / window;
        if (!operations[i].on_npu()) {
            sum.cpu += held;
            continue;
        }
        const double body = overlap(span.body_ns, span.end_ns, from_ns, to_ns) / window;
        sum.npu += held / kNpuCores;
        sum.npu_launch += (held - body) / kNpuCores;
        sum.npu_core[operations[i].server] += body;
    }
    for (const Bandwidth& piece : schedule.bandwidth) {
        const double share = overlap(piece.start_ns, piece.end_ns, from_ns, to_ns) /
                             std::max(piece.end_ns - piece.start_ns, 1e-9);
        sum.dram += share * piece.bytes / (machine.dram_gbps * window);
    }
    return sum;
}

}  // namespace rknpu2
