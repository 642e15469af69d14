// SPDX-License-Identifier: MIT
#include "predict/trace_file.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/format.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kNpuProcess = 1, kCpuProcess = 2, kMemoryProcess = 3;

Json label(const char* kind, int process, int lane, const std::string& name) {
    return {{"ph", "M"}, {"name", kind}, {"pid", process}, {"tid", lane}, {"args", {{"name", name}}}};
}

class Trace {
  public:
    explicit Trace(const Prediction& prediction) : p_(prediction) {
        const Graph& graph = p_.prefill.graph;
        const int64_t middle = p_.setting.model.layers / 2;
        from_ = p_.prefill.schedule.elapsed_ns;
        for (size_t i = 0; i < graph.operations.size(); ++i) {
            if (graph.layer[i] != middle) continue;
            from_ = std::min(from_, p_.prefill.schedule.spans[i].start_ns);
            to_ = std::max(to_, p_.prefill.schedule.spans[i].end_ns);
        }
    }

    std::string text() {
        add_names();
        const std::vector<Operation>& operations = p_.prefill.graph.operations;
        for (size_t i = 0; i < operations.size(); ++i)
            add_operation(i, operations[i]);
        for (const Bandwidth& piece : p_.prefill.schedule.bandwidth) {
            if (piece.end_ns <= from_ || piece.start_ns >= to_ || piece.end_ns <= piece.start_ns) continue;
            events_.push_back({{"ph", "C"},
                               {"name", "GB/s"},
                               {"pid", kMemoryProcess},
                               {"ts", (piece.start_ns - from_) * 1e-3},
                               {"args", {{"GB/s", piece.bytes / (piece.end_ns - piece.start_ns)}}}});
        }
        return Json{{"displayTimeUnit", "ms"}, {"traceEvents", events_}}.dump() + "\n";
    }

  private:
    void add_names() {
        const std::string of =
            p_.setting.model.name + ", design " + name_of(p_.setting.design) + ", modelled";
        events_.push_back(label("process_name", kNpuProcess, 0, "NPU: " + of));
        events_.push_back(label("process_name", kCpuProcess, 0, "CPU, four A76"));
        events_.push_back(label("process_name", kMemoryProcess, 0, "memory"));
        for (int core = 0; core < 3; ++core)
            events_.push_back(label("thread_name", kNpuProcess, core, format("core %d", core)));
        events_.push_back(label("thread_name", kCpuProcess, 0, "team"));
    }

    void add_slice(const std::string& name, int process, int lane, double start, double end, size_t index) {
        if (end <= from_ || start >= to_ || end <= start) return;
        events_.push_back({{"ph", "X"},
                           {"name", name},
                           {"cat", p_.prefill.graph.operations[index].phase},
                           {"pid", process},
                           {"tid", lane},
                           {"ts", (start - from_) * 1e-3},
                           {"dur", (end - start) * 1e-3},
                           {"args",
                            {{"layer", p_.prefill.graph.layer[index]},
                             {"chunk", p_.prefill.graph.chunk[index]},
                             {"MB", p_.prefill.graph.operations[index].bytes() * 1e-6}}}});
    }

    void add_operation(size_t index, const Operation& operation) {
        const Span& span = p_.prefill.schedule.spans[index];
        if (operation.server == Server::kCpu) {
            add_slice(operation.what, kCpuProcess, 0, span.start_ns, span.end_ns, index);
            return;
        }
        for (int core = 0; core < operation.cores; ++core) {
            add_slice("run call", kNpuProcess, core, span.start_ns, span.body_ns, index);
            add_slice(operation.what, kNpuProcess, core, span.body_ns, span.end_ns, index);
        }
    }

    const Prediction& p_;
    double from_ = 0, to_ = 0;
    Json events_ = Json::array();
};

}  // namespace

std::string layer_trace_json(const Prediction& prediction) {
    return Trace(prediction).text();
}

}  // namespace rknpu2
