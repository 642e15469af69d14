// rknpu2-info: what is here (runtime, NPU, memory, settings), and what of a model will run where.
//
// Exit status: 0; 1 with one line on stderr for a file that cannot be read, a setting out of range or a wrong
// option. A machine without a runtime is information, not a failure.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>

#include "base/config.hpp"
#include "base/format.hpp"
#include "gguf/gguf_file.hpp"
#include "machine_report.hpp"
#include "model_report.hpp"
#include "plane_finder.hpp"
#include "runtime/locate.hpp"

namespace {

using namespace rknpu2;

constexpr const char* kProgram = "rknpu2-info";

struct Options {
    std::string model;
    int64_t ngl = kDefaultNgl;
    bool json = false;
};

// One line, whatever the text holds.
int fail(const std::string& message) {
    std::fprintf(stderr, "%s: %s\n", kProgram, printable(message).c_str());
    return 1;
}

int show(const std::string& text) {
    const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
    return written && std::fflush(stdout) == 0 ? 0 : fail("cannot write the output");
}

std::string own_directory() {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? "." : self.parent_path().string();
}

int show_machine(const Options& options, const Config& config) {
    const MachineReport report = look_at_machine(config, own_directory());
    return show(options.json ? to_json(report) : to_text(report));
}

int show_model(const Options& options, const Config& config) {
    const Result<GgufFile> file = GgufFile::open(options.model);
    if (!file.ok()) return fail(file.status().message());
    const Result<std::unique_ptr<PlaneFinder>> planes =
        PlaneFinder::open(options.model, file.value(), config);
    if (!planes.ok()) return fail(planes.status().message());
    ModelReport report = analyse(file.value(), options.model, config, options.ngl,
                                 [&](const GgufTensor& tensor) { return planes.value()->find(tensor); });
    const Result<std::string> runtime = locate_runtime(config.runtime, own_directory());
    if (!runtime.ok()) {
        report.notes.push_back("the plan for a machine with an NPU; this one: " + runtime.status().message());
    }
    return show(options.json ? to_json(report) : to_text(report));
}

int run(const Options& options) {
    const Result<Config> config = Config::from_environment();
    if (!config.ok()) return fail(config.status().message());
    for (const std::string& name : config.value().unknown) {
        std::fprintf(stderr, "%s: warning: %s is not a setting\n", kProgram, printable(name).c_str());
    }
    return options.model.empty() ? show_machine(options, config.value())
                                 : show_model(options, config.value());
}

int parse_and_run(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Without a model: what is here (runtime, NPU, memory, settings).\n"
        "With one: where each of its tensors will run under llama.cpp, in which precision, or why not on the "
        "NPU.",
        kProgram);
    app.add_option("model", options.model, "a GGUF file");
    app.add_option("--ngl", options.ngl, "as llama.cpp's -ngl: how many layers go to the NPU; negative: all")
        ->capture_default_str();
    app.add_flag("--json", options.json, "for programs");
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
