// Watches a program for what a board would punish with garbage, a hang or a leak, though each call alone is
// legal.
//
// The rules are below; docs/simulator.md describes them for users. A finding is counted and, up to kLines of
// a rule, printed as one line that names the call, the context, the shape and what to do. In strict mode the
// call that it was found in fails; hints (unwritten, clipped, int4-input, unread-result, a guessed padding)
// never fail a call, because a program may mean it. Three rules exist only on boards where the CPU's cache is
// followed line by line (CacheRules): import-sync, dirty-result, unread-result. What the core refuses by
// itself (Outcome::rule) is counted here too.
//
// Cost: before a run A is compared with the device's view of it; of larger B and of normal-layout operands
// only a fingerprint (core/fingerprint.hpp), of every byte in strict mode. Thread safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "core/context.hpp"
#include "core/process.hpp"

namespace rknnsim {

// The name by which messages and rknnsim_check_count() know a rule.
const char* rule_name(Rule rule);

class Checker {
  public:
    // Writes one line; must be thread safe.
    using Print = void (*)(const char* kind, const char* function, const std::string& text);

    static constexpr uint64_t kLines = 20;  // of one rule, before it is only counted

    Checker(CheckMode mode, Print print, const CacheRules& board = {})
        : mode_(mode), print_(print), board_(board) {}

    bool on() const { return mode_ != CheckMode::kOff; }
    bool strict() const { return mode_ == CheckMode::kStrict; }

    // What the core has refused, or what the caller of this class saw itself.
    void count(Rule rule) { ++counts()[static_cast<size_t>(rule)]; }
    Outcome find(Rule rule, const char* function, const std::string& text);

    // How often this process broke the rule: a forked child begins at 0.
    uint64_t count_of(Rule rule) const { return counts()[static_cast<size_t>(rule)]; }

    // Before the core acts on `call`, which is how the caller knows it. An error only in strict mode.
    Outcome before_run(const char* call, const Context& context);
    void after_run(const char* call, const Context& context);
    // The conversion of B from `from` to `to`; `values`: int4 is read as a byte for each element.
    Outcome before_conversion(const char* call, const Problem& problem, bool values, const void* from,
                              const void* to);
    // `activity`: how many calls the program has made that were no syncs.
    Outcome before_sync(const char* call, const Memory& memory, bool to_device, bool from_device,
                        uint64_t activity);
    Outcome before_release(const char* call, const Memory& memory);

  private:
    // What a message calls its subject; asked for only when there is something to say.
    using Name = std::function<std::string()>;

    Outcome check_input(const char* call, const Context& context, const BoundOperand& operand);
    Outcome check_result(const char* call, const Context& context, const BoundOperand& result);
    Outcome check_import(const char* call, const Name& who, const Memory& memory, bool to_device,
                         bool from_device);
    Outcome check_overlap(const char* call, const Context& context, const BoundOperand& input,
                          const BoundOperand& result);
    Outcome check_padding(const char* call, const Context& context, const BoundOperand& a,
                          const BoundOperand& b);
    Outcome check_overrun(const char* function, const Name& who, const Memory& memory);
    void hint(Rule rule, const char* function, const std::string& text);
    void say(Rule rule, const char* function, const std::string& text);

    const CheckMode mode_;
    const Print print_;
    const CacheRules board_;
    using Counts = std::array<std::atomic<uint64_t>, kRules>;
    Counts& counts() const;
    mutable std::atomic<pid_t> process_ = process_id();  // whose counts these are
    mutable Counts counts_{};
};

}  // namespace rknnsim
