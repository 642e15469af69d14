// SPDX-License-Identifier: MIT
// rknnsim_time_* and its relatives: the virtual clock for programs.
#include "api/rknnsim_time.h"
#include "api/runtime_state.hpp"
#include "base/format.hpp"

using namespace rknnsim;  // NOLINT: every function below is a thin frame around it

static_assert(sizeof(rknnsim_matmul) == 32 && sizeof(rknnsim_run_time) == 144 &&
              sizeof(rknnsim_core_totals) == 80 && sizeof(rknnsim_time_sums) == 352);

namespace {

Outcome refuse(const char* text) {
    return {Code::kInvalidParameter, text};
}

rknnsim_run_time to_run_time(const RunTime& run) {
    const Work& work = run.cost->work;
    const uint64_t busy = run.stop_ns - run.start_ns;
    return {.call_ns = run.call_ns,
            .start_ns = run.start_ns,
            .stop_ns = run.stop_ns,
            .end_ns = run.end_ns,
            .submit_ns = run.request_ns - run.call_ns,
            .convert_ns = run.end_ns - run.stop_ns,
            .mac_ns = run.mac_ns(),
            .stall_ns = run.stall_ns(),
            .dma_ns = run.dma_ns(),
            .read_a_bytes = work.read_a,
            .read_b_bytes = work.read_b,
            .read_c_bytes = work.read_c,
            .written_bytes = work.write_c,
            .macs = work.macs,
            .context = run.context,
            .passes = static_cast<uint32_t>(work.passes),
            .tile_rows = static_cast<uint32_t>(work.tile_rows),
            .core = run.core,
            .reserved = 0,
            .utilisation = busy == 0 ? 0 : run.cost->ideal_ns / static_cast<double>(busy)};
}

rknnsim_core_totals to_totals(const CoreTotals& core, uint64_t elapsed_ns, int cores) {
    const double available = static_cast<double>(elapsed_ns) * cores;
    return {.runs = core.runs,
            .busy_ns = core.busy_ns,
            .mac_ns = core.mac_ns,
            .stall_ns = core.stall_ns,
            .dma_ns = core.dma_ns,
            .read_bytes = core.read_bytes,
            .written_bytes = core.written_bytes,
            .macs = core.macs,
            .busy = elapsed_ns == 0 ? 0 : static_cast<double>(core.busy_ns) / available,
            .utilisation = elapsed_ns == 0 ? 0 : core.ideal_ns / available};
}

// The frame of these functions: as call(), but they are no calls of the vendor's interface, so neither faults
// nor the checker count them.
template <typename Body>
int inquire(const char* function, Body&& body) noexcept {
    const NoCancellation whole;
    try {
        RuntimeState* state = RuntimeState::get();
        if (state == nullptr) return RKNN_ERR_FAIL;
        return finish(state, function, body(*state));
    } catch (...) {
        return RKNN_ERR_FAIL;
    }
}

Outcome check_matmul(const rknnsim_matmul& matmul, const Settings& settings, MatmulShape* shape) {
    for (const int32_t layout : {matmul.b_layout, matmul.ac_layout})
        if (layout < 0 || layout > 2) return refuse("a layout is unknown");
    if (matmul.cores < 1 || matmul.cores > kCores) {
        return {Code::kInvalidParameter, rknpu2::format("cores=%d must be 1, 2 or 3", matmul.cores)};
    }
    Request request;
    request.type = matmul.type;
    request.b_layout = matmul.b_layout;
    request.ac_layout = matmul.ac_layout;
    request.info = {matmul.M, matmul.K, matmul.N};
    request.shapes = {request.info};
    Problem problem;
    RKNNSIM_RETURN_IF_ERROR(check_request(request, settings, &problem));
    *shape = {.type = problem.type,
              .ac_native = problem.ac_native,
              .M = static_cast<uint32_t>(matmul.M),
              .K = static_cast<uint32_t>(matmul.K),
              .N = static_cast<uint32_t>(matmul.N)};
    return {};
}

}  // namespace

RKNNSIM_EXPORT int rknnsim_predict(const struct rknnsim_matmul* matmul, struct rknnsim_run_time* time) {
    return inquire("rknnsim_predict", [&](RuntimeState& state) -> Outcome {
        if (matmul == nullptr || time == nullptr) return refuse("an argument is NULL");
        MatmulShape shape;
        RKNNSIM_RETURN_IF_ERROR(check_matmul(*matmul, state.simulator().settings(), &shape));
        *time = to_run_time(state.clock().predict(shape, matmul->cores));
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_last_run(struct rknnsim_run_time* time) {
    return inquire("rknnsim_last_run", [&](RuntimeState& state) -> Outcome {
        if (time == nullptr) return refuse("the argument is NULL");
        const RunTime run = state.clock().last_run();
        if (run.cost == nullptr) return {Code::kFail, "this thread has run nothing"};
        *time = to_run_time(run);
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_time_totals(struct rknnsim_time_sums* totals) {
    return inquire("rknnsim_time_totals", [&](RuntimeState& state) -> Outcome {
        if (totals == nullptr) return refuse("the argument is NULL");
        const TimeTotals sums = state.clock().totals();
        *totals = {};
        totals->elapsed_ns = sums.elapsed_ns;
        totals->submit_ns = sums.submit_ns;
        totals->bind_ns = sums.bind_ns;
        totals->convert_ns = sums.convert_ns;
        CoreTotals all;
        for (int i = 0; i < kCores; ++i) {
            totals->core[i] = to_totals(sums.cores[i], sums.elapsed_ns, 1);
            all.add(sums.cores[i]);
        }
        totals->all = to_totals(all, sums.elapsed_ns, kCores);
        return {};
    });
}

RKNNSIM_EXPORT uint64_t rknnsim_time_now(void) {
    uint64_t now = 0;
    inquire("rknnsim_time_now", [&](RuntimeState& state) -> Outcome {
        now = state.clock().now();
        return {};
    });
    return now;
}

RKNNSIM_EXPORT int rknnsim_time_advance(uint64_t ns) {
    return inquire("rknnsim_time_advance", [&](RuntimeState& state) -> Outcome {
        state.clock().advance(ns);
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_time_advance_to(uint64_t ns) {
    return inquire("rknnsim_time_advance_to", [&](RuntimeState& state) -> Outcome {
        state.clock().advance_to(ns);
        return {};
    });
}

RKNNSIM_EXPORT int rknnsim_time_join(void) {
    return inquire("rknnsim_time_join", [&](RuntimeState& state) -> Outcome {
        state.clock().join();
        return {};
    });
}

RKNNSIM_EXPORT const char* rknnsim_profile_name(uint32_t index) {
    const auto& parameters = profile_parameters();
    return index < parameters.size() ? parameters[index].name : nullptr;
}

RKNNSIM_EXPORT int rknnsim_profile_get(const char* name, double* value) {
    return inquire("rknnsim_profile_get", [&](RuntimeState& state) -> Outcome {
        if (name == nullptr || value == nullptr) return refuse("an argument is NULL");
        return get_parameter(name, state.clock().profile(), value);
    });
}

RKNNSIM_EXPORT int rknnsim_profile_set(const char* name, double value) {
    return inquire("rknnsim_profile_set", [&](RuntimeState& state) -> Outcome {
        if (name == nullptr) return refuse("the name is NULL");
        return state.clock().set(name, value);
    });
}
