// SPDX-License-Identifier: MIT
// rknpu2-info: what is here (runtime, NPU, memory, settings), and what of a model will run where.
//
// Exit status: 0; 1 with one line on stderr for a file that cannot be read, a setting out of range or a wrong
// option. A machine without a runtime is information, not a failure.
#include <memory>
#include <string>

#include "base/format.hpp"
#include "config/config.hpp"
#include "gguf/gguf_file.hpp"
#include "machine_report.hpp"
#include "model_report.hpp"
#include "plane_finder.hpp"
#include "program.hpp"
#include "runtime/locate.hpp"

namespace {

using namespace rknpu2;

const Program kProgram("rknpu2-info", 1);

struct Options {
    std::string model;
    int64_t ngl = kDefaultNgl;
    bool json = false;
};

int show_machine(const Options& options, const Config& config) {
    const MachineReport report = look_at_machine(config, own_directory());
    return kProgram.show(options.json ? to_json(report) : to_text(report));
}

int show_model(const Options& options, const Config& config) {
    const Result<GgufFile> file = GgufFile::open(options.model);
    if (!file.ok()) return kProgram.fail(file.status().message());
    const Result<std::unique_ptr<PlaneFinder>> planes =
        PlaneFinder::open(options.model, file.value(), config);
    if (!planes.ok()) return kProgram.fail(planes.status().message());
    ModelReport report = analyse(file.value(), options.model, config, options.ngl,
                                 [&](const GgufTensor& tensor) { return planes.value()->find(tensor); });
    const Result<std::string> runtime = locate_runtime(config.runtime, own_directory());
    if (!runtime.ok()) {
        report.notes.push_back("the plan for a machine with an NPU; this one: " + runtime.status().message());
    }
    return kProgram.show(options.json ? to_json(report) : to_text(report));
}

int run(const Options& options) {
    const Result<Config> config = Config::from_environment();
    if (!config.ok()) return kProgram.fail(config.status().message());
    for (const std::string& name : config.value().unknown) {
        kProgram.warn(format("%s is not a setting", name.c_str()));
    }
    return options.model.empty() ? show_machine(options, config.value())
                                 : show_model(options, config.value());
}

int parse_and_run(int argc, char** argv) {
    Options options;
    CLI::App app(
        "Without a model: what is here (runtime, NPU, memory, settings).\n"
        "With one: where each of its tensors will run under llama.cpp, in which precision, or why not on the "
        "NPU.");
    app.add_option("model", options.model, "a GGUF file");
    app.add_option("--ngl", options.ngl, "as llama.cpp's -ngl: how many layers go to the NPU; negative: all")
        ->capture_default_str();
    app.add_flag("--json", options.json, "for programs");
    return kProgram.run(app, argc, argv, [&] { return run(options); });
}

}  // namespace

int main(int argc, char** argv) {
    return kProgram.guard([&] { return parse_and_run(argc, argv); });
}
