// SPDX-License-Identifier: MIT
#include "timing/work.hpp"

#include <algorithm>

#include "matrix/layout.hpp"

namespace rknnsim {
namespace {

constexpr uint64_t kKernelGroupBytes = 32;  // for each k: 64 int4, 32 int8 or 16 fp16 kernels
constexpr uint64_t kPartialSumBytes = 4;    // int32 or fp32

bool in_rows(const MatmulShape& shape) {
    return !shape.ac_native && shape.M > 1;
}

// Rows of A in the buffer at once, for a segment of that K.
uint64_t rows_of_tile(const MatmulShape& shape, const Profile& profile, uint64_t K) {
    if (in_rows(shape) && (input_type(shape.type) == DType::kInt4 || shape.N > profile.n_task)) return 1;
    const Precision precision = precision_of(shape.type);
    const auto bank = static_cast<uint64_t>(profile.bank_bytes);
    const uint64_t weight_banks = (kKernelGroupBytes * K + bank - 1) / bank;
    const auto one_group = static_cast<double>(weight_banks);
    const double left = profile.buffer_banks - one_group;
    double granted = profile.normal_banks[precision];
    if (shape.ac_native) {
        // The next group of kernels is loaded beside the one in use, if that leaves a tile enough.
        const double beside_two = std::max(left - one_group, profile.least_banks);
        granted = std::min(profile.native_banks[precision], beside_two);
    }
    const auto banks = static_cast<uint64_t>(std::max(1.0, std::min(granted, left)));
    const uint64_t row = std::max<size_t>(1, rknpu2::dtype_bytes(input_type(shape.type), K));
    auto most = static_cast<uint64_t>(profile.tile_rows[precision]);
    if (in_rows(shape)) {
        const auto results = static_cast<uint64_t>(profile.normal_results);
        most = std::clamp<uint64_t>(results / shape.N, 1, most);
    }
    return std::clamp<uint64_t>(banks * bank / row, 1, most);
}

void add(const Block& block, uint64_t segments, Work* work) {
    const uint64_t count = block.count * segments;
    work->blocks += count;
    work->macs += count * block.macs;
    work->read_a += count * block.read_a;
    work->read_b += count * block.read_b;
    work->read_c += count * block.read_c;
    work->write_c += count * block.write_c;
}

void add_segment(const MatmulShape& shape, const Profile& profile, int place, uint64_t count, uint64_t K,
                 bool is_first, bool is_last, Work* work) {
    const uint64_t tile = std::min<uint64_t>(rows_of_tile(shape, profile, K), shape.M);
    const auto columns = static_cast<uint64_t>(profile.n_task);
    const uint64_t tasks = (shape.N + columns - 1) / columns;
    const auto block = [&](uint64_t blocks, uint64_t rows) {
        const uint64_t results = rows * shape.N;
        const uint64_t out = rknpu2::dtype_bytes(output_type(shape.type), results);
        return Block{.count = blocks,
                     .rows = rows,
                     .macs = rows * K * shape.N,
                     .read_a = tasks * rknpu2::dtype_bytes(input_type(shape.type), rows * K),
                     .read_b = rknpu2::dtype_bytes(input_type(shape.type), K * shape.N),
                     .read_c = is_first ? 0 : results * kPartialSumBytes,
                     .write_c = is_last ? out : results * kPartialSumBytes,
                     .least_ns = in_rows(shape) ? static_cast<double>(rows) * profile.row_task_us * 1e3 : 0};
    };
    Work::Segment& segment = work->segments[static_cast<size_t>(place)];
    segment.count = count;
    segment.full = block(shape.M / tile, tile);
    if (const uint64_t rest = shape.M % tile; rest > 0) segment.rest = block(1, rest);
    const uint64_t passes = segment.full.count + segment.rest.count;
    if (passes > 1 && tile > 1) work->streaming = false;
    if (is_first) {
        work->tile_rows = tile;
        work->passes = passes;
    }
    add(segment.full, count, work);
    add(segment.rest, count, work);
}

}  // namespace

Work work_of(const MatmulShape& shape, const Profile& profile) {
    Work work;
    const auto longest = static_cast<uint64_t>(profile.k_segment);
    const uint64_t segments = (shape.K + longest - 1) / longest;
    const uint64_t last_k = shape.K - (segments - 1) * longest;
    if (segments > 1) add_segment(shape, profile, 0, 1, longest, true, false, &work);
    if (segments > 2) add_segment(shape, profile, 1, segments - 2, longest, false, false, &work);
    add_segment(shape, profile, 2, 1, last_k, segments == 1, true, &work);
    return work;
}

double mac_ns(const MatmulShape& shape, const Profile& profile, uint64_t macs) {
    const double a_ns =
        profile.macs_per_cycle[precision_of(shape.type)] * profile.mac_efficiency * profile.clock_mhz * 1e-3;
    return static_cast<double>(macs) / a_ns;
}

double bandwidth(const Work& work, const Profile& profile, int cores) {
    const double* gbps = work.streaming ? profile.stream_gbps : profile.mixed_gbps;
    return gbps[cores - 1] / cores * (profile.ddr_mhz / kDdrReferenceMhz);
}

Duration duration_of(const MatmulShape& shape, const Work& work, const Profile& profile, int cores) {
    const double a_ns = bandwidth(work, profile, cores);
    Duration sum;
    for (const Work::Segment& segment : work.segments) {
        for (const Block* block : {&segment.full, &segment.rest}) {
            const auto count = static_cast<double>(block->count * segment.count);
            const double mac = mac_ns(shape, profile, block->macs);
            const double dma = static_cast<double>(block->bytes()) / a_ns;
            sum.mac += count * mac;
            sum.dma += count * dma;
            sum.total += count * std::max({mac, dma, block->least_ns});
        }
    }
    return sum;
}

double convert_ns(const Profile& profile, uint64_t bytes, uint64_t rows) {
    return rows <= 1 ? 0 : static_cast<double>(bytes) / profile.convert_gbps;
}

double convert_b_ns(const Profile& profile, uint64_t bytes, bool transposed) {
    return static_cast<double>(bytes) / (transposed ? profile.convert_gbps : profile.convert_b_gbps);
}

}  // namespace rknnsim
