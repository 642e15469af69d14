// SPDX-License-Identifier: MIT
// rknpu2-doctor: is this board fit for the plug-in, does its NPU multiply right, and how fast is it?
//
// Exit status: 0 when nothing is a problem (there may be warnings), 1 when something is, 2 with one line on
// stderr when the doctor could not do its work: a wrong option or setting, a file that cannot be written.

#include <ctime>
#include <filesystem>

#include "base/format.hpp"
#include "doctor_report.hpp"
#include "doctor_system.hpp"
#include "machine_report.hpp"
#include "program.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"

namespace {

using namespace rknpu2;

const Program kProgram("rknpu2-doctor", 2);

struct Options {
    std::string runtime, output, board_profile;
    int patience = 120;  // seconds
    bool json = false;
};

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
    char text[32] = {};
    gmtime_r(&now, &parts);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

void examine_system(const RootFolder& root, DoctorReport& report) {
    report.board = board_model(root);
    report.kernel = kernel_release(root);
    const bool simulated = report.runtime.simulated;
    if (is_rk3588(root) || !simulated) {
        report.system = check_board(root, simulated ? "" : report.runtime.driver_version);
    } else {
        report.system = {CheckLine{"system.chip", "chip"}.skipped(
            "not an RK3588; with a simulator, driver, nodes and clocks are not looked at")};
    }
    report.system.push_back(check_runtime(report.runtime, report.runtime_error, report.runtime_located));
    for (Check& check : check_host(root))
        report.system.push_back(std::move(check));
}

// The runtime's part; `watch` before each step.
void examine_runtime(const Options& options, const Config& config, DoctorReport& report,
                     const std::function<void()>& watch) {
    const Result<std::string> path =
        locate_runtime(options.runtime.empty() ? config.runtime : options.runtime, own_directory());
    if (!path.ok()) {
        report.runtime_error = path.status().message();
        return;
    }
    report.runtime_located = true;
    keep_malloc_from_mapping(is_simulator(path.value()), config.malloc_mmap);
    const StdoutToStderr guard;
    examine_npu({path.value(), config, std::chrono::seconds(options.patience),
                 [](const std::string& library) { return open_rknn_runtime(library); }},
                report, watch);
}

int run(const Options& options, DoctorReport& report) {
    const Result<Config> config = Config::from_environment();
    if (!config.ok()) return kProgram.fail(config.status().message());
    std::error_code ignored;
    if (!std::filesystem::is_directory(report.root, ignored))
        return kProgram.fail("--root " + report.root + " is not a folder");
    report.when = utc_now();
    const RootFolder root(report.root);
    // What is known is in the file before each step, since the board may not survive it. What is no file (a
    // pipe, a terminal) gets the end alone.
    const bool keeps = !options.output.empty() && replaceable_file(options.output).has_value();
    const auto keep = [&] {
        examine_system(root, report);
        return write_file_atomically(options.output, to_json(report));
    };
    if (keeps) {
        report.running = "looking at the system";
        if (const Status status = keep(); !status.ok()) return kProgram.fail(status.message());
        report.running.clear();
    }
    const bool terminal = isatty(STDERR_FILENO) == 1;  // has one line that says what runs
    examine_runtime(options, config.value(), report, [&] {
        if (terminal) std::fprintf(stderr, "\r\033[K%.100s", printable(report.running).c_str());
        if (keeps) static_cast<void>(keep());  // a full disk is told in the end
    });
    if (terminal) std::fprintf(stderr, "\r\033[K");
    examine_system(root, report);
    Status profile_kept;
    if (!report.system_only && report.runtime_error.empty()) {
        profile_kept =
            write_board_profile(board_profile_path(options.board_profile, config.value(), report), report);
    }
    const Status kept =
        options.output.empty() ? Status() : write_file_atomically(options.output, to_json(report));
    const std::string text = options.json ? to_json(report) : to_text(report);
    if (const int failed = kProgram.show(text)) return failed;
    if (!kept.ok()) return kProgram.fail(kept.message());
    if (!profile_kept.ok() && !options.board_profile.empty()) return kProgram.fail(profile_kept.message());
    return worst_of(report.checks()) == Health::kProblem ? 1 : 0;
}

int parse_and_run(int argc, char** argv) {
    Options options;
    DoctorReport report;
    CLI::App app(
        "Checks a board (driver, device node, runtime, clocks, memory), whether its NPU multiplies right, "
        "and "
        "how fast it is.\nExit status: 0 no problem, 1 a problem, 2 could not run.");
    app.add_option("--root", report.root, "look for /proc, /sys, /dev and /etc below this folder")
        ->capture_default_str();
    app.add_option("--runtime", options.runtime,
                   "auto, sim or the path of a librknnrt.so; GGML_RKNPU2_RUNTIME when not given");
    app.add_option("--output", options.output, "write the report as JSON to this file, for a bug report");
    CLI::Option* const board_profile = app.add_option(
        "--board-profile", options.board_profile,
        "write what the plug-in should do on this board to this file, or none; when not given, a "
        "board's goes where the plug-in looks for it, a simulator's nowhere");
    app.add_option("--patience", options.patience,
                   "how many seconds one step may take before its process is stopped")
        ->capture_default_str()
        ->check(CLI::Range(1, 3600));
    app.add_flag("--quick", report.quick, "fewer and smaller shapes, fewer rounds");
    app.add_flag("--system", report.system_only,
                 "look at the system and the runtime's version only: nothing runs on the NPU")
        ->excludes(board_profile);
    app.add_flag("--json", options.json, "JSON instead of text on the terminal");
    return kProgram.run(app, argc, argv, [&] { return run(options, report); });
}

}  // namespace

int main(int argc, char** argv) {
    return kProgram.guard([&] { return parse_and_run(argc, argv); });
}
