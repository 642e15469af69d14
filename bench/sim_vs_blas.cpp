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
//   checked  what `run` does, with RKNNSIM_CHECK=warn
//   bare     the kernels alone, without the C interface
#include <cblas.h>
#include <dlfcn.h>
#include <rknn_matmul_api.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "base/aligned_buffer.hpp"
#include "base/format.hpp"
#include "bench/commands.hpp"
#include "bench/turns.hpp"
#include "core/kernels/tier.hpp"
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
    std::string library = SIM_VS_BLAS_LIBRARY;
    std::string csv, json;
};

struct Shape {
    int M, K, N;
};

// A librknnrt.so opened by path. Each object opens its own copy of the file, so that several simulators with
// different settings live in one process and can be measured in turn.
class Library {
  public:
    // `check`: RKNNSIM_CHECK for this copy.
    Library(const std::string& path, const char* check) {
        namespace fs = std::filesystem;
        // A file of its own is a library of its own for the dynamic linker.
        char copy[] = "/tmp/sim_vs_blas.XXXXXX";
        const int fd = mkstemp(copy);
        std::error_code error;
        if (fd < 0 || !fs::copy_file(path, copy, fs::copy_options::overwrite_existing, error))
            fail("cannot copy " + path);
        close(fd);
        handle_ = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
        fs::remove(copy, error);
        if (handle_ == nullptr) fail(dlerror());
        setenv("RKNNSIM_CHECK", check, 1);
        (void)kernel();  // the first call reads the settings
        unsetenv("RKNNSIM_CHECK");
    }
    ~Library() { dlclose(handle_); }
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    // The function of that name and type.
    template <typename Function>
    Function* find(const char* name) const {
        void* const found = dlsym(handle_, name);
        if (found == nullptr) fail(dlerror());
        return reinterpret_cast<Function*>(found);
    }
    const char* kernel() const { return find<const char*()>("rknnsim_kernel")(); }

  private:
    void* handle_;
};

// Numbers of 0.5 to 1 in size for fp16, whose sums stay ordinary; any bytes for integers.
void fill(void* data, size_t bytes, bool halves, unsigned seed) {
    std::mt19937 random(seed);
    auto* words = static_cast<uint32_t*>(data);
    for (size_t i = 0; i < bytes / 4; ++i) {
        words[i] = static_cast<uint32_t>(random());
        if (halves) words[i] = (words[i] & 0x83FF83FFU) | 0x38003800U;
    }
}

// Part `index` of `parts` of a product's columns, in units of 64; maybe none.
Shape part_of(Shape shape, size_t index, size_t parts) {
    const int units = (shape.N + 63) / 64;
    const auto edge = [&](size_t i) {
        return std::min(shape.N, units * static_cast<int>(i) / static_cast<int>(parts) * 64);
    };
    return {shape.M, shape.K, edge(index + 1) - edge(index)};
}

// A context and its memories.
class Core {
  public:
    Core(const Library& library, rknn_matmul_type type, Shape shape) : library_(library) {
        rknn_matmul_info info{};
        info.M = shape.M;
        info.K = shape.K;
        info.N = shape.N;
        info.type = type;
        info.B_layout = RKNN_MM_LAYOUT_NATIVE;
        info.AC_layout = RKNN_MM_LAYOUT_NATIVE;
        rknn_matmul_io_attr attr;
        call<decltype(rknn_matmul_create)>("rknn_matmul_create", &context_, &info, &attr);
        a_ = add_memory(attr.A, 1);
        b_ = add_memory(attr.B, 2);
        c_ = add_memory(attr.C, 0);
    }
    ~Core() {
        for (rknn_tensor_mem* memory : {a_, b_, c_})
            library_.find<decltype(rknn_destroy_mem)>("rknn_destroy_mem")(context_, memory);
        library_.find<decltype(rknn_matmul_destroy)>("rknn_matmul_destroy")(context_);
    }
    Core(const Core&) = delete;
    Core& operator=(const Core&) = delete;

    void compute() const {
        check(sync_(context_, a_, RKNN_MEMORY_SYNC_TO_DEVICE), "rknn_mem_sync");
        check(run_(context_), "rknn_matmul_run");
        check(sync_(context_, c_, RKNN_MEMORY_SYNC_FROM_DEVICE), "rknn_mem_sync");
    }

  private:
    static void check(int code, const char* what) {
        if (code != 0) fail(std::string(what) + " gave " + std::to_string(code));
    }

    template <typename Function, typename... Arguments>
    void call(const char* name, Arguments... arguments) const {
        check(library_.find<Function>(name)(arguments...), name);
    }

    rknn_tensor_mem* add_memory(rknn_matmul_tensor_attr& attr, unsigned seed) {
        rknn_tensor_mem* memory =
            library_.find<decltype(rknn_create_mem)>("rknn_create_mem")(context_, attr.size);
        if (memory == nullptr) fail("rknn_create_mem gave NULL");
        if (seed != 0) fill(memory->virt_addr, attr.size, attr.type == RKNN_TENSOR_FLOAT16, seed);
        call<decltype(rknn_matmul_set_io_mem)>("rknn_matmul_set_io_mem", context_, memory, &attr);
        return memory;
    }

    const Library& library_;
    decltype(rknn_mem_sync)* const sync_ = library_.find<decltype(rknn_mem_sync)>("rknn_mem_sync");
    decltype(rknn_matmul_run)* const run_ = library_.find<decltype(rknn_matmul_run)>("rknn_matmul_run");
    rknn_matmul_ctx context_ = 0;
    rknn_tensor_mem *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

// What Core computes, by the kernels alone.
class BareCore {
  public:
    BareCore(const rknnsim::KernelTier& tier, rknn_matmul_type type, Shape shape) : tier_(tier) {
        job_.type = static_cast<rknnsim::MatmulType>(type);
        job_.M = static_cast<size_t>(shape.M);
        job_.K = static_cast<size_t>(shape.K);
        job_.N = static_cast<size_t>(shape.N);
        const bool halves =
            type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32 || type == RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16;
        const size_t width = halves ? 2 : 1;  // int4 gets more than it needs
        job_.a = memory(a_, job_.M * job_.K * width, halves, 1);
        job_.b = memory(b_, job_.K * job_.N * width, halves, 2);
        job_.c = memory(c_, job_.M * job_.N * 4, false, 3);
    }

    void compute() {
        if (!tier_.load_a(job_, scratch_) || !tier_.multiply(job_, scratch_)) fail("no memory");
    }

  private:
    static void* memory(AlignedBuffer& buffer, size_t bytes, bool halves, unsigned seed) {
        buffer = value_of(AlignedBuffer::allocate(bytes));
        fill(buffer.data(), bytes, halves, seed);
        return buffer.data();
    }

    const rknnsim::KernelTier& tier_;
    rknnsim::Job job_;
    rknnsim::Scratch scratch_;
    AlignedBuffer a_, b_, c_;
};

// One call computes all columns, split between the pool's threads; each has a Part of its own, made of `source`.
template <typename Part, typename Source>
std::function<void()> product(const Source& source, rknn_matmul_type type, Shape shape, ThreadPool& pool) {
    const auto threads = static_cast<size_t>(pool.threads());
    const auto parts = std::make_shared<std::vector<std::unique_ptr<Part>>>();
    for (size_t i = 0; i < threads; ++i) {
        const Shape part = part_of(shape, i, threads);
        if (part.N > 0) parts->push_back(std::make_unique<Part>(source, type, part));
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

// Four digits are more than a measurement has.
Json rounded(double value) {
    return std::stod(format("%.4g", value));
}

Json measure(const Options& options, Shape shape, int threads, const std::string& type, Sgemm& sgemm,
             const Library& plain, const Library& checked) {
    openblas_set_num_threads(threads);
    ThreadPool pool(threads);
    if (pool.threads() != threads) fail(format("only %d threads can be had", pool.threads()));
    const rknn_matmul_type number = kTypes.at(type);
    // Short products get more rounds.
    const double macs = 1.0 * shape.M * shape.K * shape.N;
    const std::vector<std::vector<double>> times =
        take_turns({[&] { sgemm.compute(false); }, [&] { sgemm.compute(true); },
                    product<Core>(plain, number, shape, pool), product<Core>(checked, number, shape, pool),
                    product<BareCore>(*rknnsim::find_tier("auto"), number, shape, pool)},
                   macs < 1e9 ? 4 * options.rounds : options.rounds,
                   threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC);
    const std::vector<double>& best = times[median(times[0]) <= median(times[1]) ? 0 : 1];
    const std::vector<double>&run = times[2], &with_check = times[3], &bare = times[4];
    const std::vector<double> speed = ratios(best, run);
    return {{"M", shape.M},
            {"K", shape.K},
            {"N", shape.N},
            {"threads", threads},
            {"type", type},
            {"sgemm_ms", rounded(1e3 * median(best))},
            {"run_ms", rounded(1e3 * median(run))},
            {"ratio", rounded(median(speed))},
            {"ratio_q1", rounded(quantile(speed, 0.25))},
            {"ratio_q3", rounded(quantile(speed, 0.75))},
            {"checked_over_run", rounded(median(ratios(with_check, run)))},
            {"run_over_bare", rounded(median(ratios(run, bare)))},
            {"gmacs", rounded(macs / median(run) / 1e9)}};
}

int run(const Options& options) {
    const Library plain(options.library, "off");
    const Library checked(options.library, "warn");
    std::vector<Json> rows;
    for (const std::string& text : options.shapes) {
        Shape shape{};
        if (std::sscanf(text.c_str(), "%dx%dx%d", &shape.M, &shape.K, &shape.N) != 3)
            fail("\"" + text + "\" is no MxKxN");
        Sgemm sgemm(shape);
        for (const int threads : options.threads) {
            for (const std::string& type : options.types) {
                std::fprintf(stderr, "  %s %s, threads: %d ...\n", text.c_str(), type.c_str(), threads);
                rows.push_back(measure(options, shape, threads, type, sgemm, plain, checked));
            }
        }
    }
    const std::string csv = csv_text(
        "M,K,N,threads,type,sgemm_ms,run_ms,ratio,ratio_q1,ratio_q3,checked_over_run,run_over_bare,gmacs",
        rows);
    if (!options.csv.empty()) check(write_file_atomically(options.csv, csv));
    if (!options.json.empty()) check(write_file_atomically(options.json, Json(rows).dump(1) + "\n"));
    return kProgram.show(format("%s; kernels: %s\n", openblas_get_config(), plain.kernel()) + csv);
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
}  // namespace rknpu2

int main(int argc, char** argv) {
    return rknpu2::kProgram.guard([&] { return rknpu2::parse_and_run(argc, argv); });
}
