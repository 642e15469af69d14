// SPDX-License-Identifier: MIT
#include "doctor_self_test.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "doctor_reference.hpp"
#include "matrix/layout.hpp"

namespace rknpu2 {
namespace {

constexpr int kPattern = 0x55;  // of memory that a run has to overwrite; not the simulator's own 0xAA

using Memory = std::unique_ptr<NpuMemory>;

// Three operands of a context, its own or slices of what `lender` has.
struct Operands {
    NpuContext* owner = nullptr;  // who has made them
    Memory whole;                 // destroyed after the slices
    Memory a, b, c;

    // Syncs are done on what rknn_create_mem gave: a sync of an import is a question of its own
    // (doctor_trials.hpp).
    NpuMemory& synced(const Memory& operand) const { return whole ? *whole : *operand; }
};

constexpr size_t kSliceAlign = 4096;

Status make_slices(NpuContext& context, NpuContext& lender, size_t index, Operands& to) {
    Memory* const parts[] = {&to.a, &to.b, &to.c};
    constexpr Operand kAll[] = {Operand::kActivations, Operand::kWeights, Operand::kResult};
    size_t offset = kSliceAlign;  // nothing at the front: an offset that is ignored is seen
    for (const Operand operand : kAll)
        offset += round_up(context.operand_bytes(operand, index), kSliceAlign);
    Result<Memory> whole = lender.allocate(offset);
    RKNPU2_RETURN_IF_ERROR(whole.status());
    to.whole = whole.take();
    to.owner = &lender;
    offset = kSliceAlign;
    for (size_t i = 0; i < std::size(kAll); ++i) {
        const size_t bytes = context.operand_bytes(kAll[i], index);
        Result<Memory> slice = context.import_slice(*to.whole, offset, bytes);
        RKNPU2_RETURN_IF_ERROR(slice.status());
        *parts[i] = slice.take();
        offset += round_up(bytes, kSliceAlign);
    }
    return {};
}

Status make_own(NpuContext& context, size_t index, Operands& to) {
    to.owner = &context;
    const std::pair<Operand, Memory*> parts[] = {
        {Operand::kActivations, &to.a}, {Operand::kWeights, &to.b}, {Operand::kResult, &to.c}};
    for (const auto& [operand, memory] : parts) {
        Result<Memory> made = context.allocate(context.operand_bytes(operand, index));
        RKNPU2_RETURN_IF_ERROR(made.status());
        *memory = made.take();
    }
    return {};
}

Status multiply(NpuContext& context, const SelfTestCase& test, size_t index, const Numbers& numbers,
                Operands& operands) {
    RKNPU2_RETURN_IF_ERROR(context.select_rows(index));
    lay_out(test, numbers, *operands.a, *operands.b);
    std::memset(operands.c->data(), kPattern, operands.c->size());
    // Results, too: else the cache may write the pattern back later. What is not native is copied by bind().
    RKNPU2_RETURN_IF_ERROR(operands.owner->sync_to_device(operands.synced(operands.c)));
    if (!operands.whole && test.ac_layout == Layout::kNative)
        RKNPU2_RETURN_IF_ERROR(context.sync_to_device(*operands.a));
    if (!operands.whole && test.b_layout == Layout::kNative)
        RKNPU2_RETURN_IF_ERROR(context.sync_to_device(*operands.b));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kActivations, *operands.a));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kWeights, *operands.b));
    RKNPU2_RETURN_IF_ERROR(context.bind(Operand::kResult, *operands.c));
    RKNPU2_RETURN_IF_ERROR(context.run());
    return operands.owner->sync_from_device(operands.synced(operands.c));
}

ContextSpec spec_of(const SelfTestCase& test) {
    ContextSpec spec;
    spec.arithmetic = test.arithmetic;
    spec.K = test.K;
    spec.N = test.N;
    spec.rows = {test.M};
    spec.core = test.core;
    spec.domain = test.domain;
    spec.ac_layout = test.ac_layout;
    spec.b_layout = test.b_layout;
    return spec;
}

Status run_case(NpuRuntime& runtime, const SelfTestCase& test, SelfTestResult& result) {
    ContextSpec spec = spec_of(test);
    if (test.binding == Binding::kRows) spec.rows = {test.M, 2 * test.M};
    Result<std::unique_ptr<NpuContext>> lender(Status{StatusCode::kInternal, "not made"});
    if (test.binding == Binding::kSlices) {
        ContextSpec other = spec;
        other.K = other.N = 64;
        other.rows = {1};
        lender = runtime.create_context(other);
        RKNPU2_RETURN_IF_ERROR(lender.status());
    }
    Result<std::unique_ptr<NpuContext>> context = runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(context.status());
    const Numbers numbers = draw_numbers(test);
    if (test.binding == Binding::kRows) {  // first the larger one, whose leftovers must not be seen
        SelfTestCase larger = test;
        larger.M = 2 * test.M;
        Operands operands;
        RKNPU2_RETURN_IF_ERROR(make_own(*context.value(), 1, operands));
        RKNPU2_RETURN_IF_ERROR(multiply(*context.value(), larger, 1, draw_numbers(larger), operands));
    }
    Operands operands;
    RKNPU2_RETURN_IF_ERROR(test.binding == Binding::kSlices
                               ? make_slices(*context.value(), *lender.value(), 0, operands)
                               : make_own(*context.value(), 0, operands));
    RKNPU2_RETURN_IF_ERROR(multiply(*context.value(), test, 0, numbers, operands));
    result.state = CaseState::kRan;
    compare(test, numbers, *operands.c, result);
    return {};
}

}  // namespace

SelfTestResult run_self_test(NpuRuntime& runtime, const SelfTestCase& test) {
    SelfTestResult result;
    result.test = test;
    const Status status = run_case(runtime, test, result);
    if (!status.ok()) {
        result.state = status.code() == StatusCode::kTimeout ? CaseState::kTimedOut : CaseState::kFailed;
        result.error = status.message();
    }
    return result;
}

SelfTestResult left_out(const SelfTestCase& test, const std::string& why) {
    SelfTestResult result;
    result.test = test;
    result.error = why;
    return result;
}

int strikes_in(const std::vector<SelfTestResult>& results) {
    return static_cast<int>(std::count_if(results.begin(), results.end(), [](const SelfTestResult& result) {
        return result.state == CaseState::kTimedOut || result.state == CaseState::kCrashed;
    }));
}

std::vector<SelfTestResult> run_self_tests(NpuRuntime& runtime, bool quick, SelfTestProgress progress) {
    std::vector<SelfTestResult> results;
    const std::vector<SelfTestCase> cases = self_test_cases(quick);
    for (size_t i = progress.first; i < cases.size(); ++i) {
        const bool give_up = progress.strikes >= kStrikesToGiveUp;
        if (!give_up && progress.begins) progress.begins(cases[i]);
        results.push_back(give_up ? left_out(cases[i]) : run_self_test(runtime, cases[i]));
        if (results.back().state == CaseState::kTimedOut) ++progress.strikes;
        if (progress.ended) progress.ended(results.back());
    }
    return results;
}

}  // namespace rknpu2
