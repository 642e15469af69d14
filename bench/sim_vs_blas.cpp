// SPDX-License-Identifier: MIT
// Is the simulator as fast as a float library? Compares its products with OpenBLAS' cblas_sgemm of the same
// shape on as many threads.
//
// Everything takes turns: a round measures sgemm and each kind of product once; reported are medians over the
// rounds of the ratios within a round. sgemm's B (64 MB for 4096 x 4096) passes through the caches between
// any two runs of a product, so weights come from memory, as in a model. sgemm is measured with B as rows
// [K,N] and as rows [N,K]; the faster one is what the simulator is compared with. On one thread its processor
// time is measured, on several the time on the wall.
//
//   run      what a caller does for each product: sync A, run, sync C; RKNNSIM_CHECK=off
//   checked  the same with RKNNSIM_CHECK=warn
//   bare     the kernels alone, without the C interface
#include <cblas.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/format.hpp"
#include "bench/simulated.hpp"
#include "bench/turns.hpp"
#include "predict/csv.hpp"
#include "program.hpp"

namespace rknpu2_bench {
namespace {

using rknpu2::format;
using rknpu2::median;
using Json = nlohmann::ordered_json;

const rknpu2::Program kProgram("sim_vs_blas", 1);

const std::map<std::string, rknn_matmul_type> kTypes = {{"int8", RKNN_INT8_MM_INT8_TO_INT32},
                                                        {"fp16", RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32},
                                                        {"fp16-fp16", RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16},
                                                        {"int4", RKNN_INT4_MM_INT4_TO_INT16},
                                                        {"int8-int8", RKNN_INT8_MM_INT8_TO_INT8}};

struct Options {
    std::vector<int> threads = {1, 2};
    size_t rounds = 15;
    std::vector<std::string> shapes = {"512x4096x4096", "1x4096x4096"};
    std::vector<std::string> types = {"int8", "fp16", "int4"};
    std::string library = SIM_VS_BLAS_LIBRARY;
    std::string csv, json;
};

class Sgemm {
  public:
    explicit Sgemm(Shape shape)
        : shape_(shape),
          a_(at(shape.M) * at(shape.K)),
          b_(at(shape.K) * at(shape.N)),
          c_(at(shape.M) * at(shape.N)) {
        std::mt19937 random(1);
        for (std::vector<float>* values : {&a_, &b_})
            std::generate(values->begin(), values->end(),
                          [&] { return static_cast<float>(random() % 2001) / 1000.0F - 1.0F; });
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

// Four digits are more than a measurement has.
Json rounded(double value) {
    return std::stod(format("%.4g", value));
}

Json measure(const Options& options, Shape shape, int threads, const std::string& type, Sgemm& sgemm,
             const Library& plain, const Library& checked) {
    openblas_set_num_threads(threads);
    rknpu2::ThreadPool pool(threads);
    if (pool.threads() != threads)
        throw std::runtime_error(format("only %d threads can be had", pool.threads()));
    const rknn_matmul_type number = kTypes.at(type);
    // Short products get more rounds.
    const double macs = 1.0 * shape.M * shape.K * shape.N;
    const std::vector<std::vector<double>> times = rknpu2::take_turns(
        {[&] { sgemm.compute(false); }, [&] { sgemm.compute(true); },
         simulated_product(plain, number, shape, pool), simulated_product(checked, number, shape, pool),
         bare_product(*rknnsim::find_tier("auto"), number, shape, pool)},
        macs < 1e9 ? 4 * options.rounds : options.rounds,
        threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
    const std::vector<double>& best = times[median(times[0]) <= median(times[1]) ? 0 : 1];
    const std::vector<double>&run = times[2], &check = times[3], &bare = times[4];
    const std::vector<double> speed = rknpu2::ratios(best, run);
    return {{"M", shape.M},
            {"K", shape.K},
            {"N", shape.N},
            {"threads", threads},
            {"type", type},
            {"sgemm_ms", rounded(1e3 * median(best))},
            {"run_ms", rounded(1e3 * median(run))},
            {"ratio", rounded(median(speed))},
            {"ratio_q1", rounded(rknpu2::quantile(speed, 0.25))},
            {"ratio_q3", rounded(rknpu2::quantile(speed, 0.75))},
            {"checked_over_run", rounded(median(rknpu2::ratios(check, run)))},
            {"run_over_bare", rounded(median(rknpu2::ratios(run, bare)))},
            {"gmacs", rounded(macs / median(run) / 1e9)}};
}

int run(const Options& options) {
    const Library plain(options.library, "off");
    const Library checked(options.library, "warn");
    std::printf("%s; kernels: %s\n\n", openblas_get_config(), plain.kernel().c_str());
    std::printf(
        "| shape | threads | type | sgemm ms | simulator ms | GMAC/s | sgemm / simulator (quartiles) | "
        "checked / run | run / bare |\n"
        "|---|---|---|---|---|---|---|---|---|\n");
    std::vector<Json> rows;
    for (const std::string& text : options.shapes) {
        Shape shape{};
        if (std::sscanf(text.c_str(), "%dx%dx%d", &shape.M, &shape.K, &shape.N) != 3)
            return kProgram.fail("\"" + text + "\" is no MxKxN");
        Sgemm sgemm(shape);
        for (const int threads : options.threads) {
            for (const std::string& type : options.types) {
                const Json row = measure(options, shape, threads, type, sgemm, plain, checked);
                const auto cell = [&](const char* name) { return format("%g", row[name].get<double>()); };
                std::printf("| %s | %d | %s | %s | %s | %s | **%s** (%s, %s) | %s | %s |\n", text.c_str(),
                            threads, type.c_str(), cell("sgemm_ms").c_str(), cell("run_ms").c_str(),
                            cell("gmacs").c_str(), cell("ratio").c_str(), cell("ratio_q1").c_str(),
                            cell("ratio_q3").c_str(), cell("checked_over_run").c_str(),
                            cell("run_over_bare").c_str());
                std::fflush(stdout);
                rows.push_back(row);
            }
        }
    }
    const auto write = [](const std::string& path, const std::string& text) {
        return path.empty() ? rknpu2::Status() : rknpu2::write_file_atomically(path, text);
    };
    for (const rknpu2::Status& status :
         {write(options.csv, rknpu2::csv_text("M,K,N,threads,type,sgemm_ms,run_ms,ratio,ratio_q1,ratio_q3,"
                                              "checked_over_run,run_over_bare,gmacs",
                                              rows)),
          write(options.json, Json(rows).dump(1) + "\n")})
        if (!status.ok()) return kProgram.fail(status.message());
    return 0;
}

int parse_and_run(int argc, char** argv) {
    CLI::App app("Compares the simulator's products with OpenBLAS' sgemm.");
    Options options;
    app.add_option("--threads", options.threads, "one run for each number")
        ->delimiter(',')
        ->check(CLI::PositiveNumber);
    app.add_option("--rounds", options.rounds, "interleaved rounds")->check(CLI::PositiveNumber);
    app.add_option("--shape", options.shapes, "MxKxN, several");
    app.add_option("--type", options.types)->check(CLI::IsMember(kTypes));
    app.add_option("--library", options.library, "a librknnrt.so");
    app.add_option("--csv", options.csv, "a file for the rows");
    app.add_option("--json", options.json, "a file for the rows");
    return kProgram.run(app, argc, argv, [&] { return run(options); });
}

}  // namespace
}  // namespace rknpu2_bench

int main(int argc, char** argv) {
    return rknpu2_bench::kProgram.guard([&] { return rknpu2_bench::parse_and_run(argc, argv); });
}
