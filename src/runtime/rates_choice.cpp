// SPDX-License-Identifier: MIT
#include "runtime/rates_choice.hpp"

#include <optional>

#include "base/format.hpp"
#include "system/file.hpp"
#include "system/file_cache.hpp"
#include "system/system_memory.hpp"

namespace rknpu2 {
namespace {

constexpr const char* kVersion = "1";  // of the text
constexpr uint64_t kMostBytes = 4096;  // of a file
constexpr uint64_t kMostFiles = 64;

// By a multiplication with eight bits. Other arithmetic has the model's, or what was measured and kept before.
bool measures_rates(Precision precision) {
    return precision == Precision::kBalanced || precision == Precision::kFast ||
           precision == Precision::kCompact;
}

// Each name that a file must or may have, beside rates.
Result<bool> take_other(const KeyValue& entry, RatesFile& file, bool& versioned) {
    if (entry.name == "library" || entry.name == "cpus") {
        (entry.name == "cpus" ? file.cpus : file.library) = entry.value;
        return true;
    }
    if (entry.name != "version") return false;
    versioned = entry.value == kVersion;
    if (versioned) return true;
    return Status(StatusCode::kUnsupported,
                  format("is of version %s, and this is %s", entry.value.c_str(), kVersion));
}

Result<std::string> read_all(const OpenedFile& opened, const std::string& path) {
    if (opened.bytes > kMostBytes) return Status(StatusCode::kIo, path + ": is too large");
    std::string text(opened.bytes, '\0');
    Status status = read_at(opened.file.number(), text.data(), text.size(), 0);
    return status.ok() ? Result(text) : Result<std::string>(std::move(status).with_context(path));
}

// The user's own, of all boards.
class KeptRates {
  public:
    KeptRates(const std::string& directory, const RatesKey& key)
        : files_(directory, ".rates", kMostFiles * kMostBytes), key_(key), name_(key.name()) {}

    std::string path() const { return files_.path_of(name_); }

    // Nothing: there is no file, or it holds for something else.
    std::optional<Result<MeasuredRates>> read() {
        Result<OpenedFile> opened = files_.open(name_);
        if (!opened.ok()) return opened.status();
        if (!opened.value().file.is_open()) return std::nullopt;
        const Result<std::string> text = read_all(opened.value(), path());
        if (!text.ok()) return text.status();
        const Result<RatesFile> file = parse_rates(text.value(), path());
        if (!file.ok()) return file.status();
        const bool same_library = key_.library.empty() || file.value().library == key_.library;
        if (file.value().cpus != key_.cpus || !same_library) return std::nullopt;
        if (!file.value().rates.is_complete())
            return Status(StatusCode::kInvalidArgument, path() + ": a rate is missing");
        return file.value().rates;
    }

    Status write(const std::string& text) {
        auto started = RKNPU2_TAKE(files_.start(kMostBytes));
        if (!started) return {StatusCode::kIo, path() + ": there is no room for it"};
        RKNPU2_RETURN_IF_ERROR(write_at(started->number(), text.data(), text.size(), 0).with_context(path()));
        return files_.commit(std::move(*started), name_);
    }

  private:
    FileCache files_;
    const RatesKey& key_;
    const std::string name_;
};

class Choosing {
  public:
    Choosing(const Config& config, const RatesKey& key, const MeasureRates& measure)
        : key_(key), measure_(measure), precision_(config.precision) {
        if (!config.rates_directory.empty()) kept_.emplace(config.rates_directory, key);
    }

    // What was kept, or is measured now.
    RatesChoice kept_or_measured(bool anew) {
        if (!anew && kept_ && take_kept()) return choice_;
        if (!measures_rates(precision_)) {
            choice_.info =
                format("the model's, as nothing is measured with precision %s", precision_name(precision_));
            return choice_;
        }
        if (!measure_) {
            choice_.info = anew ? "measured anew at each start" : "not measured yet, so the model's";
            return choice_;
        }
        const Result<MeasuredRates> measured = measure();
        if (!measured.ok()) {
            warn("rates cannot be measured, so the model's are used: " + measured.status().message());
            choice_.info = "the model's";
            return choice_;
        }
        choice_.rates = measured.value();
        choice_.info = "measured now";
        if (!kept_) return choice_;
        if (const Status written = kept_->write(rates_text(choice_.rates, key_)); !written.ok()) {
            warn("measured rates are not kept: " + written.message());
        } else {
            choice_.info += ", kept in " + printable(kept_->path());
        }
        return choice_;
    }

  private:
    // What goes wrong, want of memory too, leaves the user's graph as it is.
    Result<MeasuredRates> measure() const {
        try {
            const MeasuredRates rates = RKNPU2_TAKE(measure_());
            RKNPU2_RETURN_IF_ERROR(rates.check());
            return rates;
        } catch (const std::exception&) {
            return Status::of_exception();
        }
    }

    void warn(const std::string& line) { choice_.warnings.push_back(printable(line)); }

    bool take_kept() {
        const std::optional<Result<MeasuredRates>> read = kept_->read();
        if (!read) return false;
        if (!read->ok()) {
            warn("rates are measured again: " + read->status().message());
            return false;
        }
        choice_.rates = read->value();
        choice_.info = "measured before, " + printable(kept_->path());
        return true;
    }

    const RatesKey& key_;
    const MeasureRates& measure_;
    const Precision precision_;
    std::optional<KeptRates> kept_;
    RatesChoice choice_;
};

RatesChoice read_file(const std::string& path) {
    RatesChoice choice;
    const Result<std::string> text = read_regular_file(path, kMostBytes);
    const Result<RatesFile> rates = text.ok() ? parse_rates(text.value(), path) : text.status();
    if (rates.ok()) {
        choice.rates = rates.value().rates;
        choice.info = printable(path);
    } else {
        choice.warnings.push_back(
            printable("GGML_RKNPU2_RATES, so the model's rates are used: " + rates.status().message()));
        choice.info = "the model's";
    }
    return choice;
}

}  // namespace

std::string RatesKey::name() const {
    constexpr size_t kHalfGiB = size_t{1} << 29;
    const size_t gib = (memory_bytes + kHalfGiB) / (2 * kHalfGiB);
    return format("%s-%s-%zug-%dn-%dt", board.board.c_str(), board.runtime.c_str(), gib, cores, threads);
}

RatesKey rates_key(const Config& config, const RuntimeInfo& info, int threads, const std::vector<int>& cpus,
                   const std::string& library, const std::string& root) {
    std::vector<std::string> names;
    for (const int cpu : cpus)
        names.push_back(std::to_string(cpu));
    return {board_key(info, root),
            system_memory(root).total,
            config.cores,
            threads,
            cpus.empty() ? "any" : joined(names, ","),
            printable(library)};
}

std::string rates_text(const MeasuredRates& rates, const RatesKey& key) {
    return format("version = %s\nlibrary = %s\ncpus = %s\n", kVersion,
                  key.library.empty() ? "unknown" : key.library.c_str(), key.cpus.c_str()) +
           rates.lines();
}

Result<RatesFile> parse_rates(const std::string& text, const std::string& file) {
    const std::vector<KeyValue> entries = RKNPU2_TAKE(parse_key_values(text, file));
    RatesFile read;
    bool versioned = false;
    for (const KeyValue& entry : entries) {
        Result<bool> taken = take_other(entry, read, versioned);
        if (taken.ok() && !taken.value()) taken = read.rates.take(entry);
        if (!taken.ok()) return wrong_line(file, entry.line, taken.status().message());
        if (!taken.value())
            return wrong_line(file, entry.line,
                              format("\"%s\" is not a name that belongs here", entry.name.c_str()));
    }
    if (!versioned) return Status(StatusCode::kInvalidArgument, file + ": version is missing");
    return read;
}

RatesChoice choose_rates(const Config& config, const RatesKey& key, const MeasuredRates& of_profile,
                         const MeasureRates& measure) {
    if (config.rates == "model") return {{}, "the model's, by GGML_RKNPU2_RATES", {}};
    const bool anew = config.rates == "measure";
    if (config.rates != "auto" && !anew) return read_file(config.rates);
    const bool simulated = key.board.board == "simulator";
    RatesChoice choice;
    if (anew || (!simulated && !of_profile.is_complete())) {
        choice = Choosing(config, key, measure).kept_or_measured(anew);
    } else {
        choice.info = simulated ? "the model's, as always on a simulator" : "";
    }
    if (anew || of_profile.is_empty()) return choice;
    choice.rates.take(of_profile);
    choice.info = choice.info.empty() ? "the board profile" : "the board profile; others: " + choice.info;
    return choice;
}

}  // namespace rknpu2
