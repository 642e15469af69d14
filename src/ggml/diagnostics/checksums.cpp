// SPDX-License-Identifier: MIT
#include "ggml/diagnostics/checksums.hpp"

#include <cerrno>
#include <cstring>

#include "base/format.hpp"
#include "base/log.hpp"

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
    const ggml_tensor* const choice = matmul->src[2];
    const auto K = static_cast<size_t>(matmul->src[0]->ne[0]);
    const auto N = static_cast<size_t>(matmul->src[0]->ne[1]);
    const int64_t* const ne = result->ne;
    for (int64_t row = 0; row < ne[1] * ne[2] * ne[3] && file_ != nullptr; ++row) {
        const int64_t i1 = row % ne[1];
        const int64_t i2 = row / ne[1] % ne[2];
        const int64_t i3 = row / (ne[1] * ne[2]);
        // With experts, i1 is a choice of token i2; choices may share a row of activations.
        const int64_t from = choice != nullptr ? i1 % in->ne[1] : i1;
        const std::string expert =
            choice != nullptr ? format("[%d]", row_of<const int32_t>(choice, i2)[i1]) : "";
        const Digest before = hash128(row_of<const float>(in, from, i2, i3), K * sizeof(float));
        const Digest after = hash128(row_of<const float>(result, i1, i2, i3), N * sizeof(float));
        const std::string line = format("%s %s %s %zux%zu %s%s\n", before.hex().c_str(), after.hex().c_str(),
                                        precision_name(precision_), K, N, weight.c_str(), expert.c_str());
        const bool is_new = seen_.insert(hash128(line.data(), line.size())).second;
        if (is_new && std::fputs(line.c_str(), file_.get()) == EOF) file_ = nullptr;
    }
}

}  // namespace rknpu2
