// SPDX-License-Identifier: MIT
#include "checker/checker.hpp"

#include <algorithm>
#include <functional>

#include "base/format.hpp"
#include "checker/padding.hpp"
#include "core/fingerprint.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

}  // namespace

const char* rule_name(Rule rule) {
    switch (rule) {
        case Rule::kNone:
            return "none";
        case Rule::kMissingSync:
            return "missing-sync";
        case Rule::kNeedlessSync:
            return "needless-sync";
        case Rule::kStaleInput:
            return "stale-input";
        case Rule::kUncomputed:
            return "uncomputed";
        case Rule::kUseAfterDestroy:
            return "use-after-destroy";
        case Rule::kDoubleDestroy:
            return "double-destroy";
        case Rule::kLeak:
            return "leak";
        case Rule::kSmallBuffer:
            return "small-buffer";
        case Rule::kOverrun:
            return "overrun";
        case Rule::kTwoThreads:
            return "two-threads";
        case Rule::kWrongDomain:
            return "wrong-domain";
        case Rule::kPadding:
            return "padding";
        case Rule::kManyContexts:
            return "many-contexts";
        case Rule::kOverlap:
            return "overlap";
        case Rule::kUnwritten:
            return "unwritten";
        case Rule::kClipped:
            return "clipped";
        case Rule::kInt4Input:
            return "int4-input";
        case Rule::kImportSync:
            return "import-sync";
        case Rule::kDirtyResult:
            return "dirty-result";
        case Rule::kUnreadResult:
            return "unread-result";
    }
    return "none";
}

Checker::Counts& Checker::counts() const {
    if (process_.load(std::memory_order_relaxed) != process_id() &&
        process_.exchange(process_id()) != process_id()) {
        for (auto& count : counts_)
            count = 0;
    }
    return counts_;
}

void Checker::say(Rule rule, const char* function, const std::string& text) {
    const uint64_t number = ++counts()[static_cast<size_t>(rule)];
    if (number > kLines) return;
    const char* end = number == kLines ? " (more of this rule are counted, not printed)" : "";
    print_("check", function, format("[%s] %s%s", rule_name(rule), text.c_str(), end));
}

void Checker::hint(Rule rule, const char* function, const std::string& text) {
    if (on()) say(rule, function, text);
}

Outcome Checker::find(Rule rule, const char* function, const std::string& text) {
    if (!on()) return {};
    say(rule, function, text);
    if (!strict()) return {};
    return {Code::kFail, format("refused by RKNNSIM_CHECK=strict: %s", rule_name(rule))};
}

Outcome Checker::check_overrun(const char* function, const Name& who, const Memory& memory) {
    if (!memory.allocation->overrun()) return {};
    return find(Rule::kOverrun, function,
                format("%s: something wrote behind the end of the memory of %zu bytes at %p: allocate what "
                       "io_attr says, and look for the loop that goes too far",
                       who().c_str(), memory.size, static_cast<const void*>(memory.cpu())));
}

Outcome Checker::check_input(const char* call, const Context& context, const BoundOperand& operand) {
    if (operand.memory == nullptr) return {};
    const Memory& memory = *operand.memory;
    const auto who = [&] { return context.name() + ": " + operand_name(operand.which); };
    if (memory.allocation->results().poisoned(memory.allocation->cpu(), memory.offset, operand.bytes)) {
        RKNNSIM_RETURN_IF_ERROR(
            find(Rule::kUncomputed, call,
                 who() + " holds a result that was never computed: run the matmul that writes it first"));
    }
    const bool converted = operand.converted && !operand.taken_by_run;
    if (operand.unwritten &&
        (converted || memory.allocation->still_unwritten(memory.offset, operand.bytes))) {
        hint(Rule::kUnwritten, call,
             who() +
                 " was never written: its memory is as it was made, which on a board is anything; store the "
                 "data, then call set_io_mem");
    }
    if (operand.converted) {
        if (!operand.taken_by_run &&
            fingerprint(memory.cpu(), operand.bytes, operand.whole) != operand.source) {
            return find(Rule::kStaleInput, call,
                        who() +
                            " was changed after set_io_mem, which has copied it: the run uses "
                            "the old data; call set_io_mem again after each change");
        }
    } else if (memory.allocation->view().stale(memory.offset, operand.bytes,
                                               operand.whole || operand.shadowed)) {
        return find(Rule::kMissingSync, call,
                    who() +
                        " was changed by the CPU and not synced: the chip uses the old data; call "
                        "mem_sync(RKNN_MEMORY_SYNC_TO_DEVICE) after each change");
    }
    return {};
}

// Lines of C that the CPU has written come back over the result whenever the cache pleases.
Outcome Checker::check_result(const char* call, const Context& context, const BoundOperand& result) {
    if (result.memory == nullptr) return {};
    const Memory& memory = *result.memory;
    Allocation& allocation = *memory.allocation;
    if (!board_.results_visible && allocation.results().unused(memory.offset, result.bytes)) {
        hint(Rule::kUnreadResult, call,
             context.name() +
                 ": C holds a result that no sync from the device has covered and no run has read, and is "
                 "overwritten: sync before reading, or spare the run");
    }
    if (!board_.dirty_overwrites) return {};
    const size_t dirty = allocation.view().dirty_lines(memory.offset, result.bytes);
    if (dirty == 0) return {};
    return find(
        Rule::kDirtyResult, call,
        format("%s: the CPU has written %zu lines (of 64 bytes) of C and nobody has cleaned them: the cache "
               "writes them over the result; never store into results, or call "
               "mem_sync(RKNN_MEMORY_SYNC_TO_DEVICE) before the run",
               context.name().c_str(), dirty));
}

// A sync that does nothing, and that something would have depended on.
Outcome Checker::check_import(const SyncEvent& event, const Name& who) {
    const Memory& memory = event.memory;
    const DeviceView& view = memory.allocation->view();
    const bool unseen = event.to_device && view.stale(memory.offset, memory.size, true);
    const bool unread = event.from_device && view.hidden(memory.offset, memory.size);
    if (!unseen && !unread) return {};
    return find(Rule::kImportSync, event.call,
                who() + format(" was imported, and a sync of an import does nothing on this board "
                               "(RKNNSIM_IMPORT_SYNC): %s; sync the memory that create_mem gave, or clean "
                               "the lines",
                               unseen ? "the chip does not see what the CPU has changed"
                                      : "the CPU does not see the result"));
}

// The chip reads its inputs while it writes: what is read may be a result already.
Outcome Checker::check_overlap(const char* call, const Context& context, const BoundOperand& input,
                               const BoundOperand& result) {
    if (input.memory == nullptr || result.memory == nullptr) return {};
    const Memory& a = *input.memory;
    const Memory& c = *result.memory;
    if (a.allocation != c.allocation || a.offset >= c.offset + result.bytes ||
        c.offset >= a.offset + input.bytes)
        return {};
    return find(
        Rule::kOverlap, call,
        format("%s: %s and C are bound to the same memory: the run overwrites what it multiplies; give "
               "each its own",
               context.name().c_str(), operand_name(input.which)));
}

Outcome Checker::check_padding(const char* call, const Context& context, const BoundOperand& a,
                               const BoundOperand& b) {
    const Problem& problem = context.problem();
    if (a.memory == nullptr || b.memory == nullptr) return {};
    if (!a.fits || !b.fits) return {};                                              // the run is refused
    if (a.memory->allocation->view().hidden(a.memory->offset, a.bytes)) return {};  // nobody can look at it
    const size_t declared = context.declared_k();
    if (declared != 0) {
        for (const BoundOperand& operand : {a, b}) {
            if (padding_is_zero(problem, operand, context.rows(), declared)) continue;
            RKNNSIM_RETURN_IF_ERROR(find(
                Rule::kPadding, call,
                format("%s: %s is not zero between k=%zu and K=%zu, though the program says that it "
                       "uses %zu: fill the padding of both operands with zeros",
                       context.name().c_str(), operand_name(operand.which), declared, problem.K, declared)));
        }
        return {};
    }
    const size_t tail = zero_tail(problem, b);
    if (tail == 0 || padding_is_zero(problem, a, context.rows(), problem.K - tail)) return {};
    hint(Rule::kPadding, call,
         format("%s: the last %zu k of B are zero for every n, which looks like padding, but A is not "
                "zero there: fill the padding of both operands with zeros",
                context.name().c_str(), tail));
    return {};
}

// Said once, when runs go on: a program that keeps so many keeps them.
Outcome Checker::check_context_count(const RunRequest& request) {
    if (static_cast<int64_t>(request.live_contexts) <= contexts_) return {};
    if (many_contexts_said_.exchange(true) && !strict()) return {};
    return find(
        Rule::kManyContexts, request.call,
        format("%zu contexts are alive, more than %lld (RKNNSIM_CONTEXTS): boards have been seen with a "
               "thousand, and one whose runs failed from here on; destroy what is not needed",
               request.live_contexts, static_cast<long long>(contexts_)));
}

Outcome Checker::before_run(const RunRequest& request) {
    if (!on()) return {};
    const auto& [call, context, live] = request;
    RKNNSIM_RETURN_IF_ERROR(check_context_count(request));
    std::array<BoundOperand, 3> operands;
    for (const Operand which : {Operand::kA, Operand::kB, Operand::kC})
        operands[static_cast<size_t>(which)] = context.bound(which);
    for (const BoundOperand& operand : operands) {
        if (operand.memory == nullptr) continue;
        RKNNSIM_RETURN_IF_ERROR(check_overrun(
            call, [&] { return context.name(); }, *operand.memory));
    }
    RKNNSIM_RETURN_IF_ERROR(check_result(call, context, operands[2]));
    RKNNSIM_RETURN_IF_ERROR(check_overlap(call, context, operands[0], operands[2]));
    RKNNSIM_RETURN_IF_ERROR(check_overlap(call, context, operands[1], operands[2]));
    RKNNSIM_RETURN_IF_ERROR(check_input(call, context, operands[0]));
    RKNNSIM_RETURN_IF_ERROR(check_input(call, context, operands[1]));
    return check_padding(call, context, operands[0], operands[1]);
}

void Checker::on_result(const char* call, const Context& context) {
    if (!on() || context.clipped() == 0) return;
    const Problem& problem = context.problem();
    hint(Rule::kClipped, call,
         format("%s: %llu of %zu sums did not fit 16 bits and were clipped, as on the chip: K of at most 480 "
                "cannot clip (640 for values of -7 to 7); cut K and add on the CPU",
                context.name().c_str(), static_cast<unsigned long long>(context.clipped()),
                context.rows() * problem.N));
}

Outcome Checker::before_conversion(const ConversionRequest& request) {
    if (!on()) return {};
    const auto& [call, problem, int4_bytes, from, to] = request;
    const DType type = input_type(problem.type);
    const size_t elements = problem.K * problem.N;
    const size_t from_bytes =
        type == DType::kInt4 && int4_bytes ? elements : rknpu2::dtype_bytes(type, elements);
    const auto* source = static_cast<const int8_t*>(from);
    const auto* target = static_cast<const int8_t*>(to);
    const std::less<> before;
    if (before(source, target + rknpu2::dtype_bytes(type, elements)) && before(target, source + from_bytes)) {
        return find(Rule::kOverlap, call,
                    "B_input and B_output are the same memory: the conversion reads what it has written "
                    "already; give it an output of its own");
    }
    if (type != DType::kInt4 || !int4_bytes) return {};
    const auto outside = [](int8_t value) { return value < -8 || value > 7; };
    const auto count = std::count_if(source, source + elements, outside);
    if (count == 0) return {};
    hint(Rule::kInt4Input, call,
         format("%zu of %zu values of B_input are outside -8 to 7: one byte for each value is read, not "
                "two values in a byte (RKNNSIM_INT4_INPUT)",
                static_cast<size_t>(count), elements));
    return {};
}

void Checker::on_sync(const SyncEvent& event) {
    if (!on() || event.call == nullptr || event.passes == 0 || !event.to_device) return;
    const Memory& memory = event.memory;
    memory.allocation->view().synced(memory.offset, memory.size, event.activity);
}

Outcome Checker::before_sync(const SyncEvent& event) {
    if (!on()) return {};
    const Memory& memory = event.memory;
    const char* call = event.call;
    const bool to_device = event.to_device, from_device = event.from_device;
    Allocation& allocation = *memory.allocation;
    const auto who = [&] {
        return format("memory of %zu bytes at %p", memory.size, static_cast<void*>(memory.cpu()));
    };
    RKNNSIM_RETURN_IF_ERROR(check_overrun(call, who, memory));
    if (memory.imported && !board_.import_syncs) return check_import(event, who);
    if (!allocation.view().cached()) {
        return find(Rule::kNeedlessSync, call,
                    who() + " was made with RKNN_FLAG_MEMORY_NON_CACHEABLE: it needs no sync");
    }
    if (to_device && !from_device &&
        allocation.view().synced_twice(memory.offset, memory.size, event.activity)) {
        RKNNSIM_RETURN_IF_ERROR(find(
            Rule::kNeedlessSync, call,
            who() +
                " was synced already, has not changed and nothing has used it since: leave out this sync"));
    }
    if (from_device && allocation.results().poisoned(allocation.cpu(), memory.offset, memory.size)) {
        return find(Rule::kUncomputed, call,
                    who() + " is bound to C, and no run has written it yet: run first, then sync and read");
    }
    if (from_device && !to_device && !allocation.results().unread(memory.offset, memory.size)) {
        return find(Rule::kNeedlessSync, call,
                    who() +
                        " holds nothing that a run has written since the last sync: leave out this sync "
                        "from the device");
    }
    return {};
}

Outcome Checker::before_release(const char* call, const Memory& memory) {
    if (!on()) return {};
    const auto who = [&] { return format("memory of %zu bytes", memory.size); };
    if (!board_.results_visible && !memory.imported &&
        memory.allocation->results().unused(memory.offset, memory.size)) {
        hint(Rule::kUnreadResult, call,
             who() +
                 " holds a result that no sync from the device has covered and no run has read: sync before "
                 "reading, or spare the run");
    }
    return check_overrun(call, who, memory);
}

}  // namespace rknnsim
