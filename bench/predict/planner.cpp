#include "predict/planner.hpp"

#include "plan/cost_model.hpp"
#include "predict/graph.hpp"

namespace rknpu2 {
namespace {

constexpr int64_t kChunks[] = {256, 128, 96, 64};
constexpr int64_t kSkews[] = {0, 1, 2, 3, 4, 6, 8, 16};
constexpr int64_t kLayers = 6;
constexpr int64_t kMostSegments = 8;
constexpr int64_t kShortestSegment = 256;
constexpr int kSweeps = 3;

// Nanoseconds a layer of the request, from a few layers that overlap each other.
class Cost {
  public:
    Cost(const Setting& setting, const Goal& goal) : setting_(setting), goal_(goal) {}

    double of(const Plan& plan) {
        setting_.plan = plan;
        return time(0, goal_.prompt) + static_cast<double>(goal_.generated) * time(goal_.context, 1);
    }

  private:
    double time(int64_t first_row, int64_t rows) const {
        if (rows == 0) return 0;
        const Graph graph =
            build_graph(setting_, {.first_row = first_row, .rows = rows, .layers = kLayers, .head = false});
        const Machine machine{setting_.board.dram_gbps, setting_.board.cpu_threads,
                              setting_.board.cpu_beside_npu};
        return make_schedule(graph.operations, machine).elapsed_ns / kLayers;
    }

    Setting setting_;
    const Goal goal_;
};

std::vector<Grid> candidates(const Setting& setting, Group group) {
    int64_t N = 0, K = 0;
    for (const WeightShape& weight : weights_of(setting.model, group)) {
        N += weight.N;
        K = weight.K;
    }
    const Grid least = smallest_grid(N, K, setting.board);
    const auto columns = static_cast<int64_t>(setting.board.npu_columns);
    const int64_t fewest_tiles = (N + columns - 1) / columns;
    std::vector<Grid> grids;
    for (int64_t segments = least.segments; segments <= kMostSegments; ++segments) {
        if (segments > least.segments && K / segments < kShortestSegment) break;
        // The fewest tiles, and the fewest with which the rounds are full.
        int64_t tiles = fewest_tiles;
        grids.push_back({segments, tiles});
        while (segments * tiles % rknnsim::kCores != 0)
            ++tiles;
        if (tiles != fewest_tiles) grids.push_back({segments, tiles});
    }
    return grids;
}

// What the plug-in makes of weights that it multiplies together.
Grid own_grid(const Setting& setting, Group group) {
    size_t N = 0, K = 0;
    for (const WeightShape& weight : weights_of(setting.model, group)) {
        N += static_cast<size_t>(weight.N);
        K = static_cast<size_t>(weight.K);
    }
    const size_t segments = best_segments(kBoardRates, NpuArithmetic::kInt8, K);
    return {static_cast<int64_t>(segments), static_cast<int64_t>(tile_count(N, segments, rknnsim::kCores))};
}

// Tries every candidate for one part of the plan; did one help?
template <typename Candidates, typename Change>
bool improve(const Candidates& candidates, const Change& change, Cost* cost, Plan* plan, double* best) {
    bool improved = false;
    for (const auto& candidate : candidates) {
        Plan changed = *plan;
        change(&changed, candidate);
        const double ns = cost->of(changed);
        if (ns < *best) {
            *best = ns;
            *plan = changed;
            improved = true;
        }
    }
    return improved;
}

}  // namespace

Plan choose_plan(const Setting& setting, const Goal& goal) {
    Plan best_plan;
    if (!setting.design.overlapped) return best_plan;
    if (setting.design.flows) {
        best_plan.chunk = kFlowChunkRows;
        best_plan.skew = kFlowSkew;
        for (const Group group : kLayerGroups)
            best_plan.grids[group] = own_grid(setting, group);
        return best_plan;
    }
    Cost cost(setting, goal);
    std::map<Group, std::vector<Grid>> grids;
    for (const Group group : kLayerGroups)
        if (setting.design.planned_segments) grids[group] = candidates(setting, group);
    double best = 0;
    for (const int64_t chunk : kChunks) {
        Plan plan = best_plan;  // a good start
        plan.chunk = chunk;
        double ns = cost.of(plan);
        bool improved = true;
        for (int sweep = 0; improved && sweep < kSweeps; ++sweep) {
            improved = false;
            for (const auto& of_group : grids) {
                const auto change = [&](Plan* to, const Grid& grid) { to->grids[of_group.first] = grid; };
                improved = improve(of_group.second, change, &cost, &plan, &ns) || improved;
            }
            if (!setting.design.staggered) continue;
            const auto change = [](Plan* to, int64_t skew) { to->skew = skew; };
            improved = improve(kSkews, change, &cost, &plan, &ns) || improved;
        }
        if (best == 0 || ns < best) {
            best = ns;
            best_plan = plan;
        }
    }
    return best_plan;
}

}  // namespace rknpu2
