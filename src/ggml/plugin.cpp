// SPDX-License-Identifier: MIT
// The plug-in's one entry point, and what a process has once: settings, counters, the NPU.
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <mutex>

#include "base/format.hpp"
#include "ggml/diagnostics/checksums.hpp"
#include "ggml/diagnostics/sensitivity.hpp"
#include "ggml/host/entry.hpp"
#include "ggml/host/guard.hpp"
#include "ggml/host/proof.hpp"
#include "ggml/host/releases.hpp"
#include "matmul/npu_device.hpp"
#include "plan/rates_of_board.hpp"
#include "runtime/board_profile.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"

namespace rknpu2 {
namespace {

std::string own_directory() {
    Dl_info info{};
    if (dladdr(reinterpret_cast<const void*>(&own_directory), &info) == 0 || info.dli_fname == nullptr)
        return ".";
    return std::filesystem::path(info.dli_fname).parent_path().string();
}

// Leaked on purpose: threads of the host may still call us while the process ends.
class Plugin {
  public:
    static Plugin& instance() {
        static auto* const plugin = new Plugin;
        return *plugin;
    }

    // The host's registry: the same pointer at every call. Null after a refusal, which has been logged.
    ggml_backend_reg_t registry_for(const void* caller) {
        const std::lock_guard lock(mutex_);
        Result<HostLibrary> library = find_host(caller);
        if (!library.ok()) return refuse(library.status());
        auto known = hosts_.find(library.value().handle);
        if (known == hosts_.end())
            known = hosts_.emplace(library.value().handle, meet(library.value())).first;
        // What this host is will not change: it gets the same line at its next try.
        if (!known->second.refusal.ok()) return refuse(known->second.refusal);
        return known->second.reg;
    }

    void write_files(bool may_log) {
        if (!owner_.is_this_one()) return;  // a forked child leaves it to its parent
        std::shared_ptr<NpuDevice> npu;
        {
            const std::lock_guard lock(mutex_);
            npu = npu_;
        }
        if (!npu) return;
        const auto write = [&](const char* setting, const std::string& path, const std::string& content) {
            const Status status = write_file_atomically(with_process_id(path), content);
            if (!status.ok() && may_log) log(LogLevel::kError, "%s: %s", setting, status.to_string().c_str());
        };
        if (!config_.counters_file.empty())
            write("GGML_RKNPU2_STATS", config_.counters_file,
                  counters_.to_json(config_, npu->info(), RKNPU2_VERSION));
        if (!config_.calibrate_file.empty()) {
            const ModelStats gathered = calibration_.statistics();
            const Status enough = enough_rows(gathered);
            if (!enough.ok() && may_log)
                log(LogLevel::kWarning, "GGML_RKNPU2_CALIBRATE: %s", enough.message().c_str());
            if (!gathered.empty())
                write("GGML_RKNPU2_CALIBRATE", config_.calibrate_file, encode_stats(gathered));
        }
        const ModelStats measured = sensitivity_.merged_into(sensitivity_base_);
        if (!measured.empty())
            write("GGML_RKNPU2_SENSITIVITY", config_.sensitivity_file, encode_stats(measured));
    }

  private:
    struct KnownHost {
        std::unique_ptr<Host> host;        // null: refused
        ggml_backend_reg_t reg = nullptr;  // null: refused, or its settings are wrong
        Status refusal;
    };

    Plugin() { at_process_end = write_files_at_end; }

    // Writes nothing where a signal's handler ends the process in the middle of a call of ours: the call may
    // hold a lock that would be waited for.
    static void write_files_at_end() {
        if (inside_a_call()) return;
        try {
            instance().write_files(false);
        } catch (...) {  // NOLINT(bugprone-empty-catch): the process ends, and there is nobody to tell
        }
    }

    // Nobody has told us where to log, so this one line goes to stderr.
    static ggml_backend_reg_t refuse(const Status& status) {
        const bool another = status.code() == StatusCode::kUnsupported;
        std::fprintf(stderr, "ggml-rknpu2: not loaded: %s%s\n", status.message().c_str(),
                     another ? "; use another release of the host, or of the plug-in" : "");
        return nullptr;
    }

    KnownHost meet(const HostLibrary& library) {
        Result<Config> config = Config::from_environment();
        KnownHost known;
        Result<GgmlFunctions> functions = import_functions(library);
        known.refusal = functions.status();
        if (!functions.ok()) return known;
        const GgmlFunctions& ggml = functions.value();
        const char* const said = ggml.ggml_version != nullptr ? ggml.ggml_version() : nullptr;
        const std::string version = said != nullptr ? said : "unknown";
        Result<const Abi*> abi = prove_abi(ggml);
        known.refusal = abi.status().with_context(
            format("the host's ggml (%s), version %s", library.path.c_str(), version.c_str()));
        if (!abi.ok()) return known;
        known.host = std::make_unique<Host>();  // also if it gets no registry: the log may point at it
        Host& host = *known.host;
        host.library = library;
        host.ggml = ggml;
        host.ggml.marks_wanted = marks_wanted_nodes(ggml);
        host.abi = abi.value();
        host.counters = &counters_;
        if (!first_host_) {
            first_host_ = &host;
            log_to_hosts(host);
        }
        const LogTo scope(host);
        if (!config.ok()) {
            log(LogLevel::kError, "not loaded: %s", config.status().message().c_str());
            if (first_host_ == &host) first_host_ = nullptr;
            return known;
        }
        const bool tested = is_tested_release(version);
        log(tested ? LogLevel::kDebug : LogLevel::kInfo,
            "the host's ggml is of version %s%s; its structures are those of %s", version.c_str(),
            tested ? "" : ", with which nobody has tried this plug-in", host.abi->releases);
        host.config = config.take();
        open_npu(host);
        init_registry(host);
        init_device(host);
        init_buffer_type(host);
        known.reg = &host.reg;
        return known;
    }

    void open_npu(Host& host) {
        if (npu_ || npu_failed_) {
            // There is one device, with the settings of when it was opened.
            const std::string names = different_settings(config_, host.config);
            if (!names.empty())
                log(LogLevel::kWarning,
                    "%s: changed after this process had opened the NPU for another ggml; both use what was "
                    "set then",
                    names.c_str());
        } else {
            config_ = host.config;
            for (const std::string& name : config_.unknown)
                log(LogLevel::kWarning, "%s is not a setting; rknpu2-info lists them", name.c_str());
            const Status status = open_runtime();
            npu_failed_ = !status.ok();
            if (npu_failed_) {
                const bool expected = config_.runtime == "auto" && npu_device_nodes().empty();
                log(expected ? LogLevel::kInfo : LogLevel::kError, "no NPU: %s", status.message().c_str());
            }
        }
        host.config = config_;  // with what the board's profile says
        host.npu = npu_;
        host.profile_rates = profile_rates_;
        host.calibration = config_.calibrate_file.empty() ? nullptr : &calibration_;
        host.sensitivity = config_.sensitivity_file.empty() ? nullptr : &sensitivity_;
        host.checksums = checksums_.get();
        if (!npu_) return;
        host.description = npu_->info().simulated ? "Rockchip RK3588 NPU (simulated)" : "Rockchip RK3588 NPU";
        log(LogLevel::kInfo, "%s, %d cores, precision %s, runtime %s %s", host.description.c_str(),
            config_.cores, precision_name(config_.precision), npu_->info().library.c_str(),
            npu_->info().api_version.c_str());
    }

    Status open_runtime() {
        const std::string path = RKNPU2_TAKE(locate_runtime(config_.runtime, own_directory()));
        std::unique_ptr<StatsLibrary> library = RKNPU2_TAKE(open_stats());
        const bool simulated = is_simulator(path);
        keep_malloc_from_mapping(simulated, config_.malloc_mmap);
        // Nodes that this user may not open do not become so by waiting.
        const std::vector<std::string> nodes = npu_device_nodes();
        const bool patient = !simulated && (nodes.empty() || may_use_any(nodes));
        auto wait = std::make_unique<StartWait>(std::chrono::seconds(patient ? config_.start_wait : 0));
        Result<std::unique_ptr<NpuRuntime>> opened = open_rknn_runtime(path, wait.get());
        if (const Status access = check_access(nodes); !opened.ok() && !simulated && !access.ok())
            return opened.status().with_context(access.message());
        std::unique_ptr<NpuRuntime> runtime = RKNPU2_TAKE(std::move(opened));
        const BoardProfileChoice profile = choose_board_profile(config_, runtime->info());
        profile_rates_ = rates_of_cores(profile.rates, config_.cores);
        for (const std::string& warning : profile.warnings)
            log(LogLevel::kWarning, "%s", warning.c_str());
        if (profile.columns != 0 && !config_.given.contains("GGML_RKNPU2_COLUMNS")) {
            config_.columns = profile.columns;
            log(LogLevel::kInfo, "runs have up to %d columns, by the board profile", config_.columns);
        }
        auto lock =
            RKNPU2_TAKE(DeviceLock::open(config_, runtime->info().simulated, nodes, counters_.device_lock));
        checksums_ = RKNPU2_TAKE(Checksums::open(config_));
        auto coherency =
            RKNPU2_TAKE(make_coherency(config_.coherency, profile.coherency, *runtime, counters_.coherency));
        const bool said = config_.coherency != CoherencyChoice::kAuto;
        log(LogLevel::kInfo, "the CPU's cache is maintained by the strategy %s: %s", coherency->name(),
            said ? "GGML_RKNPU2_COHERENCY" : profile.info.c_str());
        npu_ = std::make_shared<NpuDevice>(std::move(runtime), config_, counters_, std::move(coherency));
        npu_->use_lock(std::move(lock));
        npu_->use_start_wait(std::move(wait));
        npu_->use_stats(std::move(library));
        return {};
    }

    // Null if none are to be used.
    Result<std::unique_ptr<StatsLibrary>> open_stats() {
        if (!config_.sensitivity_file.empty()) {
            if (config_.activation_stats == "auto" || config_.activation_stats == "none") {
                return Status(StatusCode::kInvalidArgument,
                              "GGML_RKNPU2_SENSITIVITY needs the file of GGML_RKNPU2_CALIBRATE in "
                              "GGML_RKNPU2_STATISTICS");
            }
            if (config_.precision != Precision::kBalanced) {
                return Status(StatusCode::kInvalidArgument,
                              "GGML_RKNPU2_SENSITIVITY needs GGML_RKNPU2_PRECISION=balanced");
            }
            sensitivity_base_ =
                RKNPU2_TAKE(read_stats(config_.activation_stats).with_context("GGML_RKNPU2_STATISTICS"));
        }
        return open_stats_library(config_);
    }

    const OwnerProcess owner_;
    std::mutex mutex_;
    Config config_;
    MeasuredRates profile_rates_;
    Counters counters_;
    Calibration calibration_;
    Sensitivity sensitivity_;
    ModelStats sensitivity_base_;           // what its results are added to
    std::unique_ptr<Checksums> checksums_;  // null: none are recorded
    std::shared_ptr<NpuDevice> npu_;
    bool npu_failed_ = false;
    Host* first_host_ = nullptr;
    std::map<void*, KnownHost> hosts_;  // by the handle of their library
};

}  // namespace

void write_files() {
    Plugin::instance().write_files(true);
}

}  // namespace rknpu2

extern "C" __attribute__((visibility("default"))) ggml_backend_reg_t ggml_backend_init() {
    try {
        return rknpu2::Plugin::instance().registry_for(__builtin_return_address(0));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "ggml-rknpu2: not loaded: %s\n", error.what());
        return nullptr;
    }
}
