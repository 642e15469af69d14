// rknpu2-doctor: is this board fit for the plug-in, does its NPU multiply right, and how fast is it?
//
// Exit status: 0 when nothing is a problem (there may be warnings), 1 when something is, 2 with one line on
// stderr when the doctor could not do its work: a wrong option or setting, a file that cannot be written.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>

#include "base/config.hpp"
#include "base/format.hpp"
#include "doctor_report.hpp"
#include "doctor_system.hpp"
#include "gguf/gguf_file.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"
#include "stdout_to_stderr.hpp"

namespace {

using namespace rknpu2;

constexpr const char* kProgram = "rknpu2-doctor";

struct Options {
    std::string root = "/";
    std::string runtime;
    std::string output;
    std::string profile;
    bool quick = false;
    bool system_only = false;
    bool json = false;
};

int fail(const std::string& message) {
    std::fprintf(stderr, "%s: %s\n", kProgram, printable(message).c_str());
    return 2;
}

std::string own_directory() {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? "." : self.parent_path().string();
}

std::string utc_now() {
    const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    std::tm parts{};
    char text[32] = {};
    gmtime_r(&now, &parts);
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

// Self-test and measurements; without a runtime the reason stands in the report.
void examine_runtime(const std::string& setting, DoctorReport& report) {
    const Result<std::string> path = locate_runtime(setting, own_directory());
    if (!path.ok()) {
        report.runtime_error = path.status().message();
        return;
    }
    report.runtime_located = true;
    const Result<std::unique_ptr<NpuRuntime>> runtime = open_rknn_runtime(path.value());
    if (!runtime.ok()) {
        report.runtime_error = runtime.status().message();
        return;
    }
    report.runtime = runtime.value()->info();
    if (report.system_only) return;
    report.self_test = run_self_tests(*runtime.value(), report.quick);
    const DoctorClock clock(path.value());
    Result<Measurements> measured = measure(*runtime.value(), clock, report.quick);
    if (!measured.ok()) {
        report.measure_error = measured.status().message();
        return;
    }
    report.measurements = measured.take();
    report.profile = fit_profile(*report.measurements, simulator_profile());
}

void examine_system(const RootFolder& root, DoctorReport& report) {
    report.board = board_model(root);
    report.kernel = kernel_release(root);
    if (is_rk3588(root) || !report.runtime.simulated) {
        report.system = check_board(root, report.runtime.simulated ? "" : report.runtime.driver_version);
    } else {
        report.system.push_back(
            {"system.chip", Health::kSkipped, "chip",
             "not an RK3588; with a simulator, driver, nodes and clocks are not looked at", ""});
    }
    report.system.push_back(check_runtime(report.runtime, report.runtime_error, report.runtime_located));
    for (Check& check : check_host(root))
        report.system.push_back(std::move(check));
}

// Empty, or why it could not be written.
std::string write(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << text;
    file.close();
    return file ? "" : "cannot write " + path;
}

int run(const Options& options) {
    const Result<Config> config = Config::from_environment();
    if (!config.ok()) return fail(config.status().message());
    std::error_code ignored;
    if (!std::filesystem::is_directory(options.root, ignored))
        return fail("--root " + options.root + " is not a folder");
    DoctorReport report;
    report.when = utc_now();
    report.quick = options.quick;
    report.system_only = options.system_only;
    report.root = options.root;
    const RootFolder root(options.root);
    {
        const StdoutToStderr guard;
        examine_runtime(options.runtime.empty() ? config.value().runtime : options.runtime, report);
    }
    examine_system(root, report);

    if (!options.output.empty()) {
        const std::string error = write(options.output, to_json(report));
        if (!error.empty()) return fail(error);
    }
    if (!options.profile.empty() && report.profile) {
        const std::string error =
            write(options.profile, to_profile_text(*report.profile, provenance_of(report)));
        if (!error.empty()) return fail(error);
    }
    const std::string text = options.json ? to_json(report) : to_text(report);
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
        return fail("cannot write the output");
    if (!options.profile.empty() && !report.profile)
        std::fprintf(stderr, "%s: nothing was measured, so there is no %s\n", kProgram,
                     printable(options.profile).c_str());
    return worst_of(report.checks()) == Health::kProblem ? 1 : 0;
}

int parse_and_run(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Checks a board (driver, device node, runtime, clocks, memory), whether its NPU multiplies right, "
        "and "
        "how fast it is.\nExit status: 0 no problem, 1 a problem, 2 could not run.",
        kProgram);
    app.add_option("--root", options.root, "look for /proc, /sys, /dev and /etc below this folder")
        ->capture_default_str();
    app.add_option("--runtime", options.runtime,
                   "auto, sim or the path of a librknnrt.so; GGML_RKNPU2_RUNTIME when not given");
    app.add_option("--output", options.output, "write the report as JSON to this file, for a bug report");
    CLI::Option* const profile = app.add_option(
        "--profile", options.profile,
        "write what was measured to this file, for RKNNSIM_PROFILE and rknpu2-bench predict --profile");
    app.add_flag("--quick", options.quick, "fewer and smaller shapes, fewer rounds");
    app.add_flag("--system", options.system_only,
                 "look at the system and the runtime's version only: nothing runs on the NPU")
        ->excludes(profile);
    app.add_flag("--json", options.json, "JSON instead of text on the terminal");
    app.set_version_flag("--version", std::string("ggml-rknpu2 ") + RKNPU2_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
        return fail(std::string(error.what()) + " (--help lists the options)");
    }
    return run(options);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return parse_and_run(argc, argv);
    } catch (const std::exception& error) {
        return fail(error.what());
    }
}
