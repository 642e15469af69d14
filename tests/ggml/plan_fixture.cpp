// SPDX-License-Identifier: MIT
#include "ggml/plan_fixture.hpp"

#include <algorithm>
#include <map>

#include "base/format.hpp"
#include "ggml/made_operations.hpp"
#include "gguf/tensor_types.hpp"

namespace rknpu2::test {
namespace {

constexpr size_t kMemory = size_t{64} << 20;

size_t type_size(ggml_type type) {
    switch (type) {
        case GGML_TYPE_I64:
            return 8;
        case GGML_TYPE_F16:
            return 2;
        default:
            return 4;
    }
}

size_t bytes_of(const ggml_tensor* tensor) {
    size_t bytes = type_size(tensor->type);
    for (int d = 0; d < GGML_MAX_DIMS; ++d)
        bytes += static_cast<size_t>(tensor->ne[d] - 1) * tensor->nb[d];
    return bytes;
}

bool is_contiguous(const ggml_tensor* tensor) {
    size_t stride = type_size(tensor->type);
    for (int d = 0; d < GGML_MAX_DIMS; ++d) {
        if (tensor->ne[d] != 1 && tensor->nb[d] != stride) return false;
        stride *= static_cast<size_t>(tensor->ne[d]);
    }
    return true;
}

const ggml_type_traits* traits_of(ggml_type type) {
    static std::map<ggml_type, ggml_type_traits> traits;
    ggml_type_traits& found = traits[type];
    const GgmlType* const known = find_ggml_type(type);
    found.type_name = known->name;
    found.blck_size = known->block;
    found.type_size = known->bytes;
    return &found;
}

std::string names(const std::vector<std::string>& list) {
    std::string text;
    for (const std::string& name : list)
        text += (text.empty() ? "" : " ") + name;
    return text;
}

}  // namespace

PlanFixture::PlanFixture() : memory_(new std::byte[kMemory]) {
    GgmlFunctions& ggml = host_.ggml;
    ggml.operations = made_operations();
    host_.abi = &kAbis[0];
    ggml.ggml_nbytes = bytes_of;
    ggml.ggml_nelements = [](const ggml_tensor* tensor) {
        return tensor->ne[0] * tensor->ne[1] * tensor->ne[2] * tensor->ne[3];
    };
    ggml.ggml_is_contiguous = is_contiguous;
    ggml.ggml_get_type_traits = traits_of;
    ggml.ggml_type_name = [](ggml_type) { return "f32"; };
    host_.counters = &counters_;
    host_.config.experts = Experts::kNpu;
    host_.config.matrices = Matrices::kNpu;
    weights_.buft = states_.buft = results_.buft = &host_.buffer_type;
    buffer_.base = memory_.get();
    weights_.context = &buffer_;
    weights_.usage = GGML_BACKEND_BUFFER_USAGE_WEIGHTS;
    states_.usage = GGML_BACKEND_BUFFER_USAGE_ANY;
    results_.usage = GGML_BACKEND_BUFFER_USAGE_COMPUTE;
}

PlanFixture::~PlanFixture() = default;

ggml_tensor* PlanFixture::make(const char* name, const Shape& shape, ggml_type type) {
    ggml_tensor& tensor = tensors_.emplace_back();
    tensor.op = host_.ggml.operations.number_of(Op::kNone);
    tensor.type = type;
    size_t stride = type_size(type);
    for (size_t d = 0; d < GGML_MAX_DIMS; ++d) {
        tensor.ne[d] = d < shape.size() ? shape[d] : 1;
        tensor.nb[d] = stride;
        stride *= static_cast<size_t>(tensor.ne[d]);
    }
    tensor.data = memory_.get() + used_;
    used_ += (stride + 63) / 64 * 64;
    EXPECT_LE(used_, kMemory);
    std::snprintf(tensor.name, sizeof tensor.name, "%s", name);
    return &tensor;
}

ggml_tensor* PlanFixture::leaf(const char* name, const Shape& shape, ggml_type type,
                               ggml_backend_buffer& buffer) {
    ggml_tensor* const tensor = make(name, shape, type);
    tensor->buffer = &buffer;
    return tensor;
}

ggml_tensor* PlanFixture::weight(const char* name, int64_t K, int64_t N) {
    return leaf(name, {K, N}, GGML_TYPE_F32, weights_);
}
ggml_tensor* PlanFixture::vector(const char* name, int64_t K) {
    return leaf(name, {K}, GGML_TYPE_F32, weights_);
}
ggml_tensor* PlanFixture::state(const char* name, const Shape& shape, ggml_type type) {
    return leaf(name, shape, type, states_);
}
ggml_tensor* PlanFixture::input(const char* name, const Shape& shape, ggml_type type) {
    return leaf(name, shape, type, results_);
}

ggml_tensor* PlanFixture::node(Op op, const char* name, const Shape& shape,
                               std::initializer_list<ggml_tensor*> sources) {
    ggml_tensor* const tensor = leaf(name, shape, GGML_TYPE_F32, results_);
    tensor->op = host_.ggml.operations.number_of(op);
    std::copy(sources.begin(), sources.end(), tensor->src);
    nodes_.push_back(tensor);
    return tensor;
}

ggml_tensor* PlanFixture::matmul(const char* name, ggml_tensor* weight, ggml_tensor* activations) {
    return node(Op::kMatMul, name, {weight->ne[1], activations->ne[1]}, {weight, activations});
}

ggml_tensor* PlanFixture::like(Op op, const char* name, std::initializer_list<ggml_tensor*> sources) {
    const ggml_tensor* const first = *sources.begin();
    return node(op, name, Shape(first->ne, first->ne + GGML_MAX_DIMS), sources);
}

ggml_tensor* PlanFixture::view(Op op, const char* name, ggml_tensor* of, const Shape& shape,
                               const std::vector<size_t>& strides, size_t offset) {
    ggml_tensor* const tensor = node(op, name, shape, {of});
    tensor->type = of->type;
    tensor->view_src = of->view_src != nullptr ? of->view_src : of;
    tensor->view_offs = of->view_offs + offset;
    tensor->data = static_cast<std::byte*>(of->data) + offset;
    tensor->buffer = of->buffer;
    for (size_t d = 0; d < GGML_MAX_DIMS; ++d) {
        const size_t after =
            d == 0 ? type_size(of->type) : tensor->nb[d - 1] * static_cast<size_t>(tensor->ne[d - 1]);
        tensor->nb[d] = d < strides.size() ? strides[d] : after;
    }
    return tensor;
}

ggml_tensor* PlanFixture::set_rows(const char* name, ggml_tensor* into, ggml_tensor* rows,
                                   ggml_tensor* places) {
    ggml_tensor* const written =
        view(Op::kSetRows, name, into, {into->ne[0], into->ne[1]}, {into->nb[0], into->nb[1]});
    written->src[0] = rows;
    written->src[1] = places;
    written->src[2] = into;
    return written;
}

// As ggml counts: how often a tensor is a source of a node.
void PlanFixture::count_uses() {
    const size_t size = 4 * tensors_.size() + 1;
    keys_.assign(size, nullptr);
    slots_.assign(ggml_bitset_size(size), 0);
    uses_.assign(size, 0);
    graph_.visited_hash_set = {size, slots_.data(), keys_.data()};
    graph_.use_counts = uses_.data();
    const auto index_of = [&](ggml_tensor* tensor) {
        size_t index = ggml_hash(tensor) % size;
        while (keys_[index] != nullptr && keys_[index] != tensor)
            index = (index + 1) % size;
        keys_[index] = tensor;
        ggml_bitset_set(slots_.data(), index);
        return index;
    };
    for (ggml_tensor* const node : nodes_) {
        index_of(node);
        for (ggml_tensor* const source : node->src)
            if (source != nullptr) ++uses_[index_of(source)];
    }
}

void PlanFixture::pretend_weights_of(size_t bytes) {
    buffer_.tensor_bytes = bytes;
    host_.buffers.insert(&weights_);
    host_.forecast.add("weights of " + std::to_string(bytes), bytes, 2 * bytes);
}

const GraphPlan& PlanFixture::plan(bool knows_uses) {
    graph_ = {};
    graph_.nodes = nodes_.data();
    graph_.size = graph_.n_nodes = static_cast<int>(nodes_.size());
    if (knows_uses) count_uses();
    plan_graph(host_, &graph_, plan_);
    return plan_;
}

std::string PlanFixture::steps(bool knows_uses) {
    const GraphPlan& made = plan(knows_uses);
    std::vector<std::string> texts;
    for (const Step& step : made.steps) {
        std::vector<std::string> parts;
        if (step.kind == Step::Kind::kFlow) {
            texts.push_back(format("flow(%s..%s)", nodes_[static_cast<size_t>(step.first)]->name,
                                   nodes_[static_cast<size_t>(step.last) - 1]->name));
            continue;
        }
        const bool cpu = step.kind == Step::Kind::kCpu;
        for (int i = step.first; cpu && i < step.last; ++i)
            if (host_.ggml.computes(nodes_[static_cast<size_t>(i)]))
                parts.emplace_back(nodes_[static_cast<size_t>(i)]->name);
        for (const ggml_tensor* const member : step.members)
            parts.emplace_back(member->name);
        if (step.gate != nullptr) parts.push_back(std::string("gate=") + step.gate->name);
        if (step.same_activations) parts.emplace_back("again");
        const char* const kind = cpu ? "cpu" : step.kind == Step::Kind::kGroup ? "group" : "experts";
        texts.push_back(format("%s(%s)", kind, names(parts).c_str()));
    }
    return names(texts);
}

std::string PlanFixture::stops() {
    std::string text;
    for (const FlowStop& stop : plan().stops)
        text += format("%s%s: %s", text.empty() ? "" : "; ", nodes_[static_cast<size_t>(stop.node)]->name,
                       stop.text());
    return text;
}

std::vector<const FlowPlan*> PlanFixture::flows() {
    std::vector<const FlowPlan*> found;
    for (const Step& step : plan().steps)
        if (step.flow) found.push_back(&*step.flow);
    return found;
}

std::string PlanFixture::stages() {
    const std::vector<const FlowPlan*> made = flows();
    if (made.size() != 1) return format("%zu flows", made.size());
    std::vector<std::string> texts;
    size_t group = 0;
    for (const FlowStage& stage : made[0]->stages) {
        std::vector<std::string> parts;
        for (const RowMap& one : stage.nodes)
            parts.emplace_back(one.node->name);
        switch (stage.kind) {
            case FlowStage::Kind::kPass:
                texts.push_back(format("pass(%s)", names(parts).c_str()));
                break;
            case FlowStage::Kind::kAttention:
                texts.push_back(stage.after < 0
                                    ? format("attention(%s)", parts[0].c_str())
                                    : format("attention(%s after %d)", parts[0].c_str(), stage.after));
                break;
            case FlowStage::Kind::kGroup:
                for (const ggml_tensor* const matmul : made[0]->groups[group])
                    parts.emplace_back(matmul->name);
                ++group;
                texts.push_back(format("group(%s)", names(parts).c_str()));
                break;
        }
    }
    return names(texts);
}

std::string PlanFixture::home(const ggml_tensor* tensor) {
    const std::vector<const FlowPlan*> made = flows();
    if (made.size() != 1) return format("%zu flows", made.size());
    const FlowPlan& flow = *made[0];
    const auto found = flow.tensors.find(tensor);
    if (found == flow.tensors.end()) return "not of the flow";
    const bool copied =
        std::find(flow.copied_out.begin(), flow.copied_out.end(), tensor) != flow.copied_out.end();
    switch (found->second.home) {
        case FlowTensor::Home::kGraph:
            return "graph";
        case FlowTensor::Home::kChunk:
            return copied ? "chunk, copied out" : "chunk";
        case FlowTensor::Home::kBlock:
            return "block";
    }
    return "";
}

const NodeDecision& PlanFixture::decision(const ggml_tensor* tensor) {
    const GraphPlan& made = plan();
    const auto at = std::find(nodes_.begin(), nodes_.end(), tensor) - nodes_.begin();
    return made.decisions.at(static_cast<size_t>(at));
}

}  // namespace rknpu2::test
