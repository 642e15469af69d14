// SPDX-License-Identifier: MIT
// rknpu2-bench kernels: see kernel_speed.hpp for what is measured.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "commands.hpp"
#include "kernel_speed.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

struct Options {
    KernelBenchSettings settings;
    std::string format = "text";
};

std::string as_text(const Options& options, const std::vector<KernelSpeed>& speeds) {
    const KernelBenchSettings& s = options.settings;
    TextTable table("lrrrr");
    table.add({"kernel", "MB", "GB/s", "of memcpy", "range"});
    for (const KernelSpeed& speed : speeds) {
        table.add({speed.name, format("%.1f", static_cast<double>(speed.bytes) * 1e-6),
                   format("%.1f", speed.gbps), format("%.2f", speed.of_copy),
                   format("%.2f-%.2f", speed.low, speed.high)});
    }
    return format("M=%zu K=%zu N=%zu, one thread, medians of %zu interleaved rounds\n", s.M, s.K, s.N,
                  s.rounds) +
           table.to_string();
}

std::string as_csv(const std::vector<KernelSpeed>& speeds) {
    std::string text = "kernel,bytes,gbps,of_memcpy,low,high\n";
    for (const KernelSpeed& speed : speeds) {
        text += format("\"%s\",%zu,%.3f,%.3f,%.3f,%.3f\n", speed.name.c_str(), speed.bytes, speed.gbps,
                       speed.of_copy, speed.low, speed.high);
    }
    return text;
}

std::string as_json(const Options& options, const std::vector<KernelSpeed>& speeds) {
    nlohmann::ordered_json kernels = nlohmann::ordered_json::array();
    for (const KernelSpeed& speed : speeds) {
        kernels.push_back({{"name", speed.name},
                           {"bytes", speed.bytes},
                           {"gbps", speed.gbps},
                           {"of_memcpy", speed.of_copy},
                           {"low", speed.low},
                           {"high", speed.high}});
    }
    const KernelBenchSettings& s = options.settings;
    const nlohmann::ordered_json document = {{"schema", 1}, {"M", s.M},           {"K", s.K},
                                             {"N", s.N},    {"rounds", s.rounds}, {"kernels", kernels}};
    return document.dump(2) + "\n";
}

void run(const Options& options) {
    const Result<std::vector<KernelSpeed>> speeds = measure_kernels(options.settings);
    if (!speeds.ok()) {
        std::fprintf(stderr, "rknpu2-bench kernels: %s\n", speeds.status().to_string().c_str());
        throw CLI::RuntimeError(1);
    }
    const std::string text = options.format == "json"  ? as_json(options, speeds.value())
                             : options.format == "csv" ? as_csv(speeds.value())
                                                       : as_text(options, speeds.value());
    std::fputs(text.c_str(), stdout);
}

}  // namespace

void add_kernels(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand(
        "kernels", "how fast activations are made ready for the NPU and results are read, against memcpy");
    command->add_option("-M", options->settings.M, "rows")->check(CLI::Range(1, 1 << 16));
    command->add_option("-K", options->settings.K, "elements of a row of activations")
        ->check(CLI::Range(1, 8192));
    command->add_option("-N", options->settings.N, "columns of the result")->check(CLI::Range(1, 1 << 16));
    command->add_option("--rounds", options->settings.rounds, "interleaved rounds")
        ->check(CLI::Range(1, 10000));
    command->add_option("--format", options->format)->check(CLI::IsMember({"text", "csv", "json"}));
    command->callback([options] { run(*options); });
}

}  // namespace rknpu2
