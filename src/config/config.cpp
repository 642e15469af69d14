// SPDX-License-Identifier: MIT
#include "config/config.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/format.hpp"
#include "base/parse_int.hpp"

namespace rknpu2 {
namespace {

constexpr std::string_view kPrefix = "GGML_RKNPU2_";
constexpr int kMaxThreads = 256;
constexpr int kColumnStep = 64;
constexpr int kMaxColumns = 131072;
constexpr int kMaxCacheMb = 1 << 20;
constexpr int kMinContexts = 64;
constexpr int kMaxContexts = 100000;
constexpr int kMaxStartWait = 60;
constexpr size_t kMaxOnError = 8;

constexpr std::array kOnErrors = {OnError::kRetry, OnError::kReset, OnError::kCpu, OnError::kFail};

Status parse_runtime(const std::string& text, Config& config) {
    config.runtime = text;
    return {};
}

Status parse_precision(const std::string& text, Config& config) {
    for (const Precision precision : {Precision::kBalanced, Precision::kFast, Precision::kExact,
                                      Precision::kReference, Precision::kNaive}) {
        if (text == precision_name(precision)) {
            config.precision = precision;
            return {};
        }
    }
    return {StatusCode::kInvalidArgument, "not a precision"};
}

Status parse_range(const std::string& text, int low, int high, int& out) {
    const std::optional<int> value = parse_int(text);
    if (!value || *value < low || *value > high) return {StatusCode::kInvalidArgument, "not in the range"};
    out = *value;
    return {};
}

Status parse_cores(const std::string& text, Config& config) {
    return parse_range(text, 1, 3, config.cores);
}
Status parse_columns(const std::string& text, Config& config) {
    const std::optional<int> columns = parse_int(text);
    if (!columns || !is_columns(*columns)) return {StatusCode::kInvalidArgument, "not in the range"};
    config.columns = *columns;
    return {};
}
Status parse_threads(const std::string& text, Config& config) {
    return parse_range(text, 0, kMaxThreads, config.threads);
}

Status parse_affinity(const std::string& text, Config& config) {
    Result<std::vector<int>> list = parse_cpu_list(text);
    RKNPU2_RETURN_IF_ERROR(list.status());
    config.affinity = list.take();
    return {};
}

Status parse_counters(const std::string& text, Config& config) {
    config.counters_file = text;
    return {};
}

Status parse_calibrate(const std::string& text, Config& config) {
    config.calibrate_file = text;
    return {};
}

Status parse_activation_stats(const std::string& text, Config& config) {
    config.activation_stats = text;
    return {};
}

Status parse_sensitivity(const std::string& text, Config& config) {
    config.sensitivity_file = text;
    return {};
}

Status parse_checksums(const std::string& text, Config& config) {
    config.checksums_file = text;
    return {};
}

Status parse_switch(const std::string& text, bool& value) {
    if (text != "0" && text != "1") return {StatusCode::kInvalidArgument, "neither 0 nor 1"};
    value = text == "1";
    return {};
}

Status parse_experts(const std::string& text, Config& config) {
    if (text == "auto") {
        config.experts = Experts::kAuto;
    } else if (text == "npu") {
        config.experts = Experts::kNpu;
    } else if (text == "cpu") {
        config.experts = Experts::kCpu;
    } else {
        return {StatusCode::kInvalidArgument, "not a place for experts"};
    }
    return {};
}

Status parse_matrices(const std::string& text, Config& config) {
    if (text != "npu" && text != "auto") return {StatusCode::kInvalidArgument, "neither npu nor auto"};
    config.matrices = text == "npu" ? Matrices::kNpu : Matrices::kAuto;
    return {};
}

// Nothing follows cpu or fail: neither leaves anything to do.
Status parse_on_error(const std::string& text, Config& config) {
    std::vector<OnError> steps;
    std::string_view rest(text);
    for (bool more = true; more;) {
        const size_t comma = rest.find(',');
        const std::string_view name = rest.substr(0, comma);
        more = comma != std::string_view::npos;
        if (more) rest.remove_prefix(comma + 1);
        const auto* const step = std::find_if(kOnErrors.begin(), kOnErrors.end(),
                                              [&](OnError known) { return name == on_error_name(known); });
        const bool last = step == kOnErrors.end() || *step == OnError::kCpu || *step == OnError::kFail;
        if (step == kOnErrors.end() || (last && more) || steps.size() == kMaxOnError)
            return {StatusCode::kInvalidArgument, "not a list of steps"};
        steps.push_back(*step);
    }
    config.on_error = steps;
    return {};
}

// A file has a slash in its name, so that a misspelt word does not become one.
Status parse_auto_none_or_file(const std::string& text, std::string& to) {
    if (text != "auto" && text != "none" && text.find('/') == std::string::npos)
        return {StatusCode::kInvalidArgument, "not a file"};
    to = text;
    return {};
}
Status parse_lock(const std::string& text, Config& config) {
    return parse_auto_none_or_file(text, config.lock);
}
Status parse_profile(const std::string& text, Config& config) {
    return parse_auto_none_or_file(text, config.profile);
}

// auto, or a number.
Status parse_contexts(const std::string& text, Config& config) {
    config.contexts = 0;
    return text == "auto" ? Status() : parse_range(text, kMinContexts, kMaxContexts, config.contexts);
}

Status parse_malloc_mmap(const std::string& text, Config& config) {
    if (text == "auto") {
        config.malloc_mmap = MallocMmap::kAuto;
    } else if (text == "keep") {
        config.malloc_mmap = MallocMmap::kKeep;
    } else if (text == "off") {
        config.malloc_mmap = MallocMmap::kOff;
    } else {
        return {StatusCode::kInvalidArgument, "neither auto nor keep nor off"};
    }
    return {};
}

Status parse_coherency(const std::string& text, Config& config) {
    if (text == "auto") return config.coherency = CoherencyChoice::kAuto, Status();
    if (text == "owner") return config.coherency = CoherencyChoice::kOwner, Status();
    if (text == "lines") return config.coherency = CoherencyChoice::kLines, Status();
    return {StatusCode::kInvalidArgument, "not a way to maintain the cache"};
}

Status parse_start_wait(const std::string& text, Config& config) {
    return parse_range(text, 0, kMaxStartWait, config.start_wait);
}

Status parse_fuse(const std::string& text, Config& config) {
    return parse_switch(text, config.fuse);
}

Status parse_abi(const std::string& text, Config& config) {
    return parse_switch(text, config.allow_abi_mismatch);
}

std::string environment_value(const char* name) {
    const char* const text = std::getenv(name);
    return text != nullptr ? text : "";
}

// Our folder below the one of the XDG variable, or of that name in the user's home; empty: there is no home.
std::string user_directory(const char* variable, const char* in_home) {
    if (const std::string folder = environment_value(variable); !folder.empty())
        return folder + "/ggml-rknpu2";
    const std::string home = environment_value("HOME");
    return home.empty() ? "" : home + "/" + in_home + "/ggml-rknpu2";
}

// As the scripts find it: RKNPU2_CACHE, or ggml-rknpu2 in the user's cache directory.
std::string cache_directory() {
    if (std::string own = environment_value("RKNPU2_CACHE"); !own.empty()) return own;
    return user_directory("XDG_CACHE_HOME", ".cache");
}

// A directory has a slash in its name, so that a misspelt word does not become one.
Status parse_weight_cache(const std::string& text, Config& config) {
    config.weight_cache_directory.clear();
    if (text == "off") return {};
    std::string directory = text;
    if (text == "auto") {
        const std::string cache = cache_directory();
        if (cache.empty()) return {StatusCode::kInvalidArgument, "there is no cache directory"};
        directory = cache + "/weights";
    }
    if (directory.find('/') == std::string::npos) return {StatusCode::kInvalidArgument, "not a directory"};
    config.weight_cache_directory = directory;
    return {};
}

Status parse_weight_cache_mb(const std::string& text, Config& config) {
    return parse_range(text, 1, kMaxCacheMb, config.weight_cache_mb);
}

struct Setting {
    const char* name;
    const char* type;
    const char* default_text;
    const char* range;
    const char* help;
    Status (*parse)(const std::string&, Config&);
};

constexpr std::array kSettings = {
    Setting{"GGML_RKNPU2_RUNTIME", "text", "auto", "auto, sim, or the path of a librknnrt.so",
            "auto: the vendor's library, if there is an NPU; sim: the simulator", parse_runtime},
    Setting{"GGML_RKNPU2_PRECISION", "name", "balanced", "balanced, fast, exact, reference, naive",
            "arithmetic of the matrix multiplications", parse_precision},
    Setting{"GGML_RKNPU2_CORES", "number", "3", "1 to 3", "NPU cores to use", parse_cores},
    Setting{"GGML_RKNPU2_COLUMNS", "number", "16384", "64 to 131072, a multiple of 64",
            "widest run of the NPU; the vendor documents 4096, for a board where wider runs fail; results "
            "are alike",
            parse_columns},
    Setting{"GGML_RKNPU2_THREADS", "number", "0", "0 to 256",
            "CPU threads that quantise and pack; 0: one for each fast CPU core", parse_threads},
    Setting{"GGML_RKNPU2_AFFINITY", "CPU list", "", "such as 4-7 or 0,2",
            "CPUs for our threads; empty: the Cortex-A76 cores of an RK3588, any elsewhere", parse_affinity},
    Setting{"GGML_RKNPU2_STATS", "file", "", "a path; %p becomes the process id",
            "write the process's counters there at its end, as JSON", parse_counters},
    Setting{"GGML_RKNPU2_CALIBRATE", "file", "", "a path; %p becomes the process id",
            "gather statistics of activations and write them there at the end", parse_calibrate},
    Setting{"GGML_RKNPU2_STATISTICS", "file", "auto",
            "auto, none, or a file that GGML_RKNPU2_CALIBRATE has made",
            "statistics of activations to pack weights with, for better int8; auto: the model's in the cache "
            "directory, if any",
            parse_activation_stats},
    Setting{
        "GGML_RKNPU2_SENSITIVITY", "file", "", "a path; %p becomes the process id",
        "measure what a second plane is worth for each weight and write the statistics with it there; slow",
        parse_sensitivity},
    Setting{"GGML_RKNPU2_CHECKSUMS", "file", "", "a path; %p becomes the process id",
            "write hashes of each different row that is multiplied and of its result, to compare processes; "
            "slower",
            parse_checksums},
    Setting{"GGML_RKNPU2_WEIGHT_CACHE", "directory", "off",
            "off, auto (where there is a cache directory), or the path of a directory, with a slash in it",
            "keep packed weights in files, so that later starts are faster; auto: in the cache directory",
            parse_weight_cache},
    Setting{"GGML_RKNPU2_WEIGHT_CACHE_MB", "number", "8192", "1 to 1048576",
            "MiB that those files may take together; the longest unused go first", parse_weight_cache_mb},
    Setting{"GGML_RKNPU2_EXPERTS", "name", "auto", "auto, npu, cpu",
            "where experts are computed; auto: by a cost model, call by call", parse_experts},
    Setting{
        "GGML_RKNPU2_MATRICES", "name", "npu", "npu, auto",
        "where plain matrices are multiplied; auto: by a cost model, which leaves single tokens of four-bit "
        "weights to the CPU",
        parse_matrices},
    Setting{
        "GGML_RKNPU2_ON_ERROR", "list", "retry,reset,fail",
        "a list of retry and reset, at most eight in all, that may end with cpu or fail",
        "what to do, in this order, when the NPU fails a multiplication; retry: once more in new contexts; "
        "reset: once more without old contexts and work areas; cpu: slowly, as precision reference; fail, or "
        "the end of the list: the graph fails",
        parse_on_error},
    Setting{
        "GGML_RKNPU2_CONTEXTS", "number", "auto", "auto, or 64 to 100000",
        "contexts of the NPU to keep, one for each shape and core; auto: 120 to 1000, by ulimit -n, and 120 "
        "after a first failure with more",
        parse_contexts},
    Setting{
        "GGML_RKNPU2_MALLOC_MMAP", "name", "auto", "auto, keep, off",
        "may glibc map large blocks by themselves, which the vendor's library was seen to unmap; auto: not "
        "with that library; keep: as the program has it; off: never",
        parse_malloc_mmap},
    Setting{
        "GGML_RKNPU2_COHERENCY", "name", "auto", "auto, owner, lines",
        "how the CPU's cache is maintained for the NPU; owner: whole buffers, by the runtime; lines: exact "
        "ranges, by the CPU; auto: what the board's profile says, else owner",
        parse_coherency},
    Setting{"GGML_RKNPU2_START_WAIT", "number", "5", "0 to 60",
            "seconds in which a start tries again when the NPU refuses it, as after a process was killed; "
            "not with "
            "the simulator",
            parse_start_wait},
    Setting{"GGML_RKNPU2_LOCK", "file", "auto", "auto, none, or the path of a file, with a slash in it",
            "the file by which processes take turns; auto: in /run/lock or /tmp, none for the simulator",
            parse_lock},
    Setting{
        "GGML_RKNPU2_PROFILE", "file", "auto", "auto, none, or the path of a file, with a slash in it",
        "what rknpu2-doctor has found; auto: the file for this board and runtime in ~/.config/ggml-rknpu2 or "
        "/etc/ggml-rknpu2; none: the defaults, which rely on the fewest guesses",
        parse_profile},
    Setting{"GGML_RKNPU2_FUSE", "switch", "1", "0 or 1",
            "0: compute every operation by itself, to compare results; slower", parse_fuse},
    Setting{"GGML_RKNPU2_ALLOW_ABI_MISMATCH", "switch", "0", "0 or 1",
            "1: load into a ggml whose structures may differ; may crash", parse_abi},
};

const char* environment_of(const Setting& setting) {
    const char* text = std::getenv(setting.name);
    return text != nullptr && *text != '\0' ? text : nullptr;
}

std::vector<std::string> unknown_names() {
    std::vector<std::string> names;
    for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
        const std::string_view line(*entry);
        const std::string_view name = line.substr(0, line.find('='));
        if (name.substr(0, kPrefix.size()) != kPrefix) continue;
        bool known = false;
        for (const Setting& setting : kSettings)
            known = known || name == setting.name;
        if (!known) names.emplace_back(name);
    }
    return names;
}

}  // namespace

bool is_columns(int columns) {
    return columns >= kColumnStep && columns <= kMaxColumns && columns % kColumnStep == 0;
}

Result<Config> Config::from_environment() {
    Config config;
    if (const std::string cache = cache_directory(); !cache.empty())
        config.activation_stats_directory = cache + "/statistics";
    config.profile_directory = user_directory("XDG_CONFIG_HOME", ".config");
    for (const Setting& setting : kSettings) {
        const char* text = environment_of(setting);
        if (text == nullptr) continue;
        config.given[setting.name] = text;
        if (!setting.parse(text, config).ok()) {
            return Status(StatusCode::kInvalidArgument,
                          format("%s=%s: must be %s", setting.name, printable(text).c_str(), setting.range));
        }
    }
    config.unknown = unknown_names();
    return config;
}

std::string different_settings(const Config& a, const Config& b) {
    std::string names;
    for (const Setting& setting : kSettings) {
        const auto of_a = a.given.find(setting.name);
        const auto of_b = b.given.find(setting.name);
        const bool one = of_a == a.given.end();
        const bool other = of_b == b.given.end();
        if (one == other && (one || of_a->second == of_b->second)) continue;
        names += (names.empty() ? "" : ", ") + std::string(setting.name);
    }
    return names;
}

std::vector<SettingInfo> describe_settings() {
    std::vector<SettingInfo> rows;
    for (const Setting& setting : kSettings) {
        const char* text = environment_of(setting);
        rows.push_back({setting.name, setting.type, setting.default_text, setting.range, setting.help,
                        text != nullptr ? text : setting.default_text});
    }
    return rows;
}

}  // namespace rknpu2
