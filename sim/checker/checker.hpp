// SPDX-License-Identifier: MIT
// Watches a program for what a board would punish with garbage, a hang or a leak, though each call alone is
// legal.
//
// docs/simulator-checks.csv has the rules. The checker counts each finding and prints up to kLines of a rule,
// each as one line that names the call, the context, the shape and what to do. In strict mode the call fails
// in which it was found. Hints (unwritten, clipped, int4-input, unread-result, a guessed padding) never fail
// a call, because a program may mean it. Three rules exist only on boards where the CPU's cache is followed
// line by line (CacheRules): import-sync, dirty-result, unread-result. The checker also counts what the core
// refuses by itself (Outcome::rule).
//
// Cost: before a run A is compared with the device's view of it; of larger B and of normal-layout operands
// only a fingerprint (core/fingerprint.hpp), of every byte in strict mode. Thread safe.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <string>

#include "core/context.hpp"
#include "core/observer.hpp"
#include "core/process.hpp"

namespace rknnsim {

// The name by which messages and rknnsim_check_count() know a rule.
const char* rule_name(Rule rule);

class Checker : public Observer {
  public:
    // Writes one line; must be thread safe.
    using Print = void (*)(const char* kind, const char* function, const std::string& text);

    static constexpr uint64_t kLines = 20;  // of one rule, before it is only counted

    Checker(const Settings& settings, Print print)
        : mode_(settings.check), print_(print), board_(settings.cache), contexts_(settings.contexts) {}

    bool on() const { return mode_ != CheckMode::kOff; }

    // Counts a rule that the core has refused to break.
    void count(Rule rule) { ++counts()[static_cast<size_t>(rule)]; }
    // Counts and prints what the caller has found; an error in strict mode.
    Outcome find(Rule rule, const char* function, const std::string& text);

    // How often this process broke the rule: a forked child begins at 0.
    uint64_t count_of(Rule rule) const { return counts()[static_cast<size_t>(rule)]; }

    Outcome before_sync(const SyncEvent& event) override;
    Outcome before_run(const RunRequest& request) override;
    Outcome before_conversion(const ConversionRequest& request) override;
    Outcome before_release(const char* call, const Memory& memory) override;
    void on_sync(const SyncEvent& event) override;
    void on_result(const char* call, const Context& context) override;

  private:
    // What a message calls its subject; asked for only when there is something to say.
    using Name = std::function<std::string()>;

    bool strict() const { return mode_ == CheckMode::kStrict; }
    Outcome check_context_count(const RunRequest& request);
    Outcome check_input(const char* call, const Context& context, const BoundOperand& operand);
    Outcome check_result(const char* call, const Context& context, const BoundOperand& result);
    Outcome check_import(const SyncEvent& event, const Name& who);
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
    const int64_t contexts_;  // more of them are a finding
    std::atomic<bool> many_contexts_said_{false};
    using Counts = std::array<std::atomic<uint64_t>, kRules>;
    Counts& counts() const;
    mutable std::atomic<pid_t> process_ = process_id();  // whose counts these are
    mutable Counts counts_{};
};

}  // namespace rknnsim
