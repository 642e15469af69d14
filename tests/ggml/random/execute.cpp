// SPDX-License-Identifier: MIT
#include "ggml/random/execute.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ggml/random/custom.hpp"
#include "ggml/random/leaves.hpp"
#include "ggml/random/memory.hpp"

namespace rknpu2::test {
namespace {

// How often a round is tried with faults. A graph of some hundred runs has a fault in nearly every attempt,
// so that these may all fail; the one after them is without faults.
constexpr int kMostAttempts = 40;

// A request to stop at one question.
struct Stop {
    std::atomic<int> asked{0};
    int at = 0;
    bool said_yes() const { return asked.load() >= at; }
};

bool ask(void* data) {
    auto& stop = *static_cast<Stop*>(data);
    return ++stop.asked >= stop.at;
}

Counters read_counters() {
    std::ifstream file(counters_path());
    Counters counters;
    if (!file) return counters;
    const nlohmann::json all = nlohmann::json::parse(file);
    counters.failures = all.at("failures");
    counters.flows = all.at("flows");
    counters.flow_nodes = all.at("flow_nodes");
    counters.fused_nodes = all.at("fused_nodes");
    counters.matmuls = all.at("matmuls").at("npu");
    counters.attentions = all.at("attention").at("nodes");
    counters.failed_runs = all.at("faults").at("failed_runs");
    return counters;
}

Counters added(const Counters& before, const Counters& after) {
    return {after.failures - before.failures,      after.flows - before.flows,
            after.flow_nodes - before.flow_nodes,  after.fused_nodes - before.fused_nodes,
            after.matmuls - before.matmuls,        after.attentions - before.attentions,
            after.failed_runs - before.failed_runs};
}

// What the simulator's checker has found since the start; but for zeros that look like padding: weights of
// three values, or a state, have such by chance.
uint64_t checker_findings() {
    void* const handle = dlopen(SIMULATOR, RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) return 0;
    const auto count =
        reinterpret_cast<decltype(&::rknnsim_check_count)>(dlsym(handle, "rknnsim_check_count"));
    const uint64_t found = count != nullptr ? count(nullptr) - count("padding") : 0;
    dlclose(handle);
    return found;
}

// The faults of RKNNSIM_FAULTS while a graph is computed; there are none without the simulator.
class InjectedFaults {
  public:
    InjectedFaults() : handle_(dlopen(SIMULATOR, RTLD_NOW | RTLD_NOLOAD)), first_(count()), seen_(first_) {}
    ~InjectedFaults() {
        pause(false);
        if (handle_ != nullptr) dlclose(handle_);
    }
    InjectedFaults(const InjectedFaults&) = delete;
    InjectedFaults& operator=(const InjectedFaults&) = delete;

    // Whether anything was made to fail since this object was made.
    bool any() const { return count() != first_; }

    // Whether anything was made to fail since the last call, or since this object was made.
    bool take() {
        const uint64_t before = seen_;
        seen_ = count();
        return seen_ != before;
    }

    void pause(bool paused) {
        if (const auto set = function<decltype(&::rknnsim_pause_faults)>("rknnsim_pause_faults")) set(paused);
    }

  private:
    template <typename Function>
    Function function(const char* name) const {
        return handle_ == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(handle_, name));
    }
    uint64_t count() const {
        const auto made = function<decltype(&::rknnsim_fault_count)>("rknnsim_fault_count");
        return made == nullptr ? 0 : made();
    }

    void* const handle_;
    const uint64_t first_;
    uint64_t seen_;
};

// ggml writes no numbers to blocks of zeros in IQ4_NL, only their scale.
void clear_unwritten(std::vector<uint8_t>& blocks) {
    constexpr size_t kBlock = 18;
    for (size_t at = 0; at + kBlock <= blocks.size(); at += kBlock)
        if (blocks[at] == 0 && (blocks[at + 1] & 0x7F) == 0) std::fill_n(blocks.data() + at, kBlock, 0);
}

class Run {
  public:
    Run(GgmlHost& host, const Recipe& recipe, Way way, InjectedFaults& faults, Outcome& outcome)
        : host_(host),
          ggml_(host.ggml),
          recipe_(recipe),
          way_(way),
          faults_(faults),
          outcome_(outcome),
          built_(host),
          backend_(nullptr, ggml_.ggml_backend_free) {}

    void go() {
        const ggml_backend_dev_t device =
            is_by_cpu(way_) ? ggml_.ggml_backend_dev_by_name("CPU") : host_.device;
        const Product product = !is_by_cpu(way_)          ? Product::kAsItIs
                                : way_ == Way::kReference ? Product::kOfFloats
                                                          : Product::kShaken;
        choose_shaking(static_cast<uint32_t>(way_), multiplies_exactly(recipe_.environment) ? 4e-4 : 2e-2);
        build(recipe_, ggml_.ggml_backend_dev_buffer_type(device), product, built_);
        require_support(device);
        backend_.reset(ggml_.ggml_backend_dev_init(device, nullptr));
        set_threads(device);
        const Allocation allocation = is_by_cpu(way_) ? Allocation::kOwn : recipe_.allocation;
        memory_ = give_memory(built_, recipe_, allocation, backend_.get(), device);
        memory_->spoil(way_ == Way::kOn ? 0x5A : 0xC3);
        if (recipe_.stop > 0 && way_ == Way::kOn) try_to_stop(device);
        for (int round = 0; round < recipe_.rounds && outcome_.problem.empty(); ++round)
            compute_round(round);
        if (outcome_.problem.empty()) observe();
    }

  private:
    void require_support(ggml_backend_dev_t device) {
        for (int i = 0; i < ggml_.ggml_graph_n_nodes(built_.graph); ++i) {
            const ggml_tensor* const node = ggml_.ggml_graph_node(built_.graph, i);
            if (!ggml_.ggml_backend_dev_supports_op(device, node))
                throw BuildError(std::string("not supported: ") + ggml_.ggml_op_desc(node));
        }
    }

    void* proc(ggml_backend_dev_t device, const char* name) {
        return ggml_.ggml_backend_reg_get_proc_address(ggml_.ggml_backend_dev_backend_reg(device), name);
    }

    void set_threads(ggml_backend_dev_t device) {
        const auto set =
            reinterpret_cast<ggml_backend_set_n_threads_t>(proc(device, "ggml_backend_set_n_threads"));
        if (set != nullptr) set(backend_.get(), recipe_.threads);
    }

    // Leaves of these kinds as they are at the beginning of the round.
    void fill(bool stored, int round) {
        for (size_t i = 0; i < recipe_.steps.size(); ++i) {
            const Step& step = recipe_.steps[i];
            if (!is_leaf(step) || (leaf_kind(step) != LeafKind::kInput) != stored) continue;
            // An input that nothing reads has no memory.
            if (built_.tensors[i]->buffer == nullptr) continue;
            const std::vector<uint8_t> data = leaf_data(host_, recipe_, i, round);
            ggml_.ggml_backend_tensor_set(built_.tensors[i], data.data(), 0, data.size());
        }
    }

    void try_to_stop(ggml_backend_dev_t device) {
        const auto set = reinterpret_cast<ggml_backend_set_abort_callback_t>(
            proc(device, "ggml_backend_set_abort_callback"));
        Stop stop;
        stop.at = recipe_.stop;
        fill(true, 0);
        fill(false, 0);
        faults_.take();
        set(backend_.get(), ask, &stop);
        const ggml_status status = memory_->compute();
        set(backend_.get(), nullptr, nullptr);
        const bool right =
            status == GGML_STATUS_ABORTED || (status == GGML_STATUS_SUCCESS && !stop.said_yes());
        if (!right && (status == GGML_STATUS_SUCCESS || !made_to_fail())) {
            outcome_.problem = "asked to stop, it ended with status " + std::to_string(status);
        }
        outcome_.aborted += status == GGML_STATUS_ABORTED ? 1 : 0;
    }

    // After a failure everything is filled anew, so that the rounds before it have to be computed again. An
    // attempt without a fault must not fail, so the one after kMostAttempts, where faults pause, is the last.
    void compute_round(int round) {
        for (int attempt = 1;; ++attempt) {
            if (attempt > kMostAttempts) faults_.pause(true);
            faults_.take();
            int from = round;
            if (attempt > 1 || round == 0) {
                fill(true, 0);
                from = 0;
            }
            ggml_status status = GGML_STATUS_SUCCESS;
            for (int r = from; r <= round && status == GGML_STATUS_SUCCESS; ++r) {
                fill(false, r);
                status = memory_->compute();
            }
            if (status == GGML_STATUS_SUCCESS && !(attends() && made_to_fail())) break;
            ++outcome_.failed;
            if (status == GGML_STATUS_SUCCESS) continue;
            if (!made_to_fail()) {
                outcome_.problem = "status " + std::to_string(status) +
                                   (may_fail(recipe_.environment) ? " without an injected fault" : "");
                return;
            }
        }
        faults_.pause(false);
    }

    // Whether the computation that has failed had a fault, and the environment says that it may fail then.
    bool made_to_fail() { return faults_.take() && may_fail(recipe_.environment); }

    // Where the NPU has no memory for attention, the CPU computes it, in another arithmetic.
    bool attends() const {
        return std::ranges::any_of(recipe_.steps, [](const Step& step) { return step.op == "flash_attn"; });
    }

    bool is_read(size_t step) const {
        return std::any_of(recipe_.steps.begin(), recipe_.steps.end(), [&](const Step& other) {
            return std::find(other.sources.begin(), other.sources.end(), step) != other.sources.end();
        });
    }

    void observe() {
        for (size_t i = 0; i < recipe_.steps.size(); ++i) {
            const Step& step = recipe_.steps[i];
            ggml_tensor* const tensor = built_.tensors[i];
            const bool leaf = is_leaf(step);
            if (leaf && leaf_kind(step) == LeafKind::kInput) continue;
            const bool kept = recipe_.allocation != Allocation::kDense && !is_read(i);
            const bool stays = leaf || step.output || kept;
            if (!stays && recipe_.use_counts) continue;
            Observation observation{leaf    ? "leaf"
                                    : stays ? "result"
                                            : "passing",
                                    i,
                                    tensor->type == GGML_TYPE_F32,
                                    {}};
            observation.bytes.resize(ggml_.ggml_nbytes(tensor));
            ggml_.ggml_backend_tensor_get(tensor, observation.bytes.data(), 0, observation.bytes.size());
            if (tensor->type == GGML_TYPE_IQ4_NL) clear_unwritten(observation.bytes);
            outcome_.observations.push_back(std::move(observation));
        }
        for (Observation& watched : memory_->take_watched())
            outcome_.observations.push_back(std::move(watched));
    }

    GgmlHost& host_;
    const HostFunctions& ggml_;
    const Recipe& recipe_;
    const Way way_;
    InjectedFaults& faults_;
    Outcome& outcome_;
    BuiltGraph built_;
    BackendPtr backend_;
    std::unique_ptr<GraphMemory> memory_;
};

// A process computes one graph after the other: nothing of a graph may stay, and nothing may be said.
void check_rest(GgmlHost& host, const Recipe& recipe, Way way, uint64_t findings,
                const InjectedFaults& faults, Outcome& outcome) {
    const std::vector<std::string> errors = host.take_lines(GGML_LOG_LEVEL_ERROR);
    if (!outcome.problem.empty()) {
        for (const std::string& line : errors)
            outcome.problem += "; " + line;
        return;
    }
    if (is_by_cpu(way)) return;
    const bool failed = outcome.counters.failures > 0 || !errors.empty();
    if (failed && !(may_fail(recipe.environment) && faults.any())) {
        outcome.problem = "computed, but it counts " + std::to_string(outcome.counters.failures) +
                          " failures and says: " + (errors.empty() ? "nothing" : errors[0]);
    } else if (checker_findings() != findings) {
        outcome.problem = "the simulator's checker has found something";
    } else if (const rknnsim_live_counts live = simulator_counts(); live.memories + live.contexts > 0) {
        outcome.problem = std::to_string(live.memories) + " memories and " + std::to_string(live.contexts) +
                          " contexts of the NPU are left";
    }
}

}  // namespace

std::string counters_path() {
    return "/tmp/rknpu2-random-" + std::to_string(getpid()) + ".json";
}

bool multiplies_exactly(const Environment& environment) {
    return setting(environment, "GGML_RKNPU2_PRECISION") == "exact" &&
           setting(environment, "GGML_RKNPU2_MATRICES") != "auto" &&
           setting(environment, "GGML_RKNPU2_EXPERTS") == "npu";
}

bool may_fail(const Environment& environment) {
    return setting(environment, "GGML_RKNPU2_ON_ERROR") == "fail";
}

Outcome execute(GgmlHost& host, const Recipe& recipe, Way way) {
    Outcome outcome;
    host.take_lines();
    const Counters before = is_by_cpu(way) ? Counters{} : read_counters();
    const uint64_t findings = checker_findings();
    InjectedFaults faults;
    try {
        Run(host, recipe, way, faults, outcome).go();
    } catch (const BuildError& error) {
        outcome.problem = std::string("invalid: ") + error.what();
        return outcome;
    }
    if (!is_by_cpu(way)) outcome.counters = added(before, read_counters());
    check_rest(host, recipe, way, findings, faults, outcome);
    return outcome;
}

}  // namespace rknpu2::test
