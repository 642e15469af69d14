// SPDX-License-Identifier: MIT
#include "predict/timeline.hpp"

#include <algorithm>
#include <limits>
#include <queue>

namespace rknpu2 {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Time of the parts when their traffic is slowed down by `slow`.
double duration(const Operation& operation, double slow) {
    double sum = 0;
    for (const Part& part : operation.parts)
        sum += part.count * std::max(part.compute_ns, part.bytes / part.gbps * slow);
    return sum;
}

struct Running {
    size_t index = 0;
    bool busy = false;
    double fixed_ns = 0;  // what is left of it
    double body = 1;      // share of the parts that is left
    double rate = 0;      // of the fixed time or of the parts, a nanosecond

    bool in_body() const { return busy && fixed_ns <= 0; }
    double ends_in() const { return !busy || rate <= 0 ? kNever : (fixed_ns > 0 ? fixed_ns : body) / rate; }
};

class Scheduler {
  public:
    Scheduler(const std::vector<Operation>& operations, const Machine& machine)
        : operations_(operations), machine_(machine), waits_(operations.size()), next_(operations.size()) {
        schedule_.spans.resize(operations.size());
        for (size_t i = 0; i < operations.size(); ++i) {
            waits_[i] = operations[i].after.size();
            for (const size_t earlier : operations[i].after)
                next_[earlier].push_back(i);
            if (waits_[i] == 0) ready(i);
        }
    }

    Schedule run() {
        for (size_t done = 0; done < operations_.size();) {
            for (size_t server = 0; server < kServers; ++server)
                start(server);
            set_rates();
            const double step = std::min(running_[0].ends_in(), running_[1].ends_in());
            pass(step);
            for (size_t server = 0; server < kServers; ++server)
                done += finish(server, step) ? 1 : 0;
        }
        schedule_.elapsed_ns = now_;
        return std::move(schedule_);
    }

  private:
    using Candidate = std::pair<int64_t, size_t>;  // order, index

    void ready(size_t index) {
        queues_[static_cast<size_t>(operations_[index].server)].push({operations_[index].order, index});
    }

    void start(size_t server) {
        if (running_[server].busy || queues_[server].empty()) return;
        const size_t index = queues_[server].top().second;
        queues_[server].pop();
        running_[server] = {.index = index, .busy = true, .fixed_ns = operations_[index].fixed_ns};
        Span& span = schedule_.spans[index];
        span.start_ns = span.body_ns = now_;
        // The server's last operation, if it ended just now, or the last of those that this one waited for.
        if (last_[server] >= 0 && schedule_.spans[static_cast<size_t>(last_[server])].end_ns == now_) {
            span.cause = last_[server];
        }
        for (const size_t earlier : operations_[index].after) {
            if (schedule_.spans[earlier].end_ns == now_) span.cause = static_cast<int64_t>(earlier);
        }
    }

    double cpu_share() const {
        const Running& npu = running_[0];
        if (!npu.busy || npu.fixed_ns <= 0) return 1;
        const double submitting = std::min<double>(operations_[npu.index].cores, machine_.cpu_threads - 1);
        return 1 - submitting / machine_.cpu_threads;
    }

    double bytes(const Running& running) const { return operations_[running.index].bytes(); }

    // Bytes a nanosecond that the running operations move.
    double demand(double slow) const {
        double sum = 0;
        for (size_t server = 0; server < kServers; ++server)
            if (running_[server].in_body()) sum += bytes(running_[server]) * body_rate(server, slow);
        return sum;
    }

    double body_rate(size_t server, double slow) const {
        if (server == 1 && running_[0].in_body()) slow = std::max(slow, 1 / machine_.beside_npu);
        const double ns = duration(operations_[running_[server].index], slow);
        return (server == 1 ? cpu_share() : 1) / std::max(ns, 1e-3);
    }

    void set_rates() {
        double slow = 1;
        if (demand(1) > machine_.dram_gbps) {
            double low = 1, high = 2;
            while (demand(high) > machine_.dram_gbps)
                high *= 2;
            for (int i = 0; i < 40; ++i) {
                slow = (low + high) / 2;
                (demand(slow) > machine_.dram_gbps ? low : high) = slow;
            }
        }
        for (size_t server = 0; server < kServers; ++server) {
            Running& running = running_[server];
            if (!running.busy) continue;
            running.rate = running.in_body() ? body_rate(server, slow) : (server == 1 ? cpu_share() : 1);
        }
    }

    void pass(double step) {
        double moved = 0;
        for (const Running& running : running_)
            if (running.in_body()) moved += bytes(running) * running.rate * step;
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
        for (const size_t later : next_[running.index])
            if (--waits_[later] == 0) ready(later);
        return true;
    }

    const std::vector<Operation>& operations_;
    const Machine machine_;
    std::vector<size_t> waits_;
    std::vector<std::vector<size_t>> next_;
    std::array<std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>, kServers> queues_;
    std::array<Running, kServers> running_;
    std::array<int64_t, kServers> last_ = {-1, -1};
    double now_ = 0;
    Schedule schedule_;
};

double overlap(double start, double end, double from, double to) {
    return std::max(0.0, std::min(end, to) - std::max(start, from));
}

}  // namespace

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

Utilisation utilisation(const std::vector<Operation>& operations, const Schedule& schedule,
                        const Machine& machine, double from_ns, double to_ns) {
    Utilisation sum;
    const double window = to_ns - from_ns;
    for (size_t i = 0; i < operations.size(); ++i) {
        const Span& span = schedule.spans[i];
        const double held = overlap(span.start_ns, span.end_ns, from_ns, to_ns) / window;
        if (operations[i].server == Server::kCpu) {
            sum.cpu += held;
            continue;
        }
        const double body = overlap(span.body_ns, span.end_ns, from_ns, to_ns) / window;
        sum.npu += held;
        sum.npu_launch += held - body;
        for (int core = 0; core < operations[i].cores; ++core)
            sum.npu_core[static_cast<size_t>(core)] += body;
    }
    for (const Bandwidth& piece : schedule.bandwidth) {
        const double share = overlap(piece.start_ns, piece.end_ns, from_ns, to_ns) /
                             std::max(piece.end_ns - piece.start_ns, 1e-9);
        sum.dram += share * piece.bytes / (machine.dram_gbps * window);
    }
    return sum;
}

}  // namespace rknpu2
