// SPDX-License-Identifier: MIT
// rknpu2-bench matmul: see matmul_speed.hpp for what is measured.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "commands.hpp"
#include "matmul_speed.hpp"
#include "predict/model_shapes.hpp"
#include "runtime/locate.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

constexpr Precision kPrecisions[] = {Precision::kBalanced, Precision::kFast, Precision::kExact,
                                     Precision::kNaive};

struct Options {
    std::vector<std::string> shapes;
    std::vector<std::string> models;
    std::vector<size_t> rows = {1, 512};
    std::vector<std::string> precisions = {"fast"};
    std::vector<int> cores;
    std::string runtime;
    size_t rounds = 5;
    std::string format = "text";
};

[[noreturn]] void fail(const std::string& message) {
    std::fprintf(stderr, "rknpu2-bench matmul: %s\n", message.c_str());
    throw CLI::RuntimeError(1);
}

template <typename Value>
Value value_or_fail(Result<Value> result) {
    if (!result.ok()) fail(result.status().message());
    return result.take();
}

void add_shape(const MatmulShape& shape, std::vector<MatmulShape>& shapes) {
    if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
}

// Every different matrix of a layer, and the output head, which one row goes through.
void add_model(const ModelShape& model, const std::vector<size_t>& rows, std::vector<MatmulShape>& shapes) {
    const auto add_group = [&](Group group, size_t M) {
        for (const WeightShape& weight : weights_of(model, group))
            add_shape({M, static_cast<size_t>(weight.K), static_cast<size_t>(weight.N)}, shapes);
    };
    for (const size_t M : rows) {
        for (const Group group : kLayerGroups)
            add_group(group, M);
    }
    add_group(Group::kHead, 1);
}

std::vector<MatmulShape> shapes_of(const Options& options) {
    std::vector<MatmulShape> shapes;
    for (const std::string& text : options.shapes)
        add_shape(value_or_fail(parse_matmul_shape(text)), shapes);
    for (const std::string& name : options.models)
        add_model(value_or_fail(find_model_shape(name)), options.rows, shapes);
    if (!shapes.empty()) return shapes;
    for (const size_t M : options.rows)
        add_shape({M, 4096, 4096}, shapes);
    return shapes;
}

Precision precision_called(const std::string& name) {
    for (const Precision precision : kPrecisions) {
        if (name == precision_name(precision)) return precision;
    }
    fail(format("there is no precision \"%s\": balanced, fast, exact or naive", name.c_str()));
}

std::string own_directory() {
    std::error_code error;
    const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
    return error ? "." : self.parent_path().string();
}

MatmulBenchSettings settings_of(const Options& options) {
    MatmulBenchSettings settings;
    settings.config = value_or_fail(Config::from_environment());
    settings.shapes = shapes_of(options);
    const std::vector<int> cores =
        options.cores.empty() ? std::vector<int>{settings.config.cores} : options.cores;
    for (const std::string& name : options.precisions) {
        for (const int count : cores)
            settings.settings.push_back({precision_called(name), count});
    }
    const std::string& runtime = options.runtime.empty() ? settings.config.runtime : options.runtime;
    settings.runtime = value_or_fail(locate_runtime(runtime, own_directory()));
    settings.rounds = options.rounds;
    return settings;
}

// Operations in a nanosecond are thousands of millions in a second.
double gops(const MatmulSpeed& speed, double nanoseconds) {
    return speed.operations() / nanoseconds;
}

std::string shape_text(const MatmulShape& shape) {
    return format("%zux%zux%zu", shape.M, shape.K, shape.N);
}

std::string as_text(const MatmulBenchSettings& settings, const std::vector<MatmulSpeed>& speeds) {
    TextTable table("llrrrrrrrrrrrr");
    table.add({"MxKxN", "precision", "cores", "ms", "range", "GOPS", "quantise", "NPU", "dequantise", "runs",
               "weight MB", "error", "chip ms", "chip GOPS"});
    bool simulated = false;
    const auto ms = [](double nanoseconds) { return format("%.3f", nanoseconds * 1e-6); };
    for (const MatmulSpeed& s : speeds) {
        simulated = simulated || s.chip_ns.has_value();
        table.add({shape_text(s.shape), precision_name(s.setting.precision), std::to_string(s.setting.cores),
                   ms(s.wall_ns), ms(s.low_ns) + "-" + ms(s.high_ns), format("%.1f", gops(s, s.wall_ns)),
                   ms(s.quantise_ns), ms(s.npu_ns), ms(s.dequantise_ns), std::to_string(s.runs),
                   format("%.2f", static_cast<double>(s.weight_bytes) * 1e-6), format("%.1e", s.error),
                   s.chip_ns ? ms(*s.chip_ns) : "-", s.chip_ns ? format("%.1f", gops(s, *s.chip_ns)) : "-"});
    }
    std::string text =
        format("runtime %s, medians of %zu interleaved rounds\n", settings.runtime.c_str(), settings.rounds);
    text += table.to_string();
    text +=
        "ms: wall time of a multiplication. quantise, NPU, dequantise: ms, summed over threads. runs, "
        "weight MB: of one multiplication.\nerror: of one row, against float64 arithmetic.";
    if (simulated) {
        text +=
            " The runtime is a simulator: all times but the chip's are this machine's. chip: what the\n"
            "NPU's part would take by the simulator's model; nothing was measured on a board.";
    }
    return text + "\n";
}

std::string as_csv(const std::vector<MatmulSpeed>& speeds) {
    std::string text =
        "m,k,n,precision,cores,wall_ns,low_ns,high_ns,quantise_ns,npu_ns,dequantise_ns,runs,weight_bytes,"
        "activation_bytes,result_bytes,error,chip_ns\n";
    for (const MatmulSpeed& s : speeds) {
        text += format("%zu,%zu,%zu,%s,%d,%.0f,%.0f,%.0f,%.0f,%.0f,%.0f,", s.shape.M, s.shape.K, s.shape.N,
                       precision_name(s.setting.precision), s.setting.cores, s.wall_ns, s.low_ns, s.high_ns,
                       s.quantise_ns, s.npu_ns, s.dequantise_ns);
        for (const uint64_t count : {s.runs, s.weight_bytes, s.activation_bytes, s.result_bytes})
            text += std::to_string(count) + ",";
        text += format("%.6g,", s.error) + (s.chip_ns ? format("%.0f", *s.chip_ns) : "") + "\n";
    }
    return text;
}

std::string as_json(const MatmulBenchSettings& settings, const std::vector<MatmulSpeed>& speeds) {
    using json = nlohmann::ordered_json;
    json matmuls = json::array();
    for (const MatmulSpeed& s : speeds) {
        matmuls.push_back({{"M", s.shape.M},
                           {"K", s.shape.K},
                           {"N", s.shape.N},
                           {"precision", precision_name(s.setting.precision)},
                           {"cores", s.setting.cores},
                           {"wall_ns", {{"median", s.wall_ns}, {"low", s.low_ns}, {"high", s.high_ns}}},
                           {"quantise_ns", s.quantise_ns},
                           {"npu_ns", s.npu_ns},
                           {"dequantise_ns", s.dequantise_ns},
                           {"runs", s.runs},
                           {"weight_bytes", s.weight_bytes},
                           {"activation_bytes", s.activation_bytes},
                           {"result_bytes", s.result_bytes},
                           {"error", s.error},
                           {"chip_ns", s.chip_ns ? json(*s.chip_ns) : json()}});
    }
    const json document = {
        {"schema", 1}, {"runtime", settings.runtime}, {"rounds", settings.rounds}, {"matmuls", matmuls}};
    return document.dump(2) + "\n";
}

void run(const Options& options) {
    const MatmulBenchSettings settings = settings_of(options);
    const Result<std::vector<MatmulSpeed>> speeds = measure_matmuls(settings, [&](size_t i) {
        std::fprintf(stderr, "  %zu of %zu: %s ...\n", i + 1, settings.shapes.size(),
                     shape_text(settings.shapes[i]).c_str());
    });
    if (!speeds.ok()) fail(speeds.status().to_string());
    const std::string text = options.format == "json"  ? as_json(settings, speeds.value())
                             : options.format == "csv" ? as_csv(speeds.value())
                                                       : as_text(settings, speeds.value());
    std::fputs(text.c_str(), stdout);
}

}  // namespace

void add_matmul(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("matmul",
                                                 "how long multiplications take, from float activations to "
                                                 "float results, on the NPU or its simulator");
    command->add_option("--shape", options->shapes, "MxKxN, several; without any, M rows times 4096x4096");
    command->add_option("--model", options->models,
                        "all matrices of a model: a name of bench/shapes or a file");
    command->add_option("-M", options->rows, "rows, for --model")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str();
    command->add_option("--precision", options->precisions, "balanced, fast, exact, naive")
        ->capture_default_str();
    command->add_option("--cores", options->cores, "1 to 3; default: GGML_RKNPU2_CORES, else 3")
        ->check(CLI::Range(1, 3));
    command->add_option("--runtime", options->runtime,
                        "auto, sim, or the path of a librknnrt.so; default: GGML_RKNPU2_RUNTIME, else auto");
    command->add_option("--rounds", options->rounds, "interleaved rounds")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    command->add_option("--format", options->format)->check(CLI::IsMember({"text", "csv", "json"}));
    command->callback([options] { run(*options); });
}

}  // namespace rknpu2
