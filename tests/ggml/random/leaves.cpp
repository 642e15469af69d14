// SPDX-License-Identifier: MIT
#include "ggml/random/leaves.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>

#include "sim/random/rng.hpp"

namespace rknpu2::test {
namespace {

using Rng = rknnsim_random::Rng;

const std::map<std::string, LeafKind>& kinds() {
    static const std::map<std::string, LeafKind> table = {
        {"weight", LeafKind::kWeight},   {"vector", LeafKind::kWeight},  {"state", LeafKind::kState},
        {"input", LeafKind::kInput},     {"positive", LeafKind::kInput}, {"rows", LeafKind::kInput},
        {"positions", LeafKind::kInput}, {"choice", LeafKind::kInput},   {"indices", LeafKind::kInput},
        {"mask", LeafKind::kInput},      {"inverse", LeafKind::kInput},  {"step_sizes", LeafKind::kInput},
    };
    return table;
}

ggml_type leaf_type(const HostFunctions& ggml, const Step& step) {
    if (!step.type.empty()) return type_of(ggml, step.type);
    if (step.op == "mask") return GGML_TYPE_F16;
    if (step.op == "rows") return GGML_TYPE_I64;
    if (step.op == "positions" || step.op == "choice" || step.op == "indices") return GGML_TYPE_I32;
    return GGML_TYPE_F32;
}

}  // namespace

bool is_leaf(const Step& step) {
    return kinds().count(step.op) != 0;
}

LeafKind leaf_kind(const Step& step) {
    return kinds().at(step.op);
}

bool writes_operand(const Step& step) {
    return step.op == "set_rows" || step.op == "cpy" || step.op == "custom_turn" ||
           step.op.rfind("opt_step", 0) == 0 || step.op.find("inplace") != std::string::npos;
}

size_t written_operand(const Step& step) {
    return step.op == "cpy" ? step.sources.back() : step.sources[0];
}

ggml_tensor* make_leaf(const HostFunctions& ggml, ggml_context* context, const Step& step) {
    int64_t ne[4] = {whole(step, 0, 1), 1, 1, 1};
    if (step.op == "mask") {
        ne[1] = whole(step, 1, 1);
        ne[2] = whole(step, 4, 1);
        ne[3] = whole(step, 5, 1);
    } else if (step.op == "choice" || step.op == "inverse") {
        ne[1] = whole(step, 1, 1);
    } else if (step.op == "positions") {
        ne[0] *= whole(step, 1, 1);
    } else if (step.op == "weight" || step.op == "state" || step.op == "input" || step.op == "positive") {
        for (size_t d = 1; d < (step.op == "weight" ? 3U : 4U); ++d)
            ne[d] = whole(step, d, 1);
    }
    const ggml_type type = leaf_type(ggml, step);
    const bool whole_blocks = type != GGML_TYPE_COUNT && ne[0] % ggml.ggml_blck_size(type) == 0;
    if (!whole_blocks || *std::min_element(ne, ne + 4) < 1) throw BuildError("no tensor: " + text_of(step));
    return ggml.ggml_new_tensor_4d(context, type, ne[0], ne[1], ne[2], ne[3]);
}

std::vector<int64_t> places_of(const Step& step, int round) {
    const int64_t count = whole(step, 0, 1);
    const int64_t cells = whole(step, 1, 1);
    std::vector<int64_t> all(static_cast<size_t>(std::max(cells, count)));
    std::iota(all.begin(), all.end(), 0);
    Rng random(step.data + static_cast<uint64_t>(round) * 1000003);
    const int64_t order = whole(step, 2);
    const int64_t room = cells - count;
    const int64_t first = room > 0 ? random.range(0, room) : 0;
    if (order == 2) {
        for (size_t i = all.size(); i > 1; --i)
            std::swap(all[i - 1], all[static_cast<size_t>(random.range(0, static_cast<int64_t>(i) - 1))]);
        all.resize(static_cast<size_t>(count));
        return all;
    }
    std::vector<int64_t> places(all.begin() + first, all.begin() + first + count);
    if (order == 1) std::reverse(places.begin(), places.end());
    return places;
}

}  // namespace rknpu2::test
