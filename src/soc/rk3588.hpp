// SPDX-License-Identifier: MIT
// What the RK3588's NPU and its matmul runtime can do, as data. The one home of each fact; docs/hardware.csv
// gives sources.
//
// Confidence: [D] documented by Rockchip, [W] seen in code that its authors report running on the chip, [M]
// measured by others, [G] inferred. None of these was checked on a board by this project yet.
#pragma once

#include <cstddef>
#include <cstdint>

#include "matrix/layout.hpp"

namespace rknpu2::rk3588 {

// Three identical cores; one matmul context runs on one core, so work is split over contexts [D, W].
inline constexpr int kCores = 3;

// K of one run: B is cut into segments of 8192 and librknnrt's limit beyond is not established; we never ask
// for more [D, W].
inline constexpr size_t kMaxK = kSegmentK;

// Columns of one run. The vendor documents 4096, and a register field of 13 bits makes 8192 columns a task;
// the runtime makes several tasks of more: int8 ran with 87,392 columns and fp16 with 32,768 [M]. Another
// report has a hang after 8192 columns of fp16, hence the setting (GGML_RKNPU2_COLUMNS).
inline constexpr size_t kDocumentedN = 4096;
inline constexpr size_t kWideN = 16384;  // what we take: more spares few runs and needs more memory
inline constexpr size_t kMaxN = 131072;  // what may be asked for

// Rows of one run: 2048 ran [M]. We stay far below.
inline constexpr size_t kMaxM = 2048;

// K is aligned to 32 for every type; N to one kernel group (int4 64, int8 32, fp16 16) [D].
inline constexpr size_t kAlignK = kTileK;
constexpr size_t align_n(DType type) {
    return kernel_group(type);
}

// IOVA space is 32 bits per IOMMU domain; 16 domains; driver 0.9.8 or later for other domains than 0 [D, W].
inline constexpr uint64_t kDomainBytes = uint64_t{4} << 30;
inline constexpr int kDomains = 16;

// Live contexts of a process: one author's runs failed from about 150 on [M: ORK]; another has had 1,277
// alive under librknnrt 2.3.2, with a limit of 65,536 descriptors [M: rk-llama.cpp].
inline constexpr size_t kContextsOfFailure = 150;
inline constexpr size_t kContextsSeen = 1277;

}  // namespace rknpu2::rk3588
