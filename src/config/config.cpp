// SPDX-License-Identifier: MIT
#include "config/config.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <string_view>
#include <type_traits>

#include "base/format.hpp"
#include "base/key_values.hpp"

namespace rknpu2 {
namespace {

constexpr std::string_view kPrefix = "GGML_RKNPU2_";
constexpr int kColumnStep = 64;
constexpr int kMaxColumns = 131072;
constexpr int kMaxCpu = 1023;
constexpr size_t kMaxOnError = 8;

// What an enumeration's values are called, in its order.
constexpr std::array kPrecisionNames = {"balanced", "fast", "exact", "reference", "naive", "compact"};
constexpr std::array kExpertsNames = {"auto", "npu", "cpu"};
constexpr std::array kAttentionNames = {"auto", "npu", "cpu"};
constexpr std::array kMatricesNames = {"auto", "npu"};
constexpr std::array kCoherencyNames = {"auto", "owner", "lines"};
constexpr std::array kMallocMmapNames = {"auto", "keep", "off"};
constexpr std::array kOnErrorNames = {"retry", "reset", "cpu", "fail"};

// Each of these takes a setting's text into the configuration. False: the setting cannot be that.

template <std::string Config::*kTo>
bool text(const std::string& text, Config& config) {
    config.*kTo = text;
    return true;
}

template <int Config::*kTo, int kLow, int kHigh>
bool number(const std::string& text, Config& config) {
    const std::optional<int> value = parse_int(text);
    if (!value || *value < kLow || *value > kHigh) return false;
    config.*kTo = *value;
    return true;
}

template <bool Config::*kTo>
bool zero_or_one(const std::string& text, Config& config) {
    config.*kTo = text == "1";
    return text == "0" || text == "1";
}

template <auto kTo, const auto& kNames>
bool one_of(const std::string& text, Config& config) {
    const auto found = std::find(kNames.begin(), kNames.end(), text);
    if (found == kNames.end()) return false;
    auto& value = config.*kTo;
    value = static_cast<std::remove_reference_t<decltype(value)>>(found - kNames.begin());
    return true;
}

// A file has a slash in its name, so that a misspelt word does not become one.
template <std::string Config::*kTo>
bool auto_none_or_file(const std::string& text, Config& config) {
    config.*kTo = text;
    return text == "auto" || text == "none" || text.find('/') != std::string::npos;
}

bool rates(const std::string& text, Config& config) {
    config.rates = text;
    return text == "auto" || text == "model" || text == "measure" || text.find('/') != std::string::npos;
}

bool columns(const std::string& text, Config& config) {
    config.columns = parse_int(text).value_or(0);
    return is_columns(config.columns);
}

// Such as 0.63: a digit, and up to three behind a point.
bool compact_bytes(const std::string& text, Config& config) {
    constexpr size_t kLongest = 5;
    const bool shaped = text.size() <= kLongest &&
                        text.find_first_not_of("0123456789.") == std::string::npos &&
                        (text.size() == 1 || text.find('.') == 1) && text.find('.') == text.rfind('.');
    if (!shaped || text.empty() || text == "." || text.back() == '.') return false;
    config.compact_bytes = text[0] - '0';
    double unit = 1;
    for (const char digit : text.substr(std::min<size_t>(2, text.size())))
        config.compact_bytes += (digit - '0') * (unit /= 10);
    return config.compact_bytes >= kLeastCompactBytes && config.compact_bytes <= kMostCompactBytes;
}

bool contexts(const std::string& text, Config& config) {
    config.contexts = 0;
    return text == "auto" || number<&Config::contexts, 64, 100000>(text, config);
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> items;
    for (size_t at = 0; at <= text.size();) {
        const size_t comma = std::min(text.find(',', at), text.size());
        items.push_back(text.substr(at, comma - at));
        at = comma + 1;
    }
    return items;
}

// Such as "4-7,9"; a comma may end it.
bool cpu_list(const std::string& text, Config& config) {
    std::vector<bool> listed(kMaxCpu + 1);  // once is enough, or a short text would be a long list
    for (const std::string& item : split(text.ends_with(',') ? text.substr(0, text.size() - 1) : text)) {
        const size_t dash = item.find('-');
        const std::optional<int> first = parse_int(std::string_view(item).substr(0, dash));
        const std::optional<int> last =
            dash == std::string::npos ? first : parse_int(std::string_view(item).substr(dash + 1));
        if (!first || !last || *first < 0 || *last < *first || *last > kMaxCpu) return false;
        for (int cpu = *first; cpu <= *last; ++cpu) {
            if (!listed[static_cast<size_t>(cpu)]) config.affinity.push_back(cpu);
            listed[static_cast<size_t>(cpu)] = true;
        }
    }
    return true;
}

// Nothing follows cpu or fail: neither leaves anything to do.
bool on_error(const std::string& text, Config& config) {
    config.on_error.clear();
    for (const std::string& name : split(text)) {
        const auto found = std::find(kOnErrorNames.begin(), kOnErrorNames.end(), name);
        const bool over = !config.on_error.empty() && config.on_error.back() >= OnError::kCpu;
        if (found == kOnErrorNames.end() || over || config.on_error.size() == kMaxOnError) return false;
        config.on_error.push_back(static_cast<OnError>(found - kOnErrorNames.begin()));
    }
    return true;
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
bool weight_cache(const std::string& text, Config& config) {
    config.weight_cache_directory = text == "off" ? "" : text;
    if (text == "auto") {
        const std::string cache = cache_directory();
        if (cache.empty()) return false;
        config.weight_cache_directory = cache + "/weights";
    }
    return text == "off" || config.weight_cache_directory.find('/') != std::string::npos;
}

struct Setting {
    const char* name;
    const char* type;
    const char* default_text;
    const char* range;
    const char* help;
    bool (*take)(const std::string&, Config&);
};

constexpr std::array kSettings = {
    Setting{"GGML_RKNPU2_RUNTIME", "text", "auto", "auto, sim, or the path of a librknnrt.so",
            "auto: the vendor's library, if there is an NPU; sim: the simulator", text<&Config::runtime>},
    Setting{"GGML_RKNPU2_PRECISION", "name", "balanced", "balanced, fast, exact, reference, naive, compact",
            "arithmetic of the matrix multiplications", one_of<&Config::precision, kPrecisionNames>},
    Setting{"GGML_RKNPU2_COMPACT_BYTES", "number", "0.63", "0.5 to 1, such as 0.75",
            "with precision compact: bytes a weight on average, at most; what 0.5 leaves goes to weights "
            "that keep "
            "eight bits",
            compact_bytes},
    Setting{"GGML_RKNPU2_CORES", "number", "3", "1 to 3", "NPU cores to use", number<&Config::cores, 1, 3>},
    Setting{
        "GGML_RKNPU2_COLUMNS", "number", "16384", "64 to 131072, a multiple of 64",
        "widest run of the NPU; 4096, which the vendor documents, helps where wider runs fail; results do "
        "not change",
        columns},
    Setting{"GGML_RKNPU2_THREADS", "number", "0", "0 to 256",
            "CPU threads that quantise and pack; 0: one for each fast CPU core",
            number<&Config::threads, 0, 256>},
    Setting{"GGML_RKNPU2_AFFINITY", "CPU list", "", "such as 4-7 or 0,2",
            "CPUs for our threads; empty: the Cortex-A76 cores of an RK3588, any elsewhere", cpu_list},
    Setting{"GGML_RKNPU2_STATS", "file", "", "a path; %p becomes the process id",
            "write the process's counters there at its end, as JSON", text<&Config::counters_file>},
    Setting{"GGML_RKNPU2_CALIBRATE", "file", "", "a path; %p becomes the process id",
            "gather statistics of activations and write them there at the end",
            text<&Config::calibrate_file>},
    Setting{"GGML_RKNPU2_STATISTICS", "file", "auto",
            "auto, none, or a file that GGML_RKNPU2_CALIBRATE has made",
            "statistics of activations to pack weights with, for better int8; auto: the model's in the cache "
            "directory, if any",
            text<&Config::activation_stats>},
    Setting{
        "GGML_RKNPU2_SENSITIVITY", "file", "", "a path; %p becomes the process id",
        "measure what a second plane is worth for each weight and write the statistics with it there; slow",
        text<&Config::sensitivity_file>},
    Setting{"GGML_RKNPU2_CHECKSUMS", "file", "", "a path; %p becomes the process id",
            "write hashes of each different row that is multiplied and of its result, to compare processes; "
            "slower",
            text<&Config::checksums_file>},
    Setting{"GGML_RKNPU2_WEIGHT_CACHE", "directory", "off",
            "off, auto (where there is a cache directory), or the path of a directory, with a slash in it",
            "keep packed weights in files, so that later starts are faster; auto: in the cache directory",
            weight_cache},
    Setting{"GGML_RKNPU2_WEIGHT_CACHE_MB", "number", "8192", "1 to 1048576",
            "MiB that those files may take together; the longest unused go first",
            number<&Config::weight_cache_mb, 1, 1048576>},
    Setting{"GGML_RKNPU2_EXPERTS", "name", "auto", "auto, npu, cpu",
            "where experts are computed; auto: by a cost model, call by call",
            one_of<&Config::experts, kExpertsNames>},
    Setting{
        "GGML_RKNPU2_MATRICES", "name", "auto", "auto, npu",
        "where plain matrices are multiplied; auto: where it is faster by a cost model, if there is memory "
        "for what both need; npu: always there",
        one_of<&Config::matrices, kMatricesNames>},
    Setting{"GGML_RKNPU2_ATTENTION", "name", "auto", "auto, npu, cpu",
            "where attention is computed; auto: on the NPU the two products of long prompts and, from 2048 "
            "positions on, of 4 tokens and more that make 64 query rows of a KV head",
            one_of<&Config::attention, kAttentionNames>},
    Setting{
        "GGML_RKNPU2_ON_ERROR", "list", "retry,reset,fail",
        "a list of retry and reset, at most eight in all, that may end with cpu or fail",
        "what to do, in this order, when the NPU fails a multiplication; retry: once more in new contexts; "
        "reset: once more without old contexts and work areas; cpu: slowly, as precision reference; fail, or "
        "the end of the list: the graph fails",
        on_error},
    Setting{"GGML_RKNPU2_CONTEXTS", "number", "auto", "auto, or 64 to 100000",
            "contexts of the NPU to keep, one for each shape and core, attention's too; auto: 120 to 1000, "
            "by ulimit -n, and 120 "
            "after a first failure with more",
            contexts},
    Setting{
        "GGML_RKNPU2_MALLOC_MMAP", "name", "auto", "auto, keep, off",
        "may glibc map large blocks by themselves, which the vendor's library was seen to unmap; auto: not "
        "with that library; keep: as the program has it; off: never",
        one_of<&Config::malloc_mmap, kMallocMmapNames>},
    Setting{
        "GGML_RKNPU2_COHERENCY", "name", "auto", "auto, owner, lines",
        "how the CPU's cache is maintained for the NPU; owner: whole buffers, by the runtime; lines: exact "
        "ranges, by the CPU; auto: what the board's profile says, else owner",
        one_of<&Config::coherency, kCoherencyNames>},
    Setting{"GGML_RKNPU2_START_WAIT", "number", "5", "0 to 60",
            "seconds in which a start tries again when the NPU refuses it, as after a process was killed; "
            "not with the simulator",
            number<&Config::start_wait, 0, 60>},
    Setting{"GGML_RKNPU2_LOCK", "file", "auto", "auto, none, or the path of a file, with a slash in it",
            "the file by which processes take turns; auto: in /run/lock or /tmp, none for the simulator",
            auto_none_or_file<&Config::lock>},
    Setting{
        "GGML_RKNPU2_PROFILE", "file", "auto", "auto, none, or the path of a file, with a slash in it",
        "what rknpu2-doctor has found; auto: the file for this board and runtime in ~/.config/ggml-rknpu2 or "
        "/etc/ggml-rknpu2; none: the defaults, which rely on the fewest guesses",
        auto_none_or_file<&Config::profile>},
    Setting{"GGML_RKNPU2_RATES", "file", "auto",
            "auto, model, measure, or the path of a file, with a slash in it",
            "how fast NPU and CPU are, to choose between them; auto: the board profile's, else measured once "
            "on a board and kept in the cache directory; model: compiled in; measure: anew",
            rates},
    Setting{"GGML_RKNPU2_FUSE", "switch", "1", "0 or 1",
            "0: compute every operation by itself, to compare results; slower", zero_or_one<&Config::fuse>},
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
        if (!name.starts_with(kPrefix)) continue;
        const auto is_it = [&](const Setting& setting) { return name == setting.name; };
        if (std::none_of(kSettings.begin(), kSettings.end(), is_it)) names.emplace_back(name);
    }
    return names;
}

}  // namespace

const char* precision_name(Precision precision) {
    return kPrecisionNames[static_cast<size_t>(precision)];
}

const char* on_error_name(OnError step) {
    return kOnErrorNames[static_cast<size_t>(step)];
}

std::string on_error_text(const std::vector<OnError>& steps) {
    std::vector<std::string> names;
    std::transform(steps.begin(), steps.end(), std::back_inserter(names), on_error_name);
    return joined(names, ",");
}

bool is_columns(int columns) {
    return columns >= kColumnStep && columns <= kMaxColumns && columns % kColumnStep == 0;
}

Result<Config> Config::from_environment() {
    Config config;
    if (const std::string cache = cache_directory(); !cache.empty()) {
        config.activation_stats_directory = cache + "/statistics";
        config.rates_directory = cache + "/rates";
    }
    config.profile_directory = user_directory("XDG_CONFIG_HOME", ".config");
    for (const Setting& setting : kSettings) {
        const char* text = environment_of(setting);
        if (text == nullptr) continue;
        config.given[setting.name] = text;
        if (!setting.take(text, config)) {
            return Status(StatusCode::kInvalidArgument,
                          format("%s=%s: must be %s", setting.name, printable(text).c_str(), setting.range));
        }
    }
    config.unknown = unknown_names();
    return config;
}

std::string different_settings(const Config& a, const Config& b) {
    std::vector<std::string> names;
    const auto text_in = [](const Config& config, const char* name) {
        const auto found = config.given.find(name);
        return found == config.given.end() ? std::nullopt : std::optional(found->second);
    };
    for (const Setting& setting : kSettings)
        if (text_in(a, setting.name) != text_in(b, setting.name)) names.emplace_back(setting.name);
    return joined(names);
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
