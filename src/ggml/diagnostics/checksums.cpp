// SPDX-License-Identifier: MIT
#include "ggml/diagnostics/checksums.hpp"

#include <cerrno>
#include <cstring>

#include "base/format.hpp"
#include "base/log.hpp"
#include "system/file.hpp"

namespace rknpu2 {

Result<std::unique_ptr<Checksums>> Checksums::open(const Config& config) {
    if (config.checksums_file.empty()) return std::unique_ptr<Checksums>();
    std::unique_ptr<Checksums> checksums(
        new Checksums(with_process_id(config.checksums_file), config.precision));
    if (checksums->file_ != nullptr) return checksums;
    return Status(StatusCode::kInvalidArgument, format("GGML_RKNPU2_CHECKSUMS: cannot write %s: %s",
                                                       checksums->path_.c_str(), std::strerror(errno)));
}

Checksums::Checksums(std::string path, Precision precision)
    : path_(std::move(path)), precision_(precision), file_(open_stream_to(path_)) {}

void Checksums::add(Nodes matmuls, const ggml_tensor* gate) {
    const std::lock_guard lock(mutex_);
    if (file_ == nullptr) return;
    const NoFileSizeSignal no_signal;
    if (gate != nullptr) {
        const ggml_tensor* const first = gate->src[0];
        add_rows(std::string(first->src[0]->name) + " & " + gate->src[1]->src[0]->name, first, gate);
    } else {
        for (const ggml_tensor* const matmul : matmuls)
            add_rows(matmul->src[0]->name, matmul, matmul);
    }
    // A process may end by a signal.
    if (file_ != nullptr && std::fflush(file_.get()) == 0) return;
    log(LogLevel::kError, "GGML_RKNPU2_CHECKSUMS: cannot write %s: %s; it is not complete", path_.c_str(),
        std::strerror(errno));
    file_ = nullptr;
}

void Checksums::add_rows(const std::string& weight, const ggml_tensor* matmul, const ggml_tensor* result) {
    const ggml_tensor* const in = matmul->src[1];
    const ggml_tensor* const choice = matmul->op == GGML_OP_MUL_MAT_ID ? matmul->src[2] : nullptr;
    for (int64_t i3 = 0; i3 < result->ne[3]; ++i3) {
        for (int64_t i2 = 0; i2 < result->ne[2]; ++i2) {
            for (int64_t i1 = 0; i1 < result->ne[1]; ++i1) {
                // Row i1 is a choice of token i2; choices may share a row of activations.
                const std::string expert =
                    choice != nullptr ? format("[%d]", row_of<const int32_t>(choice, i2)[i1]) : "";
                add_row(weight + expert, matmul->src[0],
                        row_of<const float>(in, choice != nullptr ? i1 % in->ne[1] : i1, i2, i3),
                        row_of<const float>(result, i1, i2, i3));
            }
        }
    }
}

void Checksums::add_row(const std::string& name, const ggml_tensor* weight, const float* in,
                        const float* out) {
    const auto K = static_cast<size_t>(weight->ne[0]);
    const auto N = static_cast<size_t>(weight->ne[1]);
    const std::string line =
        format("%s %s %s %zux%zu %s\n", hash128(in, K * sizeof(float)).hex().c_str(),
               hash128(out, N * sizeof(float)).hex().c_str(), precision_name(precision_), K, N, name.c_str());
    if (!seen_.insert(hash128(line.data(), line.size())).second || file_ == nullptr) return;
    if (std::fputs(line.c_str(), file_.get()) == EOF) file_ = nullptr;
}

}  // namespace rknpu2
