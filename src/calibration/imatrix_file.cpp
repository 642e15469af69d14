// SPDX-License-Identifier: MIT
#include "calibration/imatrix_file.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "base/format.hpp"
#include "gguf/gguf_file.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

constexpr const char* kSquares = ".in_sum2";
constexpr const char* kCounts = ".counts";
constexpr float kMostRows = 0x1p60F;

Result<std::vector<float>> read_floats(std::ifstream& file, const GgufFile& header,
                                       const GgufTensor& tensor) {
    std::vector<float> values(static_cast<size_t>(tensor.bytes / sizeof(float)));
    file.seekg(static_cast<std::streamoff>(header.data_offset + tensor.offset));
    file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(tensor.bytes));
    if (!file) return Status(StatusCode::kIo, format("%s cannot be read", printable(tensor.name).c_str()));
    return values;
}

bool is_float(const GgufTensor* tensor) {
    return tensor != nullptr && std::string(tensor->type->name) == "f32";
}

Result<ModelStats> convert(std::ifstream& file, const GgufFile& header) {
    if (header.text("general.type") != "imatrix") {
        return Status(StatusCode::kInvalidArgument,
                      "a GGUF file, but not one of llama-imatrix (general.type is not \"imatrix\")");
    }
    ModelStats statistics;
    for (const GgufTensor& squares : header.tensors) {
        const size_t stem = squares.name.rfind(kSquares);
        if (stem == std::string::npos || squares.name.substr(stem) != kSquares) continue;
        const std::string name = squares.name.substr(0, stem);
        const GgufTensor* const counts = header.find(name + kCounts);
        if (!is_float(&squares) || !is_float(counts) || squares.ne[0] == 0) {
            return Status(StatusCode::kInvalidArgument,
                          format("%s has no proper sums and counts", printable(name).c_str()));
        }
        if (squares.ne[1] != 1 || counts->bytes != sizeof(float)) continue;  // a stack of experts
        const std::vector<float> sums = RKNPU2_TAKE(read_floats(file, header, squares));
        const std::vector<float> count = RKNPU2_TAKE(read_floats(file, header, *counts));
        const float rows = count[0];
        if (rows == 0) continue;
        // As a float, the count is exact to 2^24 and rounded beyond; there are no more tokens than this.
        const bool countable = rows > 0 && rows <= kMostRows;
        ActivationStats entry;
        entry.K = sums.size();
        entry.mean.assign(entry.K, 0.0F);
        for (const float sum : sums)
            entry.mean_square.push_back(sum / rows);
        const bool sound = countable && std::all_of(entry.mean_square.begin(), entry.mean_square.end(),
                                                    [](float x) { return std::isfinite(x) && x >= 0; });
        if (!sound) {
            return Status(StatusCode::kInvalidArgument,
                          format("%s has values that are no statistics", printable(name).c_str()));
        }
        // llama-imatrix --process-output: it has seen the output head, too, or what is one where there is no other.
        entry.output = name == "output.weight" || name == "token_embd.weight";
        entry.rows = static_cast<uint64_t>(std::max(rows, 1.0F));
        statistics.emplace(name, std::move(entry));
    }
    if (statistics.empty()) return Status(StatusCode::kInvalidArgument, "it has no importance matrices");
    return statistics;
}

}  // namespace

Result<ModelStats> read_imatrix(const std::string& path) {
    const GgufFile header = RKNPU2_TAKE(GgufFile::open(path));
    std::ifstream file(path, std::ios::binary);
    return convert(file, header).with_context(path);
}

Result<ModelStats> read_stats_of_any_kind(const std::string& path) {
    const OpenedFile opened = RKNPU2_TAKE(open_regular_file(path));
    char magic[4] = {};
    const Status status = read_at(opened.file.number(), magic, sizeof magic, 0);
    return status.ok() && std::string(magic, sizeof magic) == "GGUF" ? read_imatrix(path) : read_stats(path);
}

}  // namespace rknpu2
