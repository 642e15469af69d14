// SPDX-License-Identifier: MIT
#include "ggml/graph/placement.hpp"

#include <map>
#include <set>

#include "base/checked.hpp"
#include "base/log.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/cpu/inner_cpu.hpp"
#include "ggml/host/graph_status.hpp"
#include "ggml/node/describe.hpp"
#include "plan/cheapest_way.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

// Plain multiplications by the same activations; or another one, which stays where it is.
struct Unit {
    std::vector<size_t> products;  // by node; empty: it stays where it is
    WayPoint point;
};

bool chooses(const Host& host) {
    const Precision precision = host.config.precision;
    return host.config.matrices == Matrices::kAuto && precision != Precision::kExact &&
           precision != Precision::kNaive && precision != Precision::kReference &&
           host.calibration == nullptr && host.sensitivity == nullptr && host.checksums == nullptr;
}

class Placement {
  public:
    // rows: of activations, in place of the graph's own; 0: those.
    Placement(Host& host, const ggml_cgraph* graph, const std::vector<NodeDecision>& decisions, size_t rows)
        : host_(host), graph_(graph), rows_(rows) {
        std::map<const ggml_tensor*, size_t> by_activations;
        for (size_t i = 0; i < decisions.size(); ++i) {
            const NodeDecision& decision = decisions[i];
            if (is_plain(i, decision)) {
                const auto [at, fresh] = by_activations.try_emplace(node(i)->src[1], units_.size());
                if (fresh) units_.emplace_back();
                units_[at->second].products.push_back(i);
            } else if (decision.target != Target::kNone && is_matmul(host.ggml.op(node(i)))) {
                const bool npu = decision.target == Target::kNpu;
                const WayPoint fixed{
                    .may_npu = npu, .may_cpu = !npu, .by_team = is_for_team(host.ggml, node(i))};
                units_.push_back({{}, fixed});
            }
        }
    }

    std::vector<Unit>& units() { return units_; }
    Buffer& buffer_of(size_t product) const { return *our_buffer(host_, node(product)->src[0]->buffer); }

    // All products that no buffer's room or first time makes the NPU's.
    std::vector<size_t> for_cpu() {
        std::vector<WayPoint> points;
        for (Unit& unit : units_) {
            if (!unit.products.empty()) unit.point = point_of(unit);
            points.push_back(unit.point);
        }
        const std::vector<Target> targets = cheapest_way(points, host_.rates.wake_ns / 1e3);
        std::vector<size_t> products;
        for (size_t i = 0; i < units_.size(); ++i)
            if (targets[i] == Target::kCpu)
                products.insert(products.end(), units_[i].products.begin(), units_[i].products.end());
        return products;
    }

    bool is_first_time() const { return first_time_; }

  private:
    const ggml_tensor* node(size_t i) const { return graph_->nodes[i]; }

    bool is_plain(size_t i, const NodeDecision& decision) const {
        return decision.target == Target::kNpu && host_.ggml.op(node(i)) == Op::kMatMul;
    }

    WayPoint point_of(const Unit& unit) {
        MatrixCall call;
        WayPoint point{.by_team = false};
        for (const size_t product : unit.products) {
            const MatrixCall one = matrix_call(host_, node(product));
            call = {one.K,
                    call.N + one.N,
                    rows_ == 0 ? one.rows : rows_,
                    call.raw_bytes + one.raw_bytes,
                    call.float_activations || one.float_activations,
                    call.one_plane,
                    call.two_planes,
                    unit.products.size(),
                    std::max(call.widest, one.N)};
            if (const auto packed = known_weight(host_, node(product)); packed != nullptr)
                call.note(packed->plan.recipe.arithmetic, packed->planes, one.N);
            point.by_team |= is_for_team(host_.ggml, node(product));
            if (buffer_of(product).forms.load() != Buffer::Forms::kBoth) point.may_cpu = false;
            if (is_packed(host_, node(product))) continue;
            point.may_cpu = false;
            first_time_ = true;
        }
        const TargetChoice choice = host_.targets.of(call, host_.config, host_.rates);
        point.npu_us = choice.npu_us;
        point.cpu_us = choice.cpu_us;
        point.may_cpu &= choice.reason == TargetReason::kMatrixFasterOnNpu ||
                         choice.reason == TargetReason::kMatrixFasterOnCpu;
        return point;
    }

    Host& host_;
    const ggml_cgraph* const graph_;
    const size_t rows_;
    std::vector<Unit> units_;
    bool first_time_ = false;
};

// What both forms of all plain weights take that wait to be packed. A graph may have a few of them only: a model's first one
// ends where the host computes an operation itself.
size_t waiting_bytes(Host& host) {
    return static_cast<size_t>(static_cast<double>(waiting_raw_bytes(host)) * (1 + host.forecast.ratio()));
}

// For buffers that nobody has asked about: is there room for their matrices as they are stored, and packed?
void decide_forms(Host& host, const ggml_cgraph* graph, Placement& placement) {
    const std::lock_guard lock(host.placing_mutex);
    std::set<Buffer*> undecided;
    std::set<const ggml_tensor*> counted;
    size_t bytes = 0;
    for (const Unit& unit : placement.units()) {
        for (const size_t product : unit.products) {
            Buffer& buffer = placement.buffer_of(product);
            if (buffer.forms.load() != Buffer::Forms::kUnknown) continue;
            if (!counted.insert(graph->nodes[product]->src[0]).second) continue;
            const MatrixCall call = matrix_call(host, graph->nodes[product]);
            const Recipe recipe = recipe_of(host.config.precision, call.float_activations);
            undecided.insert(&buffer);
            const auto packed =
                static_cast<double>(plan_weight(call.N, call.K, recipe, host.config.cores).packed_bytes());
            const bool four_bits = recipe.arithmetic == NpuArithmetic::kInt4;  // some will keep eight
            bytes += call.raw_bytes +
                     static_cast<size_t>(packed *
                                         (four_bits ? host.config.compact_bytes / kLeastCompactBytes : 1));
        }
    }
    if (undecided.empty()) return;
    const size_t all = saturating_add(std::max(bytes, waiting_bytes(host)), promised_bytes(host));
    const Status room = check_memory(all, system_memory());
    for (Buffer* const buffer : undecided)
        buffer->forms = room.ok() ? Buffer::Forms::kBoth : Buffer::Forms::kPacked;
    if (!room.ok())
        log(LogLevel::kWarning,
            "plain matrices are the NPU's for any number of rows, as with GGML_RKNPU2_MATRICES=npu: to keep "
            "them for the CPU, too, %s",
            room.message().c_str());
}

}  // namespace

bool place_matrices(Host& host, const ggml_cgraph* graph, std::vector<NodeDecision>& decisions) {
    if (!chooses(host)) return false;
    Placement placement(host, graph, decisions, 0);
    decide_forms(host, graph, placement);
    for (const size_t product : placement.for_cpu())
        decisions[product].target = Target::kCpu;
    return placement.is_first_time();
}

Status prepare_for_tokens(Host& host, const ggml_cgraph* graph, const std::vector<NodeDecision>& decisions,
                          ggml_abort_callback abort, void* abort_data) {
    for (const size_t product : Placement(host, graph, decisions, 1).for_cpu()) {
        if (abort(abort_data)) return asked_to_stop();
        cpu_copy(host, graph->nodes[product]);
    }
    return {};
}

}  // namespace rknpu2
