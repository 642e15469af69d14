// SPDX-License-Identifier: MIT
// rknpu2-info: what is here (runtime, NPU, memory, settings), and what of a model will run where.
//
// Exit status: 0; 1 with one line on stderr for a file that cannot be read, a setting out of range or a wrong
// option. A machine without a runtime is information, not a failure.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "base/format.hpp"
#include "hosts.hpp"
#include "machine_report.hpp"
#include "model_report.hpp"
#include "program.hpp"

namespace {

using namespace rknpu2;

const Program kProgram("rknpu2-info", 1);

struct Options {
    std::string model;
    int64_t ngl = kDefaultNgl;
    bool json = false;
    bool hosts = false;
    std::string folder;
};

// The bytes of a model file's tensors.
class MappedModel {
  public:
    ~MappedModel() {
        if (data_ != nullptr) munmap(data_, size_);
    }
    Status map(const std::string& path) {
        const FileDescriptor file = open_file(path.c_str(), O_RDONLY);
        struct stat info {};
        if (file.is_open() && fstat(file.number(), &info) == 0) {
            size_ = static_cast<size_t>(info.st_size);
            void* const mapped = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number(), 0);
            if (mapped != MAP_FAILED) data_ = mapped;
        }
        if (data_ != nullptr) return {};
        return {StatusCode::kIo, format("%s: cannot be read: %s", path.c_str(), std::strerror(errno))};
    }
    // Null when the file was cut short since its description was read.
    const std::byte* at(uint64_t start, uint64_t bytes) const {
        const bool inside = start <= size_ && bytes <= size_ - start;
        return inside ? static_cast<const std::byte*>(data_) + start : nullptr;
    }

  private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

int show_machine(const Options& options, const Config& config) {
    const MachineReport report = look_at_machine(config, own_directory());
    return kProgram.show(options.json ? to_json(report) : to_text(report));
}

int show_hosts(const Options& options) {
    std::string plugin = own_directory() + "/libggml-rknpu2.so";  // in a build
    if (access(plugin.c_str(), R_OK) != 0)
        plugin = own_directory() + "/../" RKNPU2_INSTALL_LIBDIR "/ggml-rknpu2/libggml-rknpu2.so";
    if (access(plugin.c_str(), R_OK) != 0)
        return kProgram.fail(
            "libggml-rknpu2.so is not there: install the package ggml-rknpu2 beside this program");
    std::vector<GgmlHost> hosts;
    for (const std::string& library : find_ggml(options.folder))
        hosts.push_back(ask_host(library, plugin));
    return kProgram.show(options.json ? to_json(hosts) : to_text(hosts));
}

int show_model(const Options& options, const Config& config) {
    const Result<GgufFile> file = GgufFile::open(options.model);
    if (!file.ok()) return kProgram.fail(file.status().message());
    Config with_moments = config;  // which the comparison of precisions needs, whatever the setting is
    with_moments.precision = Precision::kCompact;
    const Result<std::unique_ptr<StatsLibrary>> library = open_stats_library(with_moments);
    if (!library.ok()) return kProgram.fail(library.status().message());
    MappedModel model;
    FindStatistics find;
    if (library.value() != nullptr && !file.value().tensors.empty()) {
        if (const Status status = model.map(options.model); !status.ok())
            return kProgram.fail(status.message());
        find = [&](const GgufTensor& tensor) -> std::optional<StatsLibrary::Found> {
            const std::byte* const data = model.at(file.value().data_offset + tensor.offset, tensor.bytes);
            if (data == nullptr || tensor.bytes == 0 || tensor.ne[1] == 0) return std::nullopt;
            WeightSource source;
            source.name = tensor.name;
            source.type_name = tensor.type->name;
            source.K = static_cast<size_t>(tensor.ne[0]);
            source.N = static_cast<size_t>(tensor.ne[1]);
            source.data = data;
            source.row_bytes = static_cast<size_t>(tensor.bytes / tensor.ne[1]);
            return library.value()->find(source);
        };
    }
    const MachineReport machine = look_at_machine(config, own_directory());
    RatesChoice rates{{}, "the model's", {}};
    if (machine.runtime_error.empty()) rates = machine.rates;
    ModelReport report = analyse(file.value(), options.model, config, options.ngl, find, rates);
    if (!machine.runtime_error.empty())
        report.notes.push_back("the plan for a machine with an NPU; this one: " + machine.runtime_error);
    return kProgram.show(options.json ? to_json(report) : to_text(report));
}

int run(const Options& options) {
    const Result<Config> config = Config::from_environment();
    if (!config.ok()) return kProgram.fail(config.status().message());
    for (const std::string& name : config.value().unknown) {
        kProgram.warn(format("%s is not a setting", name.c_str()));
    }
    if (options.hosts) return show_hosts(options);
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
    CLI::Option* const hosts =
        app.add_option("--hosts", options.folder,
                       "which ggml of this machine, or in FOLDER, will load the plug-in")
            ->expected(0, 1)
            ->check(CLI::ExistingDirectory)
            ->type_name("[FOLDER]");
    app.add_flag("--json", options.json, "for programs");
    return kProgram.run(app, argc, argv, [&] {
        options.hosts = hosts->count() > 0;
        return run(options);
    });
}

}  // namespace

int main(int argc, char** argv) {
    return kProgram.guard([&] { return parse_and_run(argc, argv); });
}
