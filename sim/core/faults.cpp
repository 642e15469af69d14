// SPDX-License-Identifier: MIT
#include "core/faults.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "base/format.hpp"

namespace rknnsim {
namespace {

using rknpu2::format;

constexpr int kTimeout = static_cast<int>(Code::kTimeout);

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    for (size_t at = 0; at <= text.size();) {
        const size_t end = std::min(text.find(separator, at), text.size());
        parts.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return parts;
}

bool parse_number(const std::string& text, long long low, long long high, long long* value) {
    if (text.empty()) return false;
    char* end = nullptr;
    errno = 0;
    *value = std::strtoll(text.c_str(), &end, 10);
    return *end == '\0' && errno == 0 && *value >= low && *value <= high;
}

bool parse_unsigned(const std::string& text, uint64_t low, uint64_t high, uint64_t* value) {
    long long parsed = 0;
    if (!parse_number(text, static_cast<long long>(low), static_cast<long long>(high), &parsed)) return false;
    *value = static_cast<uint64_t>(parsed);
    return true;
}

// Evenly spread over 64 bits, the same on every machine (SplitMix64's finaliser).
uint64_t scramble(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

bool drawn(uint64_t seed, size_t index, uint64_t number, double share) {
    const uint64_t bits = scramble(scramble(seed + 0x9e3779b97f4a7c15U * (index + 1)) + number);
    return static_cast<double>(bits >> 11) < share * static_cast<double>(uint64_t{1} << 53);
}

[[noreturn]] void crash(const char* function) {
    std::fprintf(stderr, "rknnsim: %s crashes, as RKNNSIM_FAULTS asks for\n", function);
    std::abort();
}

[[noreturn]] void block(const char* function) {
    std::fprintf(stderr, "rknnsim: %s does not return, as RKNNSIM_FAULTS asks for\n", function);
    while (true)
        pause();
}

}  // namespace

Outcome Faults::parse(const std::string& text, const std::vector<std::string>& functions,
                      std::unique_ptr<Faults>* faults) {
    *faults = std::make_unique<Faults>();
    if (text.empty()) return {};
    for (const std::string& item : split(text, ',')) {
        const std::string why = (*faults)->add(split(item, ':'), functions);
        if (why.empty()) continue;
        return {
            Code::kFail,
            format("RKNNSIM_FAULTS is \"%s\": \"%s\" %s; docs/simulator.md has the grammar; every call will "
                   "fail until it is put right",
                   text.c_str(), item.c_str(), why.c_str())};
    }
    return {};
}

std::string Faults::add(const Words& words, const std::vector<std::string>& functions) {
    if (words[0] == "seed") {
        const bool good = words.size() == 2 && parse_unsigned(words[1], 0, INT64_MAX, &seed_);
        return good ? "" : "has no number";
    }
    auto fault = std::make_unique<Fault>();
    const std::pair<const char*, Kind> kinds[] = {
        {"fail", Kind::kFail},   {"lost", Kind::kLost},   {"hang", Kind::kHang},  {"memory", Kind::kMemory},
        {"delay", Kind::kDelay}, {"crash", Kind::kCrash}, {"block", Kind::kBlock}};
    const auto* kind = std::find_if(std::begin(kinds), std::end(kinds),
                                    [&](const auto& known) { return words[0] == known.first; });
    if (kind == std::end(kinds)) return "is none of fail, lost, hang, memory, delay, crash, block, seed";
    fault->kind = kind->second;
    if (fault->kind != Kind::kFail) fault->code = kTimeout;
    size_t at = 1;
    if (fault->is_of_calls()) {
        if (words.size() < 2 || std::find(functions.begin(), functions.end(), words[1]) == functions.end()) {
            return "names no function that can fail";
        }
        fault->function = words[at++];
    }
    for (; at < words.size(); ++at) {
        std::string why = read(words[at], fault.get());
        if (!why.empty()) return why;
    }
    if ((fault->kind == Kind::kMemory) != (fault->when == When::kNone)) {
        return fault->kind == Kind::kMemory ? "takes no nth, from, every or share"
                                            : "needs one of nth, from, every and share";
    }
    if (fault->kind == Kind::kMemory && fault->bytes == 0) return "needs bytes=";
    if (fault->kind == Kind::kDelay && fault->delay_ns == 0) return "needs us=";
    faults_.push_back(std::move(fault));
    return "";
}

std::string Faults::read_when(const std::string& key, const std::string& value, Fault* fault) {
    if (fault->when != When::kNone) return "has more than one of nth, from, every and share";
    if (key == "share") {
        const char* const end = value.data() + value.size();
        const auto [read, error] = std::from_chars(value.data(), end, fault->share);
        fault->when = When::kShare;
        return error == std::errc() && read == end && fault->share > 0 && fault->share <= 1
                   ? ""
                   : "needs a share above 0 and up to 1";
    }
    fault->when = key == "nth" ? When::kNth : key == "from" ? When::kFrom : When::kEvery;
    return parse_unsigned(value, 1, INT64_MAX, &fault->number) ? "" : "does not count from 1";
}

std::string Faults::read(const std::string& word, Fault* fault) {
    const size_t equal = word.find('=');
    if (equal == std::string::npos) return "has a word without =";
    const std::string key = word.substr(0, equal);
    const std::string value = word.substr(equal + 1);
    if (key == "nth" || key == "from" || key == "every" || key == "share")
        return read_when(key, value, fault);
    if (key == "code" && (fault->kind == Kind::kFail || fault->kind == Kind::kLost)) {
        long long code = 0;
        const long long highest = fault->kind == Kind::kLost ? 0 : -1;
        if (!parse_number(value, -1000, highest, &code)) return "has no negative code";
        fault->code = static_cast<int>(code);
        return "";
    }
    if (key == "core" && fault->kind == Kind::kHang) {
        long long core = 0;
        if (!parse_number(value, 0, kCores - 1, &core)) return "has no core 0 to 2";
        fault->core = static_cast<int>(core);
        return "";
    }
    if (key == "bytes" && fault->kind == Kind::kMemory) {
        return parse_unsigned(value, 1, INT64_MAX, &fault->bytes) ? "" : "has no number of bytes";
    }
    if (key == "us" && fault->kind == Kind::kDelay) {
        if (!parse_unsigned(value, 1, 1000000000, &fault->delay_ns)) return "has no number of microseconds";
        fault->delay_ns *= 1000;
        return "";
    }
    return format("has the word \"%s\", which means nothing there", key.c_str());
}

bool Faults::hits(Fault& fault, size_t index) const {
    if (paused_) return false;
    const uint64_t number = fault.seen.fetch_add(1) + 1;
    switch (fault.when) {
        case When::kNth:
            return number == fault.number;
        case When::kFrom:
            return number >= fault.number;
        case When::kEvery:
            return number % fault.number == 0;
        case When::kShare:
            return drawn(seed_, index, number, fault.share);
        case When::kNone:
            return false;
    }
    return false;
}

int Faults::call(const char* function) {
    int code = 0;
    for (size_t i = 0; i < faults_.size(); ++i) {
        Fault& fault = *faults_[i];
        if (!fault.is_of_calls() || fault.function != function || !hits(fault, i)) continue;
        if (fault.kind == Kind::kCrash) crash(function);
        if (fault.kind == Kind::kBlock) block(function);
        if (code == 0) code = fault.code;
    }
    if (code != 0) ++made_;
    return code;
}

RunFault Faults::run(uint64_t context, int core_mask) {
    RunFault result;
    if (faults_.empty()) return result;
    const std::lock_guard<std::mutex> lock(mutex_);
    int core = core_mask == 4 ? 2 : core_mask == 2 ? 1 : 0;
    if (core_mask == 0) {
        const auto* free = std::find(hung_by_.begin(), hung_by_.end(), 0U);
        core = free == hung_by_.end() ? 0 : static_cast<int>(free - hung_by_.begin());
    }
    for (size_t i = 0; i < faults_.size(); ++i) {
        Fault& fault = *faults_[i];
        if (fault.kind == Kind::kDelay && hits(fault, i)) result.delay_ns += fault.delay_ns;
        if (fault.kind == Kind::kLost && hits(fault, i)) {
            result = {false, fault.code, "the submit was accepted and never ran, as RKNNSIM_FAULTS asks for",
                      result.delay_ns};
        }
        if (fault.kind == Kind::kHang && (fault.core < 0 || fault.core == core) && hits(fault, i)) {
            hung_by_[static_cast<size_t>(core)] = context;
        }
    }
    if (const uint64_t by = hung_by_[static_cast<size_t>(core)]; by != 0) {
        result = {false, kTimeout,
                  format("core %d hangs, as RKNNSIM_FAULTS asks for, until context 0x%llx is destroyed", core,
                         static_cast<unsigned long long>(by)),
                  result.delay_ns};
    }
    if (!result.computes && !paused_) ++made_;
    return result;
}

bool Faults::refuses_memory(uint64_t in_use, uint64_t bytes) const {
    const bool refuses = !paused_ && std::any_of(faults_.begin(), faults_.end(), [&](const auto& fault) {
        return fault->kind == Kind::kMemory && in_use + bytes > fault->bytes;
    });
    if (refuses) ++made_;
    return refuses;
}

void Faults::context_destroyed(uint64_t context) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::replace(hung_by_.begin(), hung_by_.end(), context, uint64_t{0});
}

}  // namespace rknnsim
