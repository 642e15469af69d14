// SPDX-License-Identifier: MIT
// rknpu2-bench matmul: how long a multiplication takes through the plug-in's own path, from float32 activations
// to float32 results, on whatever runtime there is.
//
// Several settings take turns in one process; figures are medians over the rounds. Weights and activations are
// random with a fixed seed. One row of every result is compared with float64 arithmetic: a fast
// multiplication that is wrong is not fast. On a board these are the board's times. On the simulator they are
// a PC's, and `chip_ns` is what the NPU's part would take on the chip, by the simulator's model.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <list>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "base/format.hpp"
#include "commands.hpp"
#include "config/device_lock.hpp"
#include "matmul/npu_device.hpp"
#include "predict/csv.hpp"
#include "predict/model_shapes.hpp"
#include "program.hpp"
#include "runtime/locate.hpp"
#include "runtime/rknn_runtime.hpp"
#include "runtime_clock.hpp"
#include "text_table.hpp"
#include "turns.hpp"

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

// [M, K] activations times [N, K] weights.
struct MatmulShape {
    size_t M = 0;
    size_t K = 0;
    size_t N = 0;
    friend bool operator==(const MatmulShape&, const MatmulShape&) = default;
};

std::string shape_text(const MatmulShape& shape) {
    return format("%zux%zux%zu", shape.M, shape.K, shape.N);
}

// Columns of the first row that are checked, spread over all of N.
constexpr size_t kCheckedColumns = 64;

// What the core that has worked longest has worked between two readings.
double longest(const RuntimeClock::Busy& before, const RuntimeClock::Busy& after) {
    uint64_t longest = 0;
    for (size_t core = 0; core < before.size(); ++core)
        longest = std::max(longest, after[core] - before[core]);
    return static_cast<double>(longest);
}

// The operands of one shape. Weights are stored as int8, a normal distribution in steps of a 32nd.
struct Operands {
    MatmulShape shape;
    std::vector<float> a;
    std::vector<int8_t> w;
    std::vector<float> out;

    explicit Operands(const MatmulShape& s) : shape(s), a(s.M * s.K), w(s.N * s.K), out(s.M * s.N) {
        std::mt19937 random(1);
        std::normal_distribution<float> normal;
        for (float& x : a)
            x = normal(random);
        // A table of values in a random order is as good as a million draws, and much faster.
        int8_t table[4096];
        for (int8_t& x : table)
            x = static_cast<int8_t>(std::clamp(std::lround(32 * normal(random)), -127L, 127L));
        uint32_t state = 1;
        for (int8_t& x : w) {
            state = state * 1664525U + 1013904223U;
            x = table[state >> 20];
        }
    }

    WeightSource source() const {
        WeightSource source;
        source.name = format("%zux%zu", shape.N, shape.K);
        source.type_name = "int8";
        source.N = shape.N;
        source.K = shape.K;
        source.data = reinterpret_cast<const std::byte*>(w.data());
        source.row_bytes = shape.K;
        source.dequantise = [](const void* row, float* to, int64_t count) {
            const auto* const from = static_cast<const int8_t*>(row);
            for (int64_t k = 0; k < count; ++k)
                to[k] = static_cast<float>(from[k]) / 32.0F;
        };
        return source;
    }

    double error() const {
        double difference = 0;
        double total = 0;
        const size_t step = std::max<size_t>(1, shape.N / kCheckedColumns);
        for (size_t n = 0; n < shape.N; n += step) {
            double sum = 0;
            for (size_t k = 0; k < shape.K; ++k)
                sum += static_cast<double>(a[k]) * w[n * shape.K + k] / 32.0;
            difference += (out[n] - sum) * (out[n] - sum);
            total += sum * sum;
        }
        return total == 0 ? 0 : std::sqrt(difference / total);
    }
};

// A device of its own for each setting, and what its rounds took.
struct Contestant {
    Contestant(const std::string& library, const Operands& operands, const Config& setting)
        : shape(operands.shape), config(setting) {
        config.weight_cache_directory.clear();
        keep_malloc_from_mapping(is_simulator(library), config.malloc_mmap);
        auto runtime = value_of(open_rknn_runtime(library), shape_text(shape));
        lock = value_of(
            DeviceLock::open(config, runtime->info().simulated, npu_device_nodes(), counters.device_lock),
            shape_text(shape));
        device = std::make_shared<NpuDevice>(std::move(runtime), config, counters);
        weight = value_of(device->pack(operands.source()), shape_text(shape));
    }

    void play(const RuntimeClock& clock, Operands& operands) {
        constexpr std::pair<const char*, Phase> kPhases[] = {{"quantise_ns", Phase::kQuantise},
                                                             {"npu_ns", Phase::kNpu},
                                                             {"dequantise_ns", Phase::kDequantise}};
        // Other programs have their turns between multiplications; waiting for ours is not timed.
        const DeviceLock::Turn turn = value_of(DeviceLock::Turn::take(lock.get()), shape_text(shape));
        for (const auto& [name, phase] : kPhases)
            times[name].push_back(-static_cast<double>(counters.time_ns(phase)));
        const std::optional<RuntimeClock::Busy> busy = clock.busy();
        const auto start = std::chrono::steady_clock::now();
        check(device->multiply(*weight, operands.a.data(), shape.M, operands.out.data()), shape_text(shape));
        const std::chrono::duration<double, std::nano> wall = std::chrono::steady_clock::now() - start;
        times["wall_ns"].push_back(wall.count());
        for (const auto& [name, phase] : kPhases)
            times[name].back() += static_cast<double>(counters.time_ns(phase));
        if (const std::optional<RuntimeClock::Busy> after = clock.busy(); busy && after)
            times["chip_ns"].push_back(longest(*busy, *after));
    }

    const MatmulShape shape;
    Config config;
    Counters counters;
    std::unique_ptr<DeviceLock> lock;  // null: none is wanted
    std::shared_ptr<NpuDevice> device;
    std::shared_ptr<const PackedWeight> weight;
    double error = 0;
    std::map<std::string, std::vector<double>> times;  // nanoseconds of each round, by their names in results
};

// `calls`: multiplications that were counted.
Json result_of(const Contestant& contestant, size_t calls) {
    const MatmulShape& shape = contestant.shape;
    const Counters& counted = contestant.counters;
    const auto ns = [&](const char* name) {
        const auto found = contestant.times.find(name);
        return found == contestant.times.end() ? Json() : Json(median(found->second));
    };
    const std::vector<double>& wall = contestant.times.at("wall_ns");
    return {{"M", shape.M},
            {"K", shape.K},
            {"N", shape.N},
            {"precision", precision_name(contestant.config.precision)},
            {"cores", contestant.config.cores},
            {"wall_ns", {{"median", median(wall)}, {"low", quantile(wall, 0)}, {"high", quantile(wall, 1)}}},
            {"quantise_ns", ns("quantise_ns")},
            {"npu_ns", ns("npu_ns")},
            {"dequantise_ns", ns("dequantise_ns")},
            {"runs", counted.runs / calls},
            {"weight_bytes", counted.weight_bytes / calls},
            {"activation_bytes", counted.activation_bytes / calls},
            {"result_bytes", counted.result_bytes / calls},
            {"error", contestant.error},
            {"chip_ns", ns("chip_ns")}};
}

// `runtime`: the library's path. Returns for each setting the shape, precision and cores; nanoseconds of one
// multiplication as wall time (wall_ns: median, low, high), as the phases summed over the threads
// (quantise_ns, npu_ns, dequantise_ns) and as chip_ns of the core that works longest (null but on the
// simulator); runs, weight_bytes, activation_bytes and result_bytes, counted, of one multiplication; the error
// of the first row, relative to float64 arithmetic on the stored weight (Frobenius).
std::vector<Json> measure_matmul(const MatmulShape& shape, const std::vector<Config>& settings,
                                 const std::string& runtime, size_t rounds) {
    Operands operands(shape);
    std::list<Contestant> contestants;
    for (const Config& setting : settings)
        contestants.emplace_back(runtime, operands, setting);
    const RuntimeClock clock(runtime);
    for (size_t round = 0; round <= rounds; ++round) {
        for (Contestant& contestant : contestants) {
            contestant.play(clock, operands);
            if (round > 0) continue;  // the first one makes contexts and areas
            contestant.error = operands.error();
            contestant.times.clear();
        }
    }
    std::vector<Json> results;
    for (const Contestant& contestant : contestants)
        results.push_back(result_of(contestant, rounds + 1));
    return results;
}

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
        const std::vector<Json> measured = measure_matmul(shapes[i], settings, runtime, options.rounds);
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
