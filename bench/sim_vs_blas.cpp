// SPDX-License-Identifier: MIT
// Is the simulator as fast as a float library? Compares its products with OpenBLAS' cblas_sgemm of the same
// shape on as many threads.
//
// Everything takes turns: a round measures sgemm with B as rows [K,N], with B as rows [N,K], and a product as
// its caller sees it (sync A, run, sync C); reported are medians over the rounds of the ratios within a round
// to the faster sgemm. sgemm's B (64 MB for 4096 x 4096) passes through the caches between any two runs of a
// product, so weights come from memory, as in a model. On one thread its processor time is measured, on
// several the time on the wall. RKNNSIM_CHECK=off or warn tells what the checker costs.
#include <cblas.h>
#include <rknn_matmul_api.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/format.hpp"
#include "bench/commands.hpp"
#include "bench/turns.hpp"
#include "predict/csv.hpp"
#include "program.hpp"
#include "system/thread_pool.hpp"

namespace rknpu2 {
namespace {

using Json = nlohmann::ordered_json;

const Program kProgram("sim_vs_blas", 1);

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
    std::string csv;
};

struct Shape {
    int M, K, N;
};

void check_code(int code, const char* what) {
    if (code != 0) fail(format("%s gave %d", what, code));
}

// A context and its memories, for the columns that one thread computes.
class Core {
  public:
    Core(rknn_matmul_type type, Shape shape) {
        rknn_matmul_info info{};
        info.M = shape.M;
        info.K = shape.K;
        info.N = shape.N;
        info.type = type;
        info.B_layout = RKNN_MM_LAYOUT_NATIVE;
        info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
        rknn_matmul_io_attr attr;
        check_code(rknn_matmul_create(&context_, &info, &attr), "rknn_matmul_create");
        a_ = add_memory(attr.A, 1);
        b_ = add_memory(attr.B, 2);
        c_ = add_memory(attr.C, 0);
    }
    ~Core() {
        for (rknn_tensor_mem* memory : {a_, b_, c_})
            rknn_destroy_mem(context_, memory);
        rknn_matmul_destroy(context_);
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void compute() const {
        check_code(rknn_mem_sync(context_, a_, RKNN_MEMORY_SYNC_TO_DEVICE), "rknn_mem_sync");
        check_code(rknn_matmul_run(context_), "rknn_matmul_run");
        check_code(rknn_mem_sync(context_, c_, RKNN_MEMORY_SYNC_FROM_DEVICE), "rknn_mem_sync");
    }

  private:
    // Numbers of 0.5 to 1 in size for fp16, whose sums stay ordinary; any bytes for integers.
    rknn_tensor_mem* add_memory(rknn_matmul_tensor_attr& attr, unsigned seed) {
        rknn_tensor_mem* memory = rknn_create_mem(context_, attr.size);
        if (memory == nullptr) fail("rknn_create_mem gave NULL");
        std::mt19937 random(seed);
        const bool halves = attr.type == RKNN_TENSOR_FLOAT16;
        std::generate_n(static_cast<uint32_t*>(memory->virt_addr), seed != 0 ? attr.size / 4 : 0, [&] {
            const auto word = static_cast<uint32_t>(random());
            return halves ? (word & 0x83FF83FFU) | 0x38003800U : word;
        });
        check_code(rknn_matmul_set_io_mem(context_, memory, &attr), "rknn_matmul_set_io_mem");
        return memory;
    }

    rknn_matmul_ctx context_ = 0;
    rknn_tensor_mem *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

// One call computes all columns, split between the pool's threads in units of 64.
std::function<void()> product(rknn_matmul_type type, Shape shape, ThreadPool& pool) {
    const int units = (shape.N + 63) / 64;
    const auto edge = [&](int i) { return std::min(shape.N, units * i / pool.threads() * 64); };
    const auto parts = std::make_shared<std::vector<std::unique_ptr<Core>>>();
    for (int i = 0; i < pool.threads(); ++i) {
        const int columns = edge(i + 1) - edge(i);
        if (columns > 0) parts->push_back(std::make_unique<Core>(type, Shape{shape.M, shape.K, columns}));
    }
    return [parts, &pool] { pool.parallel_for(parts->size(), [&](size_t i) { (*parts)[i]->compute(); }); };
}

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

Json measure(const Options& options, Shape shape, int threads, const std::string& type, Sgemm& sgemm) {
    openblas_set_num_threads(threads);
    ThreadPool pool(threads);
    if (pool.threads() != threads) fail(format("only %d threads can be had", pool.threads()));
    // Short products get more rounds.
    const double macs = 1.0 * shape.M * shape.K * shape.N;
    const std::vector<std::vector<double>> times = take_turns(
        {[&] { sgemm.compute(false); }, [&] { sgemm.compute(true); }, product(kTypes.at(type), shape, pool)},
        macs < 1e9 ? 4 * options.rounds : options.rounds,
        threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
    const std::vector<double>& best = times[median(times[0]) <= median(times[1]) ? 0 : 1];
    const std::vector<double> speed = ratios(best, times[2]);
    const auto rounded = [](double value) { return std::stod(format("%.4g", value)); };
    return {shape.M,
            shape.K,
            shape.N,
            threads,
            type,
            rounded(1e3 * median(best)),
            rounded(1e3 * median(times[2])),
            rounded(median(speed)),
            rounded(quantile(speed, 0.25)),
            rounded(quantile(speed, 0.75)),
            rounded(macs / median(times[2]) / 1e9)};
}

int run(const Options& options) {
    std::vector<Json> rows;
    for (const std::string& text : options.shapes) {
        Shape shape{};
        if (std::sscanf(text.c_str(), "%dx%dx%d", &shape.M, &shape.K, &shape.N) != 3)
            fail("\"" + text + "\" is no MxKxN");
        Sgemm sgemm(shape);
        for (const int threads : options.threads) {
            for (const std::string& type : options.types) {
                std::fprintf(stderr, "  %s %s, threads: %d ...\n", text.c_str(), type.c_str(), threads);
                rows.push_back(measure(options, shape, threads, type, sgemm));
            }
        }
    }
    const std::string csv =
        csv_text("M,K,N,threads,type,sgemm_ms,run_ms,ratio,ratio_q1,ratio_q3,gmacs", rows);
    if (!options.csv.empty()) check(write_file_atomically(options.csv, csv));
    return kProgram.show(std::string(openblas_get_config()) + "\n" + csv);
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
    app.add_option("--csv", options.csv, "a file for the rows");
    return kProgram.run(app, argc, argv, [&] { return run(options); });
}

}  // namespace
}  // namespace rknpu2

int main(int argc, char** argv) {
    return rknpu2::kProgram.guard([&] { return rknpu2::parse_and_run(argc, argv); });
}
