// SPDX-License-Identifier: MIT
#include "ggml/cpu/inner_cpu.hpp"

#include <sched.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <exception>

#include "base/log.hpp"
#include "device/cpu_team.hpp"
#include "ggml/buffer/buffer.hpp"
#include "ggml/cpu/proof_of_custom.hpp"
#include "ggml/host/process_end.hpp"
#include "system/threads.hpp"

namespace rknpu2 {
namespace {

// Elements that one thread passes through in about the time another needs to wake up (some tens of
// microseconds): an estimate, which nobody has measured on a board.
constexpr int64_t kElementsPerThread = 65536;

// A rough count of what a node touches.
int64_t elements_of(const GgmlFunctions& ggml, const ggml_tensor* node) {
    int64_t elements = ggml.ggml_nelements(node);
    for (const ggml_tensor* const source : {node->src[0], node->src[1], node->src[2]})
        if (source != nullptr) elements = std::max(elements, ggml.ggml_nelements(source));
    // A product does work for every row of its second operand, attention for every query.
    const Op op = ggml.op(node);
    const bool attention = op == Op::kFlashAttention;
    if (!attention && !is_matmul(op)) return elements;
    return elements * std::max<int64_t>(1, node->src[attention ? 0 : 1]->ne[1]);
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
    // The CPUs of before; empty when they are not kept.
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

// More threads than CPUs that they keep to would wait for each other, unless the user wants so many.
int most_threads(const Config& config, const std::vector<int>& cpus) {
    return cpus.empty() ? INT_MAX : std::max(config.threads, static_cast<int>(cpus.size()));
}

}  // namespace

// When the process ends, the host's table of functions may be gone.
InnerCpu::~InnerCpu() {
    if (!process_is_ending()) give_threads_back();
    if (backend_ != nullptr) host_.ggml.ggml_backend_free(backend_);
    free_pool();
}

void InnerCpu::free_pool() {
    if (pool_ != nullptr) free_pool_(pool_);
    pool_ = nullptr;
}

void InnerCpu::set_pool(ggml_threadpool_t pool) {
    host_.cpu_function<decltype(&::ggml_backend_cpu_set_threadpool)>("ggml_backend_cpu_set_threadpool")(
        backend_, pool);
}

bool InnerCpu::has_openmp() const {
    const auto features = host_.cpu_function<ggml_backend_get_features_t>("ggml_backend_get_features");
    if (features == nullptr) return false;
    const auto* feature = features(host_.ggml.ggml_backend_dev_backend_reg(host_.cpu_device()));
    while (feature != nullptr && feature->name != nullptr && std::strcmp(feature->name, "OPENMP") != 0)
        ++feature;
    return feature != nullptr && feature->name != nullptr;
}

// OpenMP's threads get the mask of the pool that they compute with last: one of the host's CPUs.
void InnerCpu::give_threads_back() {
    if (!pins_ || pool_ == nullptr || host_cpus_.empty() || team_threads_ < 2 ||
        caller_ != std::this_thread::get_id() || !has_openmp())
        return;
    ggml_threadpool_params params = host_.ggml.ggml_threadpool_params_default(team_threads_);
    if (!use_pool(params, host_cpus_)) return;
    set_cpu_threads(host_, backend_, team_threads_);  // as many as there are: none is started for this
    float number = 0;
    HostTensor one;
    one->op = host_.ggml.operations.number_of(Op::kNone);
    one->type = GGML_TYPE_F32;
    std::fill_n(one->ne, GGML_MAX_DIMS, 1);
    std::fill_n(one->nb, GGML_MAX_DIMS, sizeof number);
    one->data = &number;
    HostTensor sum = one;
    sum->op = host_.ggml.operations.number_of(Op::kAdd);
    sum->src[0] = sum->src[1] = one.get();
    const KeepAffinity keep(true);
    static_cast<void>(compute_node(host_, backend_, sum.get()));
}

// Has the backend compute with a new pool on these CPUs (empty: all), in place of the old one. False: it
// cannot, and the old one stays.
bool InnerCpu::use_pool(ggml_threadpool_params params, const std::vector<int>& cpus) {
    for (const int cpu : cpus)
        if (cpu < GGML_MAX_N_THREADS) params.cpumask[cpu] = true;
    const auto make = host_.cpu_function<decltype(&::ggml_threadpool_new)>("ggml_threadpool_new");
    const ggml_threadpool_t pool = make(&params);
    if (pool == nullptr) return false;
    set_pool(pool);
    free_pool();
    pool_ = pool;
    free_pool_ = host_.cpu_function<decltype(free_pool_)>("ggml_threadpool_free");
    return true;
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
        using Set = ggml_backend_set_abort_callback_t;
        if (const auto set = host_.cpu_function<Set>("ggml_backend_set_abort_callback"))
            set(backend_, abort_, abort_data_);
    }
    const int wanted = threads();
    return pool_threads_ == wanted ? Status() : create_pool(wanted);
}

// Without a pool, a CPU backend built without OpenMP makes and joins its threads for every run of nodes.
Status InnerCpu::create_pool(int wanted) {
    if (pool_ != nullptr) set_pool(nullptr);
    free_pool();  // its threads count towards the limit
    pool_threads_ = wanted;
    granted_threads_ = 1 + static_cast<int>(startable_threads(static_cast<size_t>(wanted) - 1));
    for (const char* const name :
         {"ggml_threadpool_new", "ggml_threadpool_free", "ggml_backend_cpu_set_threadpool"}) {
        if (host_.cpu_function<void*>(name) == nullptr) return {};  // the backend does without
    }
    const std::vector<int> cpus = cpu_affinity(host_.config);
    ggml_threadpool_params params = host_.ggml.ggml_threadpool_params_default(granted_threads_);
    params.poll = 0;  // threads that wait must not take cores from those that feed the NPU
    pins_ = !cpus.empty();
    const KeepAffinity keep(pins_);
    host_cpus_ = keep.cpus();
    if (!use_pool(params, cpus)) return {StatusCode::kOutOfMemory, "cannot make the CPU threads"};
    return {};
}

bool is_for_team(const GgmlFunctions& ggml, const ggml_tensor* node) {
    return elements_of(ggml, node) >= 2 * kElementsPerThread;
}

bool has_copy(const GgmlFunctions& ggml, const ggml_tensor* node, const NodeDecision& decision) {
    if (!is_matmul(ggml.op(node)) || decision.reason != Reason::kSupported) return false;
    // ggml's kernels for its own layouts stop the process where activations have more dimensions.
    return ggml.op(node) == Op::kMatMulExperts || node->src[1]->ne[2] * node->src[1]->ne[3] == 1;
}

// Asked once of each host. By as many threads as there are.
bool InnerCpu::calls_functions() {
    const std::lock_guard lock(host_.custom_nodes_mutex);
    if (!host_.custom_nodes) {
        set_cpu_threads(host_, backend_, granted_threads_);
        if (granted_threads_ > 1) team_threads_ = granted_threads_;
        const Status status = prove_custom_nodes(host_.ggml, backend_);
        set_cpu_threads(host_, backend_, current_threads_);
        if (status.code() != StatusCode::kOk && status.code() != StatusCode::kUnsupported) return false;
        host_.custom_nodes = status;
        if (!status.ok())
            log(LogLevel::kWarning,
                "%s: attention of few tokens is computed by ggml's own code, which is slower",
                status.to_string().c_str());
    }
    return host_.custom_nodes->ok();
}

ggml_tensor* InnerCpu::attention_stand_in(ggml_tensor* node) {
    AttentionCounters& counters = host_.counters->attention;
    ggml_tensor* const ours =
        calls_functions() ? attention_of_few_.stand_in(node, static_cast<size_t>(current_threads_)) : nullptr;
    (ours != nullptr ? counters.few_tokens : counters.few_tokens_by_host) +=
        static_cast<uint64_t>(node->ne[3]);
    return ours != nullptr ? ours : node;
}

// Returns what computes the node in its place, or the node itself.
ggml_tensor* InnerCpu::stand_in(ggml_tensor* node, const NodeDecision& decision) {
    if (host_.ggml.op(node) == Op::kFlashAttention) {
        const auto tokens = static_cast<size_t>(node->src[0]->ne[1]);
        const bool few = is_for_few_tokens(decision.attention, tokens, host_.config.precision);
        return few ? attention_stand_in(node) : node;
    }
    if (!has_copy(host_.ggml, node, decision)) return node;
    CpuCopy copy = cpu_copy(host_, node);
    if (copy == nullptr) return node;
    ggml_tensor* const product = stand_ins_.emplace_back(host_.ggml, *node).get();
    product->src[0] = const_cast<ggml_tensor*>(copy.get());
    copies_.push_back(std::move(copy));
    return product;
}

// The host's graph stays as it is: stand-ins take the place of nodes, and write to their memory.
void InnerCpu::use_stand_ins(ggml_cgraph& part, std::span<const NodeDecision> decisions) {
    bool are_own = false;  // the nodes, or are they the host's?
    for (size_t i = 0; i < decisions.size(); ++i) {
        if (decisions[i].target == Target::kNone) continue;
        ggml_tensor* const instead = stand_in(part.nodes[i], decisions[i]);
        if (instead == part.nodes[i]) continue;
        if (!are_own) {
            nodes_.assign(part.nodes, part.nodes + part.n_nodes);
            part.nodes = nodes_.data();
            are_own = true;
        }
        part.nodes[i] = instead;
    }
}

int InnerCpu::threads() const {
    if (threads_ == 0) return cpu_threads(host_.config);
    return std::min(threads_, most_threads(host_.config, cpu_affinity(host_.config)));
}

ggml_status InnerCpu::compute(ggml_cgraph* graph, int first, int last,
                              std::span<const NodeDecision> decisions) {
    if (const Status status = create(); !status.ok()) {
        log(LogLevel::kError, "%s", status.to_string().c_str());
        return GGML_STATUS_FAILED;
    }
    int64_t elements = 0;
    for (int i = first; i < last; ++i)
        if (host_.ggml.computes(graph->nodes[i])) elements += elements_of(host_.ggml, graph->nodes[i]);
    const auto threads =
        static_cast<int>(std::clamp<int64_t>(elements / kElementsPerThread, 1, granted_threads_));
    if (threads != current_threads_) set_cpu_threads(host_, backend_, threads);
    current_threads_ = threads;
    if (threads > 1) team_threads_ = threads;
    ggml_cgraph part = host_.ggml.ggml_graph_view(graph, first, last);
    const KeepAffinity keep(pins_);
    caller_ = std::this_thread::get_id();
    use_stand_ins(part, decisions);
    const ggml_status status = host_.ggml.ggml_backend_graph_compute(backend_, &part);
    stand_ins_.clear();
    copies_.clear();
    attention_of_few_.clear();
    return status;
}

OneThreadCpus::~OneThreadCpus() {
    for (const ggml_backend_t backend : all_)
        host_.ggml.ggml_backend_free(backend);
}

ggml_backend_t OneThreadCpus::take() noexcept try {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
        const ggml_backend_t backend = idle_.back();
        idle_.pop_back();
        return backend;
    }
    all_.reserve(all_.size() + 1);
    idle_.reserve(all_.size() + 1);
    const ggml_backend_dev_t device = host_.cpu_device();
    if (device == nullptr) return nullptr;
    const ggml_backend_t made = host_.ggml.ggml_backend_dev_init(device, nullptr);
    if (made == nullptr) return nullptr;
    set_cpu_threads(host_, made, 1);
    all_.push_back(made);
    return made;
} catch (const std::exception&) {  // no memory
    return nullptr;
}

void OneThreadCpus::give_back(ggml_backend_t backend) noexcept {
    const std::lock_guard lock(mutex_);
    idle_.push_back(backend);
}

void set_cpu_threads(const Host& host, ggml_backend_t backend, int threads) {
    const auto set = host.cpu_function<ggml_backend_set_n_threads_t>("ggml_backend_set_n_threads");
    if (set != nullptr) set(backend, threads);
}

ggml_status compute_node(const Host& host, ggml_backend_t backend, ggml_tensor* node) {
    ggml_cgraph graph{};
    graph.size = graph.n_nodes = 1;
    graph.nodes = &node;
    return host.ggml.ggml_backend_graph_compute(backend, &graph);
}

}  // namespace rknpu2
