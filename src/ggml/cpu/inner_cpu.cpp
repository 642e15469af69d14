// SPDX-License-Identifier: MIT
#include "ggml/cpu/inner_cpu.hpp"

#include <sched.h>

#include <algorithm>
#include <cstring>

#include "base/log.hpp"
#include "device/cpu_team.hpp"
#include "ggml-cpu.h"
#include "ggml/buffer/buffer.hpp"
#include "ggml/node/node.hpp"
#include "system/threads.hpp"

namespace rknpu2 {
namespace {

// Elements that one thread passes through in about the time another needs to wake up (some tens of
// microseconds).
constexpr int64_t kElementsPerThread = 65536;

// A rough count of what a node touches; attention reads the whole cache for each query.
int64_t elements_of(const GgmlFunctions& ggml, const ggml_tensor* node) {
    int64_t elements = ggml.ggml_nelements(node);
    for (const ggml_tensor* const source : {node->src[0], node->src[1], node->src[2]}) {
        if (source != nullptr) elements = std::max(elements, ggml.ggml_nelements(source));
    }
    const bool product = is_matmul(node) || node->op == GGML_OP_FLASH_ATTN_EXT;
    // A product does work for every row of its second operand or query.
    return product
               ? elements * std::max<int64_t>(
                                1, node->src[product && node->op == GGML_OP_FLASH_ATTN_EXT ? 0 : 1]->ne[1])
               : elements;
}

// Gives the calling thread its CPUs back at the end of a scope: ggml applies the mask of a pool to whoever
// computes with it, and threads that the host starts later would inherit that.
class KeepAffinity {
  public:
    explicit KeepAffinity(bool needed) {
        CPU_ZERO(&before_);
        known_ = needed && sched_getaffinity(0, sizeof before_, &before_) == 0;
    }
    ~KeepAffinity() {
        cpu_set_t now;
        CPU_ZERO(&now);
        if (!known_ || (sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &before_))) return;
        static_cast<void>(sched_setaffinity(0, sizeof before_, &before_));
    }
    // Those of before; empty when they are not kept.
    std::vector<int> cpus() const {
        std::vector<int> numbers;
        for (int cpu = 0; known_ && cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(static_cast<size_t>(cpu), &before_)) numbers.push_back(cpu);
        return numbers;
    }
    KeepAffinity(const KeepAffinity&) = delete;
    KeepAffinity& operator=(const KeepAffinity&) = delete;

  private:
    cpu_set_t before_;
    bool known_;
};

void set_cpus(ggml_threadpool_params& params, const std::vector<int>& cpus) {
    for (const int cpu : cpus)
        if (cpu < GGML_MAX_N_THREADS) params.cpumask[cpu] = true;
}

}  // namespace

InnerCpu::~InnerCpu() {
    give_threads_back();
    if (backend_ != nullptr) host_.ggml.ggml_backend_free(backend_);
    free_pool();
}

void InnerCpu::free_pool() {
    if (pool_ == nullptr) return;
    using Free = decltype(&::ggml_threadpool_free);
    if (const auto free = reinterpret_cast<Free>(proc("ggml_threadpool_free"))) free(pool_);
    pool_ = nullptr;
}

bool InnerCpu::has_openmp() const {
    const auto features = reinterpret_cast<ggml_backend_get_features_t>(proc("ggml_backend_get_features"));
    if (features == nullptr) return false;
    const ggml_backend_feature* feature =
        features(host_.ggml.ggml_backend_dev_backend_reg(host_.cpu_device()));
    while (feature != nullptr && feature->name != nullptr && std::strcmp(feature->name, "OPENMP") != 0)
        ++feature;
    return feature != nullptr && feature->name != nullptr;
}

// A computation of one number, for which each of OpenMP's threads gets the mask of its pool.
void InnerCpu::give_threads_back() {
    if (!pins_ || pool_ == nullptr || host_cpus_.empty() || team_threads_ < 2 ||
        caller_ != std::this_thread::get_id() || !has_openmp())
        return;
    const auto new_pool = reinterpret_cast<decltype(&::ggml_threadpool_new)>(proc("ggml_threadpool_new"));
    const auto set_pool = reinterpret_cast<decltype(&::ggml_backend_cpu_set_threadpool)>(
        proc("ggml_backend_cpu_set_threadpool"));
    const auto set_threads =
        reinterpret_cast<ggml_backend_set_n_threads_t>(proc("ggml_backend_set_n_threads"));
    ggml_threadpool_params params = host_.ggml.ggml_threadpool_params_default(team_threads_);
    set_cpus(params, host_cpus_);
    const ggml_threadpool_t pool = new_pool(&params);
    if (pool == nullptr || set_threads == nullptr) return;
    set_pool(backend_, pool);
    free_pool();
    pool_ = pool;
    set_threads(backend_, team_threads_);  // as many as there are: none is started for this
    float number = 0;
    ggml_tensor one{};
    one.type = GGML_TYPE_F32;
    std::fill_n(one.ne, GGML_MAX_DIMS, 1);
    std::fill_n(one.nb, GGML_MAX_DIMS, sizeof number);
    one.data = &number;
    ggml_tensor sum = one;
    sum.op = GGML_OP_ADD;
    sum.src[0] = sum.src[1] = &one;
    ggml_tensor* nodes[] = {&sum};
    ggml_cgraph graph{};
    graph.size = graph.n_nodes = 1;
    graph.nodes = nodes;
    const KeepAffinity keep(true);
    static_cast<void>(host_.ggml.ggml_backend_graph_compute(backend_, &graph));
}

void* InnerCpu::proc(const char* name) const {
    const ggml_backend_dev_t device = host_.cpu_device();
    if (device == nullptr) return nullptr;
    return host_.ggml.ggml_backend_reg_get_proc_address(host_.ggml.ggml_backend_dev_backend_reg(device),
                                                        name);
}

void InnerCpu::set_threads(int threads) {
    threads_ = std::max(1, threads);
}

void InnerCpu::set_abort_callback(ggml_abort_callback callback, void* data) {
    abort_ = callback;
    abort_data_ = data;
    if (backend_ == nullptr) return;
    using Set = ggml_backend_set_abort_callback_t;
    if (const auto set = reinterpret_cast<Set>(proc("ggml_backend_set_abort_callback")))
        set(backend_, callback, data);
}

Status InnerCpu::create() {
    if (backend_ == nullptr) {
        const ggml_backend_dev_t device = host_.cpu_device();
        if (device == nullptr) {
            return {StatusCode::kUnsupported,
                    "the host has no CPU backend for the operations between matmuls"};
        }
        backend_ = host_.ggml.ggml_backend_dev_init(device, nullptr);
        if (backend_ == nullptr) return {StatusCode::kOutOfMemory, "cannot make a CPU backend"};
        if (threads_ == 0) threads_ = cpu_threads(host_.config);
        set_abort_callback(abort_, abort_data_);
    }
    return pool_threads_ == threads_ ? ok_status() : create_pool();
}

// Without a pool, a CPU backend built without OpenMP makes and joins its threads for every run of nodes.
Status InnerCpu::create_pool() {
    using New = decltype(&::ggml_threadpool_new);
    using Set = decltype(&::ggml_backend_cpu_set_threadpool);
    const auto new_pool = reinterpret_cast<New>(proc("ggml_threadpool_new"));
    const auto set_pool = reinterpret_cast<Set>(proc("ggml_backend_cpu_set_threadpool"));
    if (pool_ != nullptr) set_pool(backend_, nullptr);
    free_pool();  // its threads count towards the limit
    pool_threads_ = threads_;
    granted_threads_ = 1 + static_cast<int>(startable_threads(static_cast<size_t>(threads_) - 1));
    if (new_pool == nullptr || set_pool == nullptr || proc("ggml_threadpool_free") == nullptr)
        return {};  // the backend does without
    ggml_threadpool_params params = host_.ggml.ggml_threadpool_params_default(granted_threads_);
    params.poll = 0;  // threads that wait must not take cores from those that feed the NPU
    const std::vector<int> cpus = cpu_affinity(host_.config);
    set_cpus(params, cpus);
    pins_ = !cpus.empty();
    const KeepAffinity keep(pins_);
    host_cpus_ = keep.cpus();
    const ggml_threadpool_t pool = new_pool(&params);
    if (pool == nullptr) return {StatusCode::kOutOfMemory, "cannot make the CPU threads"};
    set_pool(backend_, pool);
    pool_ = pool;
    return {};
}

int InnerCpu::threads_for(const ggml_cgraph* graph, int first, int last) const {
    int64_t elements = 0;
    for (int i = first; i < last; ++i) {
        if (!is_no_op(graph->nodes[i])) elements += elements_of(host_.ggml, graph->nodes[i]);
    }
    return static_cast<int>(std::clamp<int64_t>(elements / kElementsPerThread, 1, granted_threads_));
}

// The host's graph stays as it is: nodes that choose among experts are computed by stand-ins, which write to
// the same place.
void InnerCpu::use_copies(ggml_cgraph& part, std::span<const NodeDecision> decisions) {
    stand_ins_.clear();
    for (int i = 0; i < static_cast<int>(decisions.size()); ++i) {
        const ggml_tensor* const node = part.nodes[i];
        const Reason reason = decisions[static_cast<size_t>(i)].reason;
        if (node->op != GGML_OP_MUL_MAT_ID || reason != Reason::kSupported) continue;
        std::shared_ptr<const CpuCopy> copy = cpu_copy(host_, node);
        if (copy == nullptr) continue;
        if (stand_ins_.empty()) {
            nodes_.assign(part.nodes, part.nodes + part.n_nodes);
            part.nodes = nodes_.data();
        }
        stand_ins_.push_back(*node);
        stand_ins_.back().src[0] = const_cast<ggml_tensor*>(&copy->tensor);
        nodes_[static_cast<size_t>(i)] = &stand_ins_.back();
        copies_.push_back(std::move(copy));
    }
}

ggml_status InnerCpu::compute(ggml_cgraph* graph, int first, int last,
                              std::span<const NodeDecision> decisions) {
    if (const Status status = create(); !status.ok()) {
        log(LogLevel::kError, "%s", status.to_string().c_str());
        return GGML_STATUS_FAILED;
    }
    const int threads = threads_for(graph, first, last);
    if (threads != current_threads_) {
        if (const auto set =
                reinterpret_cast<ggml_backend_set_n_threads_t>(proc("ggml_backend_set_n_threads"))) {
            set(backend_, threads);
        }
        current_threads_ = threads;
    }
    if (threads > 1) team_threads_ = threads;
    ggml_cgraph part = host_.ggml.ggml_graph_view(graph, first, last);
    use_copies(part, decisions.empty()
                         ? decisions
                         : decisions.subspan(static_cast<size_t>(first), static_cast<size_t>(last - first)));
    const KeepAffinity keep(pins_);
    caller_ = std::this_thread::get_id();
    const ggml_status status = host_.ggml.ggml_backend_graph_compute(backend_, &part);
    copies_.clear();
    return status;
}

}  // namespace rknpu2
