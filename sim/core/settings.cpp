// SPDX-License-Identifier: MIT
#include "core/settings.hpp"

#include <sys/auxv.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>

#include "base/format.hpp"
#include "core/kernels/tier.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

using Parse = std::function<bool(const std::string& text, Settings& settings)>;

struct Row {
    const char* name;
    const char* allowed;
    Parse parse;
};

bool parse_integer(const std::string& text, int64_t low, int64_t high, int64_t* value) {
    if (text.empty()) return false;
    char* end = nullptr;
    errno = 0;
    const long long parsed = std::strtoll(text.c_str(), &end, 10);
    if (*end != '\0' || errno != 0 || parsed < low || parsed > high) return false;
    *value = parsed;
    return true;
}

Parse integer(int64_t Settings::*field, int64_t low, int64_t high) {
    return [=](const std::string& text, Settings& settings) {
        return parse_integer(text, low, high, &(settings.*field));
    };
}

template <typename Value>
struct Word {
    const char* text;
    Value value;
};

// One of some words, each with its value; `owner` finds in the settings what `field` is a member of.
template <typename Value, typename Owner, typename Find>
Parse one_of(Value Owner::*field, std::vector<Word<Value>> words, Find owner) {
    return [=](const std::string& text, Settings& settings) {
        for (const Word<Value>& word : words) {
            if (text == word.text) return owner(settings).*field = word.value, true;
        }
        return false;
    };
}

template <typename Value>
Parse one_of(Value Settings::*field, std::vector<Word<Value>> words) {
    return one_of(field, std::move(words), [](Settings& settings) -> Settings& { return settings; });
}

// One of two words; the second one means true.
Parse choice(bool Settings::*field, const char* no, const char* yes) {
    return one_of(field, {{no, false}, {yes, true}});
}

// One of two words for a rule of the cache.
Parse cache_choice(bool CacheRules::*field, const char* no, const char* yes) {
    return one_of(field, {{no, false}, {yes, true}},
                  [](Settings& settings) -> CacheRules& { return settings.cache; });
}

Parse path(std::string Settings::*field) {
    return [=](const std::string& text, Settings& settings) {
        settings.*field = text;
        return true;
    };
}

bool parse_types(const std::string& text, Settings& settings) {
    settings.tp_norm_types.clear();
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(',', at), text.size());
        int64_t type = 0;
        if (!parse_integer(text.substr(at, end - at), 1, 15, &type)) return false;
        settings.tp_norm_types.push_back(static_cast<int>(type));
        at = end + 1;
    }
    return true;
}

// The strictest reading of everything that sources leave open; docs/hardware.csv says where each is from.
void be_the_worst_board(Settings& settings) {
    settings.cache = {.bind_cleans = false,
                      .import_syncs = false,
                      .results_visible = false,
                      .dirty_overwrites = true,
                      .non_cacheable_stale = true};
    settings.contexts = 150;
    settings.contexts_fail = true;
    settings.k_max = 10240;
    settings.quant = QuantReading::kAbort;
    settings.int4_normal_b = Int4NormalB::kRefuseAtBind;
}

bool parse_board(const std::string& text, Settings& settings) {
    if (text == "worst") return be_the_worst_board(settings), true;
    return text == "default";
}

bool parse_kernel(const std::string& text, Settings& settings) {
    settings.kernel = text;
    return find_tier(text.c_str()) != nullptr;
}

const std::vector<Row>& table() {
    static const std::vector<Row> rows = {
        {"RKNNSIM_BOARD", "default or worst", parse_board},  // first: the others win
        {"RKNNSIM_BIND", "cleans or leaves", cache_choice(&CacheRules::bind_cleans, "leaves", "cleans")},
        {"RKNNSIM_IMPORT_SYNC", "works or nothing",
         cache_choice(&CacheRules::import_syncs, "nothing", "works")},
        {"RKNNSIM_RESULTS", "visible or synced",
         cache_choice(&CacheRules::results_visible, "synced", "visible")},
        {"RKNNSIM_DIRTY", "harmless or overwrites",
         cache_choice(&CacheRules::dirty_overwrites, "harmless", "overwrites")},
        {"RKNNSIM_NON_CACHEABLE", "stale or coherent",
         cache_choice(&CacheRules::non_cacheable_stale, "coherent", "stale")},
        {"RKNNSIM_KERNEL", "auto, reference, generic, or avx2 on a CPU that has it", parse_kernel},
        {"RKNNSIM_FAULTS", "", [](const std::string& text, Settings& s) { return s.faults = text, true; }},
        {"RKNNSIM_CHECK", "off, warn or strict",
         one_of(&Settings::check,
                {{"off", CheckMode::kOff}, {"warn", CheckMode::kWarn}, {"strict", CheckMode::kStrict}})},
        {"RKNNSIM_SHADOW", "auto, lazy or full",
         one_of(&Settings::shadow_b_bytes,
                {{"auto", Settings::kShadowAuto}, {"lazy", 0}, {"full", INT64_MAX}})},
        {"RKNNSIM_K_MAX", "32 to 1048576", integer(&Settings::k_max, 32, Settings::kNoLimit)},
        {"RKNNSIM_N_MAX", "16 to 1048576", integer(&Settings::n_max, 16, Settings::kNoLimit)},
        {"RKNNSIM_M_MAX", "1 to 1048576", integer(&Settings::m_max, 1, Settings::kNoLimit)},
        {"RKNNSIM_CONTEXTS", "1 to 1000000", integer(&Settings::contexts, 1, 1000000)},
        {"RKNNSIM_MANY_CONTEXTS", "warn or fail", choice(&Settings::contexts_fail, "warn", "fail")},
        {"RKNNSIM_CORE_MASK", "reject or auto", choice(&Settings::several_cores_fall_back, "reject", "auto")},
        {"RKNNSIM_NORMAL_A", "bind or run", choice(&Settings::normal_a_at_run, "bind", "run")},
        {"RKNNSIM_DOMAIN_BYTES", "65536 to 4294967296",
         integer(&Settings::domain_bytes, 65536, int64_t{4} << 30)},
        {"RKNNSIM_TP_NORM_TYPES", "type numbers separated by commas", parse_types},
        {"RKNNSIM_INT4_NORMAL_B", "reject, refuse-at-bind or allow",
         one_of(&Settings::int4_normal_b, {{"reject", Int4NormalB::kReject},
                                           {"refuse-at-bind", Int4NormalB::kRefuseAtBind},
                                           {"allow", Int4NormalB::kAllow}})},
        {"RKNNSIM_INT4_INPUT", "nibbles or bytes", choice(&Settings::int4_bytes, "nibbles", "bytes")},
        {"RKNNSIM_INT4_SATURATE", "run or segment",
         one_of(&Settings::int4_saturation,
                {{"run", Int4Saturation::kRun}, {"segment", Int4Saturation::kSegment}})},
        {"RKNNSIM_INT8_ROUND", "half-even, half-away or down",
         one_of(&Settings::rounding, {{"half-even", Rounding::kHalfEven},
                                      {"half-away", Rounding::kHalfAway},
                                      {"down", Rounding::kDown}})},
        {"RKNNSIM_QUANT", "zeros, reject or abort",
         one_of(&Settings::quant, {{"reject", QuantReading::kReject},
                                   {"zeros", QuantReading::kZeros},
                                   {"abort", QuantReading::kAbort}})},
        {"RKNNSIM_DYNAMIC_INFO", "ignore or match",
         choice(&Settings::dynamic_info_matters, "ignore", "match")},
        {"RKNNSIM_DYNAMIC_SHAPES", "transposed or rows",
         choice(&Settings::dynamic_rows_only, "transposed", "rows")},
        {"RKNNSIM_FOREIGN_MEMORY", "context or domain",
         choice(&Settings::foreign_memory, "context", "domain")},
        {"RKNNSIM_REBIND_B", "reject or allow", choice(&Settings::rebind_b, "reject", "allow")},
        {"RKNNSIM_DESTROY", "warn or strict", choice(&Settings::strict_destroy, "warn", "strict")},
        {"RKNNSIM_THREADS", "strict or serialise", choice(&Settings::serialise, "strict", "serialise")},
        {"RKNNSIM_PROFILE", "a file", path(&Settings::profile)},
        {"RKNNSIM_REPORT", "a file, or - for stderr", path(&Settings::report)},
        {"RKNNSIM_TRACE", "a file", path(&Settings::trace)},
        {"RKNNSIM_REALTIME", "0 or 1", choice(&Settings::real_time, "0", "1")},
        {"RKNNSIM_UNBOUND", "zeros or fail", choice(&Settings::unbound_fails, "zeros", "fail")},
    };
    return rows;
}

bool known(const std::string& name) {
    for (const Row& row : table()) {
        if (name == row.name) return true;
    }
    return false;
}

}  // namespace

std::vector<std::string> Settings::names() {
    std::vector<std::string> all;
    for (const Row& row : table())
        all.emplace_back(row.name);
    return all;
}

Outcome Settings::from_environment(Settings* settings) {
    *settings = {};
    for (const Row& row : table()) {
        // A program that runs with more rights than its user must not write the files that the user names.
        const char* text = secure_getenv(row.name);
        if (text == nullptr) continue;
        if (!row.parse(text, *settings)) {
            return {Code::kFail,
                    format("%s is \"%s\", but must be %s; every call will fail until it is put right",
                           row.name, text, row.allowed)};
        }
    }
    if (getauxval(AT_SECURE) != 0) return {};
    for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
        if (std::strncmp(*variable, "RKNNSIM_", 8) != 0) continue;
        const std::string name(*variable, std::strcspn(*variable, "="));
        if (!known(name)) settings->unknown.push_back(name);
    }
    return {};
}

}  // namespace rknnsim
