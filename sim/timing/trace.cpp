// SPDX-License-Identifier: MIT
#include "timing/trace.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

constexpr int kNpu = 1;
constexpr int kHost = 2;
constexpr uint64_t kSlicesPerBlock = 6;

enum Lane { kRuns = 0, kMac = 1, kDma = 2 };
constexpr const char* kLaneNames[] = {"", " MAC", " DMA"};

constexpr int row_of(int core, Lane lane) {
    return core * 3 + lane + 1;
}

// Draws events; times are microseconds with nanoseconds behind the point.
class Writer {
  public:
    explicit Writer(FILE* file) : file_(file) {
        std::fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[", file);
    }

    void name(const char* what, int process, int row, const char* text) {
        begin();
        std::fprintf(file_, R"({"ph":"M","name":"%s","pid":%d,"tid":%d,"args":{"name":"%s"}})", what, process,
                     row, text);
    }
    void order(int process, int row) {
        begin();
        std::fprintf(file_,
                     R"({"ph":"M","name":"thread_sort_index","pid":%d,"tid":%d,"args":{"sort_index":%d}})",
                     process, row, row);
    }
    // `arguments` is the inside of a JSON object.
    void slice(int process, int row, const char* text, uint64_t start, uint64_t end,
               const char* arguments = "") {
        if (end <= start) return;
        begin();
        std::fprintf(
            file_,
            R"({"ph":"X","name":"%s","pid":%d,"tid":%d,"ts":%llu.%03llu,"dur":%llu.%03llu,"args":{%s}})",
            text, process, row, static_cast<unsigned long long>(start / 1000),
            static_cast<unsigned long long>(start % 1000),
            static_cast<unsigned long long>((end - start) / 1000),
            static_cast<unsigned long long>((end - start) % 1000), arguments);
    }
    void end(uint64_t dropped) {
        std::fprintf(file_, "\n],\"otherData\":{\"dropped\":%llu}}\n",
                     static_cast<unsigned long long>(dropped));
    }

  private:
    void begin() {
        std::fputs(first_ ? "\n" : ",\n", file_);
        first_ = false;
    }

    FILE* file_;
    bool first_ = true;
};

// Puts slices one after the other, cut at `limit`.
struct Pen {
    Writer& writer;
    int row;
    double at;
    uint64_t limit;

    void draw(const char* text, double ns) {
        const auto start = static_cast<uint64_t>(std::llround(at));
        at += ns;
        const auto end = static_cast<uint64_t>(std::llround(at));
        writer.slice(kNpu, row, text, start, std::min(end, limit));
    }
};

void draw_blocks(const RunTime& run, Writer& writer) {
    const RunCost& cost = *run.cost;
    double a_byte = 0;  // ns, at the share that the run had
    for (int i = 0; i < kCores; ++i)
        a_byte += run.share[i] / cost.bytes_a_ns[i];
    auto at = static_cast<double>(run.start_ns);
    cost.work.for_each_block([&](const Block& block) {
        const double mac = static_cast<double>(block.macs) / cost.macs_a_ns;
        double total = 0;
        for (int i = 0; i < kCores; ++i)
            total += run.share[i] *
                     std::max({mac, static_cast<double>(block.bytes()) / cost.bytes_a_ns[i], block.least_ns});
        const auto limit = std::min(run.stop_ns, static_cast<uint64_t>(std::llround(at + total)));
        Pen dma{writer, row_of(run.core, kDma), at, limit};
        dma.draw("read A", static_cast<double>(block.read_a) * a_byte);
        dma.draw("read B", static_cast<double>(block.read_b) * a_byte);
        dma.draw("read C", static_cast<double>(block.read_c) * a_byte);
        dma.draw("write C", static_cast<double>(block.write_c) * a_byte);
        Pen macs{writer, row_of(run.core, kMac), at, limit};
        macs.draw("MAC", mac);
        macs.draw("stall", std::max(0.0, total - mac));
        at += total;
    });
}

void draw_run(const RunTime& run, Writer& writer) {
    const MatmulShape& shape = run.cost->shape;
    const Work& work = run.cost->work;
    char name[96];
    std::snprintf(name, sizeof name, "%s %ux%ux%u", rknpu2::dtype_name(input_type(shape.type)), shape.M,
                  shape.K, shape.N);
    const uint64_t read = work.read_a + work.read_b + work.read_c;
    char arguments[320];
    std::snprintf(arguments, sizeof arguments,
                  R"("context":%llu,"thread":%d,"passes":%llu,"read_bytes":%llu,"written_bytes":%llu,)"
                  R"("mac_ns":%llu,"stall_ns":%llu,"peak_percent":%.1f)",
                  static_cast<unsigned long long>(run.context), run.thread,
                  static_cast<unsigned long long>(work.passes), static_cast<unsigned long long>(read),
                  static_cast<unsigned long long>(work.write_c),
                  static_cast<unsigned long long>(run.mac_ns()),
                  static_cast<unsigned long long>(run.stall_ns()),
                  100 * run.cost->ideal_ns / std::max(1.0, static_cast<double>(run.stop_ns - run.start_ns)));
    writer.slice(kNpu, row_of(run.core, kRuns), name, run.start_ns, run.stop_ns, arguments);
    draw_blocks(run, writer);
}

}  // namespace

void Trace::on_run_time(const RunTime& run) {
    const uint64_t needed = 1 + kSlicesPerBlock * run.cost->work.blocks;
    if (slices_ + needed > max_slices_) {
        ++dropped_;
        return;
    }
    slices_ += needed;
    runs_.push_back(run);
}

void Trace::on_cpu_time(const char* what, int thread, uint64_t start_ns, uint64_t end_ns) {
    if (slices_ + 1 > max_slices_) {
        ++dropped_;
        return;
    }
    ++slices_;
    host_.push_back({what, thread, start_ns, end_ns});
}

bool Trace::write(FILE* file) const {
    Writer writer(file);
    writer.name("process_name", kNpu, 0, "RK3588 NPU (simulated)");
    writer.name("process_name", kHost, 0, "host");
    for (int core = 0; core < kCores; ++core) {
        for (const Lane lane : {kRuns, kMac, kDma}) {
            char name[32];
            std::snprintf(name, sizeof name, "core %d%s", core, kLaneNames[lane]);
            writer.name("thread_name", kNpu, row_of(core, lane), name);
            writer.order(kNpu, row_of(core, lane));
        }
    }
    std::set<int> threads;
    for (const HostSlice& slice : host_)
        threads.insert(slice.thread);
    for (const int thread : threads) {
        char name[32];
        std::snprintf(name, sizeof name, "thread %d", thread);
        writer.name("thread_name", kHost, thread, name);
    }
    for (const HostSlice& slice : host_)
        writer.slice(kHost, slice.thread, slice.what, slice.start_ns, slice.end_ns);
    for (const RunTime& run : runs_)
        draw_run(run, writer);
    writer.end(dropped_);
    return std::ferror(file) == 0;
}

}  // namespace rknnsim
