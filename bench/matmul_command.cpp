// SPDX-License-Identifier: MIT
// rknpu2-bench matmul: see matmul_speed.hpp for what is measured.
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/format.hpp"
#include "commands.hpp"
#include "matmul_speed.hpp"
#include "predict/csv.hpp"
#include "predict/model_shapes.hpp"
#include "program.hpp"
#include "runtime/locate.hpp"
#include "text_table.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

const std::map<std::string, Precision> kPrecisions = {{"balanced", Precision::kBalanced},
                                                      {"fast", Precision::kFast},
                                                      {"exact", Precision::kExact},
                                                      {"naive", Precision::kNaive}};

constexpr const char* kCsvHeader =
    "m,k,n,precision,cores,wall_ns,low_ns,high_ns,quantise_ns,npu_ns,dequantise_ns,runs,weight_bytes,"
    "activation_bytes,result_bytes,error,chip_ns";

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

MatmulShape parse_shape(const std::string& text) {
    constexpr size_t kMaxSize = size_t{1} << 20;
    constexpr uint64_t kMaxElements = uint64_t{1} << 32;
    MatmulShape shape;
    const bool read = std::sscanf(text.c_str(), "%zux%zux%zu", &shape.M, &shape.K, &shape.N) == 3;
    const auto [least, most] = std::minmax({shape.M, shape.K, shape.N});
    if (!read || shape_text(shape) != text || least < 1 || most > kMaxSize) {
        fail(format("\"%s\" is not a shape: MxKxN such as 512x4096x11008, each 1 to %zu", text.c_str(),
                    kMaxSize));
    }
    if (std::max({shape.M * shape.K, shape.N * shape.K, shape.M * shape.N}) > kMaxElements)
        fail(format("%s has a matrix of more than 2^32 elements", text.c_str()));
    return shape;
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
        add_shape(parse_shape(text), shapes);
    for (const std::string& name : options.models)
        add_model(value_of(find_model_shape(name)), options.rows, shapes);
    if (!shapes.empty()) return shapes;
    for (const size_t M : options.rows)
        add_shape({M, 4096, 4096}, shapes);
    return shapes;
}

std::vector<Config> settings_of(const Options& options, const Config& config) {
    std::vector<Config> settings;
    for (const std::string& name : options.precisions) {
        for (const int cores : options.cores.empty() ? std::vector<int>{config.cores} : options.cores) {
            Config& setting = settings.emplace_back(config);
            setting.precision = kPrecisions.at(name);
            setting.cores = cores;
        }
    }
    return settings;
}

std::string as_text(const std::string& runtime, size_t rounds, const std::vector<Json>& speeds) {
    TextTable table("llrrrrrrrrrrrr");
    table.add({"MxKxN", "precision", "cores", "ms", "range", "GOPS", "quantise", "NPU", "dequantise", "runs",
               "weight MB", "error", "chip ms", "chip GOPS"});
    bool simulated = false;
    for (const Json& s : speeds) {
        const MatmulShape shape{s["M"], s["K"], s["N"]};
        const auto ms = [](const Json& ns) { return format("%.3f", ns.get<double>() * 1e-6); };
        // Operations in a nanosecond are thousands of millions in a second.
        const auto gops = [operations = 2.0 * static_cast<double>(shape.M * shape.K * shape.N)](
                              const Json& ns) { return format("%.1f", operations / ns.get<double>()); };
        const Json &wall = s["wall_ns"], &chip = s["chip_ns"];
        simulated = simulated || !chip.is_null();
        table.add({shape_text(shape), s["precision"], s["cores"].dump(), ms(wall["median"]),
                   ms(wall["low"]) + "-" + ms(wall["high"]), gops(wall["median"]), ms(s["quantise_ns"]),
                   ms(s["npu_ns"]), ms(s["dequantise_ns"]), s["runs"].dump(),
                   format("%.2f", s["weight_bytes"].get<double>() * 1e-6),
                   format("%.1e", s["error"].get<double>()), chip.is_null() ? "-" : ms(chip),
                   chip.is_null() ? "-" : gops(chip)});
    }
    std::string text = format("runtime %s, medians of %zu interleaved rounds\n", runtime.c_str(), rounds);
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

void run(const Options& options) {
    const Config config = value_of(Config::from_environment());
    const std::vector<Config> settings = settings_of(options, config);
    const std::vector<MatmulShape> shapes = shapes_of(options);
    const std::string runtime =
        value_of(locate_runtime(options.runtime.empty() ? config.runtime : options.runtime, own_directory()));
    std::vector<Json> speeds;
    for (size_t i = 0; i < shapes.size(); ++i) {
        std::fprintf(stderr, "  %zu of %zu: %s ...\n", i + 1, shapes.size(), shape_text(shapes[i]).c_str());
        const std::vector<Json> measured =
            value_of(measure_matmul(shapes[i], settings, runtime, options.rounds));
        speeds.insert(speeds.end(), measured.begin(), measured.end());
    }
    const Json document = {
        {"schema", 1}, {"runtime", runtime}, {"rounds", options.rounds}, {"matmuls", speeds}};
    show(options.format == "json"  ? document.dump(2) + "\n"
         : options.format == "csv" ? csv_text(kCsvHeader, speeds)
                                   : as_text(runtime, options.rounds, speeds));
}

}  // namespace

void add_matmul(CLI::App& app) {
    const auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("matmul",
                                                 "how long multiplications take, from float activations to "
                                                 "float results, on the NPU or its simulator");
    command->add_option("--shape", options->shapes, "MxKxN, several; without any, M rows times 4096x4096");
    command->add_option("--model", options->models,
                        "all matrices of a model: a name of bench/models.csv or a file");
    command->add_option("-M", options->rows, "rows, for --model")
        ->check(CLI::Range(1, 1 << 16))
        ->capture_default_str();
    command->add_option("--precision", options->precisions)
        ->check(CLI::IsMember(kPrecisions))
        ->capture_default_str();
    command->add_option("--cores", options->cores, "1 to 3; default: GGML_RKNPU2_CORES, else 3")
        ->check(CLI::Range(1, 3));
    command->add_option("--runtime", options->runtime,
                        "auto, sim, or the path of a librknnrt.so; default: GGML_RKNPU2_RUNTIME, else auto");
    command->add_option("--rounds", options->rounds, "interleaved rounds")
        ->check(CLI::Range(1, 10000))
        ->capture_default_str();
    add_format(*command, options->format);
    command->callback([options] { run(*options); });
}

}  // namespace rknpu2
