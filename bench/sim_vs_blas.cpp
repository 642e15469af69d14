// SPDX-License-Identifier: MIT
// Is the simulator as fast as a float library? Compares its products with OpenBLAS' cblas_sgemm of the same
// shape on as many threads.
//
//   sim_vs_blas [--threads 1,2] [--rounds 15] [--shape MxKxN]... [--type NAME]... [--library librknnrt.so]
//               [--csv FILE] [--json FILE]     types: int8 fp16 fp16-fp16 int4 int8-int8
//
// Everything is interleaved: a round measures sgemm and each kind of product once, in turn, so that a machine
// that slows down slows all of them; reported are medians over the rounds of the ratios within a round.
// sgemm's B (64 MB for 4096 x 4096) passes through the caches between any two runs of a product, so weights
// come from memory, as in a model. sgemm is measured with B as rows [K,N] and as rows [N,K]; the faster one
// is what the simulator is compared with.
//
//   run      what a caller does for each product: sync A, run, sync C; RKNNSIM_CHECK=off
//   checked  the same with RKNNSIM_CHECK=warn
//   bare     the kernels alone, without the C interface
#include <cblas.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <random>
#include <sstream>

#include "bench/simulated.hpp"

namespace rknpu2_bench {
namespace {

struct Options {
    std::vector<int> threads = {1, 2};
    int rounds = 15;
    std::vector<Shape> shapes;
    std::vector<std::string> types;
    std::string library = SIM_VS_BLAS_LIBRARY;
    std::string csv, json;
};

struct Type {
    const char* name;
    rknn_matmul_type number;
};
constexpr Type kTypes[] = {{"int8", RKNN_INT8_MM_INT8_TO_INT32},
                           {"fp16", RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32},
                           {"fp16-fp16", RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16},
                           {"int4", RKNN_INT4_MM_INT4_TO_INT16},
                           {"int8-int8", RKNN_INT8_MM_INT8_TO_INT8}};

enum Kind { kRows, kTransposed, kRun, kChecked, kBare, kKinds };

struct Row {
    Shape shape;
    int threads;
    std::string type;
    double sgemm_ms, run_ms;
    double ratio, low, high;   // sgemm time / run time: median, lower and upper quartile
    double checked, overhead;  // checked time / run time; run time / bare time
    double gmacs;
};

double quantile(std::vector<double> values, double q) {
    std::sort(values.begin(), values.end());
    return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}
double median(const std::vector<double>& values) {
    return quantile(values, 0.5);
}

// Medians of the elementwise ratios.
std::vector<double> ratios(const std::vector<double>& a, const std::vector<double>& b) {
    std::vector<double> result(a.size());
    for (size_t i = 0; i < a.size(); ++i)
        result[i] = a[i] / b[i];
    return result;
}

class Sgemm {
  public:
    explicit Sgemm(Shape shape)
        : shape_(shape), a_(at(shape.M) * at(shape.K)), b_(at(shape.K) * at(shape.N)) {
        std::mt19937 random(1);
        for (std::vector<float>* values : {&a_, &b_}) {
            for (float& x : *values)
                x = static_cast<float>(random() % 2001) / 1000.0F - 1.0F;
        }
        c_.resize(at(shape.M) * at(shape.N));
    }
    void compute(bool transposed) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans, shape_.M, shape_.N,
                    shape_.K, 1.0F, a_.data(), shape_.K, b_.data(), transposed ? shape_.K : shape_.N, 0.0F,
                    c_.data(), shape_.N);
    }

  private:
    static size_t at(int n) { return static_cast<size_t>(n); }
    Shape shape_;
    std::vector<float> a_, b_, c_;
};

// On one thread its processor time, so that being interrupted does not count; on several the time on the
// wall.
double now(int threads) {
    timespec time{};
    clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double seconds_of(int threads, const std::function<void()>& body) {
    const double start = now(threads);
    body();
    return now(threads) - start;
}

Row measure(const Options& options, Shape shape, int threads, const Type& type, Sgemm& sgemm,
            const Library& plain, const Library& checked) {
    openblas_set_num_threads(threads);
    Team team(threads);
    const auto run = make_product(plain, type.number, shape, team);
    const auto check = make_product(checked, type.number, shape, team);
    const auto bare = make_bare_product(*rknnsim::find_tier("auto"), type.number, shape, team);
    const std::function<void()> bodies[kKinds] = {[&] { sgemm.compute(false); }, [&] { sgemm.compute(true); },
                                                  [&] { run->compute(); }, [&] { check->compute(); },
                                                  [&] { bare->compute(); }};
    // Short products get more rounds.
    const double macs = 1.0 * shape.M * shape.K * shape.N;
    const int rounds = macs < 1e9 ? 4 * options.rounds : options.rounds;
    std::vector<double> times[kKinds];
    for (int round = -1; round < rounds; ++round) {  // the first is for warming up
        for (int i = 0; i < kKinds; ++i) {
            const int kind = (i + round + 1) % kKinds;
            const double seconds = seconds_of(threads, bodies[kind]);
            if (round >= 0) times[kind].push_back(seconds);
        }
    }
    const Kind best = median(times[kRows]) <= median(times[kTransposed]) ? kRows : kTransposed;
    const std::vector<double> speed = ratios(times[best], times[kRun]);
    return {.shape = shape,
            .threads = threads,
            .type = type.name,
            .sgemm_ms = 1e3 * median(times[best]),
            .run_ms = 1e3 * median(times[kRun]),
            .ratio = median(speed),
            .low = quantile(speed, 0.25),
            .high = quantile(speed, 0.75),
            .checked = median(ratios(times[kChecked], times[kRun])),
            .overhead = median(ratios(times[kRun], times[kBare])),
            .gmacs = macs / median(times[kRun]) / 1e9};
}

constexpr const char* kFields[] = {
    "M",     "K",        "N",        "threads",          "type",          "sgemm_ms", "run_ms",
    "ratio", "ratio_q1", "ratio_q3", "checked_over_run", "run_over_bare", "gmacs"};

std::vector<std::string> cells(const Row& row) {
    std::vector<std::string> result = {std::to_string(row.shape.M), std::to_string(row.shape.K),
                                       std::to_string(row.shape.N), std::to_string(row.threads), row.type};
    for (const double value :
         {row.sgemm_ms, row.run_ms, row.ratio, row.low, row.high, row.checked, row.overhead, row.gmacs}) {
        char text[32];
        std::snprintf(text, sizeof text, "%.4g", value);
        result.emplace_back(text);
    }
    return result;
}

void write_csv(const std::vector<Row>& rows, const std::string& path) {
    std::ofstream file(path);
    const char* separator = "";
    for (const char* field : kFields) {
        file << separator << field;
        separator = ",";
    }
    file << "\n";
    for (const Row& row : rows) {
        separator = "";
        for (const std::string& cell : cells(row)) {
            file << separator << cell;
            separator = ",";
        }
        file << "\n";
    }
}

void write_json(const std::vector<Row>& rows, const std::string& path) {
    std::ofstream file(path);
    file << "[";
    for (size_t r = 0; r < rows.size(); ++r) {
        const std::vector<std::string> values = cells(rows[r]);
        file << (r > 0 ? ",\n {" : "\n {");
        for (size_t i = 0; i < values.size(); ++i) {
            const char* quote = std::string(kFields[i]) == "type" ? "\"" : "";
            file << (i > 0 ? ", " : "") << '"' << kFields[i] << "\": " << quote << values[i] << quote;
        }
        file << "}";
    }
    file << "\n]\n";
}

[[noreturn]] void usage(int status) {
    std::puts(
        "sim_vs_blas [--threads 1,2] [--rounds 15] [--shape MxKxN]... [--type NAME]... [--library "
        "librknnrt.so]\n"
        "            [--csv FILE] [--json FILE]\n"
        "types: int8 fp16 fp16-fp16 int4 int8-int8");
    std::exit(status);
}

Options parse(int argc, char** argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        if (name == "--help" || name == "-h") usage(0);
        if (i + 1 == argc) usage(2);
        const std::string value = argv[++i];
        Shape shape{};
        if (name == "--threads") {
            options.threads.clear();
            std::stringstream list(value);
            for (std::string item; std::getline(list, item, ',');)
                options.threads.push_back(std::max(1, std::atoi(item.c_str())));
        } else if (name == "--rounds") {
            options.rounds = std::max(1, std::atoi(value.c_str()));
        } else if (name == "--shape" &&
                   std::sscanf(value.c_str(), "%dx%dx%d", &shape.M, &shape.K, &shape.N) == 3) {
            options.shapes.push_back(shape);
        } else if (name == "--type") {
            options.types.push_back(value);
        } else if (name == "--library") {
            options.library = value;
        } else if (name == "--csv") {
            options.csv = value;
        } else if (name == "--json") {
            options.json = value;
        } else {
            usage(2);
        }
    }
    if (options.shapes.empty()) options.shapes = {{512, 4096, 4096}, {1, 4096, 4096}};
    if (options.types.empty()) options.types = {"int8", "fp16", "int4"};
    return options;
}

int run(const Options& options) {
    const Library plain(options.library, {{"RKNNSIM_CHECK", "off"}});
    const Library checked(options.library, {{"RKNNSIM_CHECK", "warn"}});
    std::printf("%s; kernels: %s\n\n", openblas_get_config(), plain.kernel.c_str());
    std::printf(
        "| shape | threads | type | sgemm ms | simulator ms | GMAC/s | sgemm / simulator (quartiles) | "
        "checked / run | run / bare |\n"
        "|---|---|---|---|---|---|---|---|---|\n");
    std::vector<Row> rows;
    for (const Shape shape : options.shapes) {
        Sgemm sgemm(shape);
        for (const int threads : options.threads) {
            for (const Type& type : kTypes) {
                if (std::find(options.types.begin(), options.types.end(), type.name) == options.types.end())
                    continue;
                rows.push_back(measure(options, shape, threads, type, sgemm, plain, checked));
                const Row& row = rows.back();
                std::printf(
                    "| %dx%dx%d | %d | %s | %.4g | %.4g | %.3g | **%.2f** (%.2f, %.2f) | %.3f | %.3f |\n",
                    shape.M, shape.K, shape.N, threads, type.name, row.sgemm_ms, row.run_ms, row.gmacs,
                    row.ratio, row.low, row.high, row.checked, row.overhead);
                std::fflush(stdout);
            }
        }
    }
    if (!options.csv.empty()) write_csv(rows, options.csv);
    if (!options.json.empty()) write_json(rows, options.json);
    return 0;
}

}  // namespace
}  // namespace rknpu2_bench

int main(int argc, char** argv) {
    return rknpu2_bench::run(rknpu2_bench::parse(argc, argv));
}
