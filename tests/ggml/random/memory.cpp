// SPDX-License-Identifier: MIT
#include "ggml/random/memory.hpp"

#include <algorithm>
#include <cstdlib>
#include <unordered_map>

#include "ggml-impl.h"
#include "ggml/random/leaves.hpp"
#include "sim/random/rng.hpp"

// What a graph is made of stands in ggml's own header, whose inline functions call this one. Nothing here
// calls them, which a build without optimisation does not notice.
extern "C" void ggml_abort(const char* /*file*/, int /*line*/, const char* /*format*/, ...) {
    std::abort();
}

namespace rknpu2::test {
namespace {

void spoil_results(const BuiltGraph& built, uint8_t byte) {
    const HostFunctions& ggml = built.host.ggml;
    for (ggml_tensor* const tensor : built.tensors) {
        if (tensor->op == GGML_OP_NONE || tensor->view_src != nullptr || tensor->buffer == nullptr) continue;
        ggml.ggml_backend_tensor_memset(tensor, byte, 0, ggml.ggml_nbytes(tensor));
    }
}

// The graph as it stands, whole or in pieces, with or without its table of uses.
class PlainMemory : public GraphMemory {
  public:
    PlainMemory(BuiltGraph& built, const Recipe& recipe, ggml_backend_t backend)
        : built_(built), ggml_(built.host.ggml), recipe_(recipe), backend_(backend) {
        if (recipe.use_counts) return;
        // As a host does that computes nodes of its own choice: they are in no table.
        without_uses_ = ggml_.ggml_new_graph(built.context.get());
        for (int i = 0; i < ggml_.ggml_graph_n_nodes(built.graph); ++i)
            ggml_.ggml_graph_add_node(without_uses_, ggml_.ggml_graph_node(built.graph, i));
    }

    void spoil(uint8_t byte) override { spoil_results(built_, byte); }

    ggml_status compute() override {
        ggml_cgraph* const graph = without_uses_ != nullptr ? without_uses_ : built_.graph;
        const int nodes = ggml_.ggml_graph_n_nodes(graph);
        const int pieces = std::clamp(recipe_.pieces, 1, nodes);
        if (pieces == 1) return ggml_.ggml_backend_graph_compute(backend_, graph);
        for (int i = 0; i < pieces; ++i) {
            // As ggml_graph_view() does.
            ggml_cgraph part = *graph;
            part.nodes += nodes * i / pieces;
            part.n_nodes = nodes * (i + 1) / pieces - nodes * i / pieces;
            part.n_leafs = 0;
            const ggml_status status = ggml_.ggml_backend_graph_compute(backend_, &part);
            if (status != GGML_STATUS_SUCCESS) return status;
        }
        return GGML_STATUS_SUCCESS;
    }

  protected:
    BuiltGraph& built_;
    const HostFunctions& ggml_;
    const Recipe& recipe_;
    ggml_backend_t backend_;
    ggml_cgraph* without_uses_ = nullptr;
};

class OwnMemory final : public PlainMemory {
  public:
    OwnMemory(BuiltGraph& built, const Recipe& recipe, ggml_backend_t backend, ggml_backend_dev_t device)
        : PlainMemory(built, recipe, backend),
          buffer_(ggml_.ggml_backend_alloc_ctx_tensors_from_buft(built.context.get(),
                                                                 ggml_.ggml_backend_dev_buffer_type(device)),
                  ggml_.ggml_backend_buffer_free) {
        if (buffer_ == nullptr) throw BuildError("no memory for results");
    }

  private:
    BufferPtr buffer_;
};

class AllocatorMemory final : public PlainMemory {
  public:
    AllocatorMemory(BuiltGraph& built, const Recipe& recipe, ggml_backend_t backend,
                    ggml_backend_dev_t device)
        : PlainMemory(built, recipe, backend),
          allocator_(ggml_.ggml_gallocr_new(ggml_.ggml_backend_dev_buffer_type(device)),
                     ggml_.ggml_gallocr_free) {
        if (!ggml_.ggml_gallocr_alloc_graph(allocator_.get(), built.graph))
            throw BuildError("no memory for results");
    }

  private:
    HostPtr<ggml_gallocr> allocator_;
};

// A planner of memory of a host's own: each result lies where nothing is alive from its node to its last
// reader, and outputs to the end. Where exactly is drawn.
class DenseMemory final : public PlainMemory {
  public:
    DenseMemory(BuiltGraph& built, const Recipe& recipe, ggml_backend_t backend, ggml_backend_dev_t device)
        : PlainMemory(built, recipe, backend), buffer_(nullptr, ggml_.ggml_backend_buffer_free) {
        find_lives();
        const size_t bytes = place();
        buffer_.reset(
            ggml_.ggml_backend_buft_alloc_buffer(ggml_.ggml_backend_dev_buffer_type(device), bytes));
        if (buffer_ == nullptr) throw BuildError("no memory for results");
        auto* const base = static_cast<char*>(ggml_.ggml_backend_buffer_get_base(buffer_.get()));
        for (ggml_tensor* const owner : order_)
            ggml_.ggml_backend_tensor_alloc(buffer_.get(), owner, base + lives_.at(owner).offset);
        for (int i = 0; i < ggml_.ggml_graph_n_nodes(built.graph); ++i) {
            ggml_tensor* const node = ggml_.ggml_graph_node(built.graph, i);
            if (node->view_src != nullptr && node->buffer == nullptr) ggml_.ggml_backend_view_init(node);
        }
    }

  private:
    struct Life {
        int first = 0, last = 0;  // nodes
        size_t offset = 0, bytes = 0;
    };
    static constexpr size_t kAlignment = 64;

    static ggml_tensor* owner_of(ggml_tensor* tensor) {
        return tensor->view_src != nullptr ? tensor->view_src : tensor;
    }

    void live_at(ggml_tensor* tensor, int first, int last) {
        ggml_tensor* const owner = owner_of(tensor);
        if (owner->buffer != nullptr) return;
        if (lives_.find(owner) == lives_.end()) {
            order_.push_back(owner);
            const size_t bytes = (ggml_.ggml_nbytes(owner) + kAlignment - 1) / kAlignment * kAlignment;
            lives_[owner] = {first, last, 0, bytes};
        }
        Life& life = lives_[owner];
        life.last = std::max(life.last, last);
    }

    // Inputs are filled before the first node.
    void find_lives() {
        const int nodes = ggml_.ggml_graph_n_nodes(built_.graph);
        for (int i = 0; i < nodes; ++i) {
            ggml_tensor* const node = ggml_.ggml_graph_node(built_.graph, i);
            // The CPU backend computes such a norm together with the product behind it, from what the norm
            // reads.
            const int last = node->op == GGML_OP_RMS_NORM ? i + 1 : i;
            for (ggml_tensor* const source : node->src)
                if (source != nullptr) live_at(source, 0, last);
            live_at(node, i, (node->flags & GGML_TENSOR_FLAG_OUTPUT) != 0 ? nodes : i);
        }
    }

    bool is_free(const Life& life, size_t offset) const {
        for (const ggml_tensor* const other : placed_) {
            const Life& at = lives_.at(other);
            const bool together = at.first <= life.last && life.first <= at.last;
            if (together && at.offset < offset + life.bytes && offset < at.offset + at.bytes) return false;
        }
        return true;
    }

    // The bytes of all. Behind, in front of or in the middle of what is there, where there is room.
    size_t place() {
        rknnsim_random::Rng random(order_.size());
        size_t end = kAlignment;
        for (const ggml_tensor* const tensor : order_) {
            Life& life = lives_.at(tensor);
            size_t offset = 0;
            for (int attempt = 0; attempt < 8; ++attempt) {
                offset =
                    kAlignment * static_cast<size_t>(random.range(0, static_cast<int64_t>(end / kAlignment)));
                if (random.one_in(2)) offset = 0;
                if (is_free(life, offset)) break;
                offset = end;
            }
            life.offset = offset;
            end = std::max(end, offset + life.bytes);
            placed_.push_back(tensor);
        }
        return end;
    }

    std::vector<ggml_tensor*> order_;
    std::vector<const ggml_tensor*> placed_;
    std::unordered_map<const ggml_tensor*, Life> lives_;
    BufferPtr buffer_;
};

// As llama.cpp does: the device, and the CPU for what it does not do.
class SchedulerMemory final : public GraphMemory {
  public:
    SchedulerMemory(BuiltGraph& built, const Recipe& recipe, ggml_backend_t backend)
        : built_(built),
          ggml_(built.host.ggml),
          recipe_(recipe),
          cpu_(ggml_.ggml_backend_dev_init(ggml_.ggml_backend_dev_by_name("CPU"), nullptr),
               ggml_.ggml_backend_free),
          scheduler_(nullptr, ggml_.ggml_backend_sched_free) {
        ggml_backend_t backends[] = {backend, cpu_.get()};
        scheduler_.reset(
            ggml_.ggml_backend_sched_new(backends, nullptr, 2, GGML_DEFAULT_GRAPH_SIZE, false, true));
        if (recipe.watched) ggml_.ggml_backend_sched_set_eval_callback(scheduler_.get(), look, this);
        if (!ggml_.ggml_backend_sched_alloc_graph(scheduler_.get(), built.graph))
            throw BuildError("no memory for results");
    }

    void spoil(uint8_t byte) override { spoil_results(built_, byte); }

    ggml_status compute() override {
        watched_.clear();
        return ggml_.ggml_backend_sched_graph_compute(scheduler_.get(), built_.graph);
    }

    // The order of a device's nodes may be its own.
    std::vector<Observation> take_watched() override {
        std::stable_sort(watched_.begin(), watched_.end(),
                         [](const Observation& a, const Observation& b) { return a.step < b.step; });
        return std::move(watched_);
    }

  private:
    // The scheduler's callback, as llama-imatrix and llama-eval-callback use it.
    static bool look(ggml_tensor* tensor, bool asks, void* self) {
        auto& memory = *static_cast<SchedulerMemory*>(self);
        const auto& tensors = memory.built_.tensors;
        const auto step =
            static_cast<uint64_t>(std::find(tensors.begin(), tensors.end(), tensor) - tensors.begin());
        if (asks) return step % 3 == 0 && step < tensors.size();
        memory.keep("seen", step, tensor);
        if (tensor->op == GGML_OP_MUL_MAT) memory.keep("seen operand", step, tensor->src[1]);
        return true;
    }

    void keep(const char* label, uint64_t step, ggml_tensor* tensor) {
        Observation seen{label, step, tensor->type == GGML_TYPE_F32, {}};
        seen.bytes.resize(ggml_.ggml_nbytes(tensor));
        ggml_.ggml_backend_tensor_get(tensor, seen.bytes.data(), 0, seen.bytes.size());
        watched_.push_back(std::move(seen));
    }

    BuiltGraph& built_;
    const HostFunctions& ggml_;
    const Recipe& recipe_;
    BackendPtr cpu_;
    HostPtr<ggml_backend_sched> scheduler_;
    std::vector<Observation> watched_;
};

}  // namespace

std::unique_ptr<GraphMemory> give_memory(BuiltGraph& built, const Recipe& recipe, Allocation allocation,
                                         ggml_backend_t backend, ggml_backend_dev_t device) {
    switch (allocation) {
        case Allocation::kScheduler:
            return std::make_unique<SchedulerMemory>(built, recipe, backend);
        case Allocation::kAllocator:
            return std::make_unique<AllocatorMemory>(built, recipe, backend, device);
        case Allocation::kDense:
            return std::make_unique<DenseMemory>(built, recipe, backend, device);
        case Allocation::kOwn:
            break;
    }
    return std::make_unique<OwnMemory>(built, recipe, backend, device);
}

}  // namespace rknpu2::test
