// SPDX-License-Identifier: MIT
#include "ggml/diagnostics/checksums.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/format.hpp"
#include "base/log.hpp"
#include "system/file.hpp"

namespace rknpu2 {
namespace {

const float* row_of(const ggml_tensor* tensor, int64_t i1, int64_t i2, int64_t i3) {
    const auto* const data = static_cast<const std::byte*>(tensor->data);
    const auto at = [](int64_t i, size_t stride) { return static_cast<size_t>(i) * stride; };
    return reinterpret_cast<const float*>(data + at(i1, tensor->nb[1]) + at(i2, tensor->nb[2]) +
                                          at(i3, tensor->nb[3]));
}

// Calls visit(i1, i2, i3) for each row of a tensor.
template <typename Visit>
void for_each_row(const ggml_tensor* tensor, const Visit& visit) {
    for (int64_t i3 = 0; i3 < tensor->ne[3]; ++i3)
        for (int64_t i2 = 0; i2 < tensor->ne[2]; ++i2)
            for (int64_t i1 = 0; i1 < tensor->ne[1]; ++i1)
                visit(i1, i2, i3);
}

}  // namespace

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

Checksums::~Checksums() {
    if (file_ != nullptr) std::fclose(file_);
}

void Checksums::add(std::span<const PlannedMatmul> matmuls, const ggml_tensor* gate) {
    const std::lock_guard lock(mutex_);
    if (file_ == nullptr) return;
    const NoFileSizeSignal no_signal;
    if (gate != nullptr) {
        const ggml_tensor* const first = gate->src[0];
        const std::string names = std::string(first->src[0]->name) + " & " + gate->src[1]->src[0]->name;
        for_each_row(gate, [&](int64_t i1, int64_t i2, int64_t i3) {
            add_row(names, first, row_of(first->src[1], i1, i2, i3), row_of(gate, i1, i2, i3));
        });
    } else {
        for (const auto& [node, decision] : matmuls) {
            if (node->op == GGML_OP_MUL_MAT_ID) {
                add_experts(node);
            } else {
                add_plain(node);
            }
        }
    }
    // A process may end by a signal.
    if (file_ != nullptr && std::fflush(file_) == 0) return;
    log(LogLevel::kError, "GGML_RKNPU2_CHECKSUMS: cannot write %s: %s; it is not complete", path_.c_str(),
        std::strerror(errno));
    if (file_ != nullptr) std::fclose(file_);
    file_ = nullptr;
}

void Checksums::add_plain(const ggml_tensor* node) {
    for_each_row(node, [&](int64_t i1, int64_t i2, int64_t i3) {
        add_row(node->src[0]->name, node, row_of(node->src[1], i1, i2, i3), row_of(node, i1, i2, i3));
    });
}

// Rows are slots of tokens; slots may share a row of activations.
void Checksums::add_experts(const ggml_tensor* node) {
    const ggml_tensor* const choice = node->src[2];
    for_each_row(node, [&](int64_t slot, int64_t token, int64_t) {
        const auto* const chosen = reinterpret_cast<const int32_t*>(
            static_cast<const std::byte*>(choice->data) + static_cast<size_t>(slot) * choice->nb[0] +
            static_cast<size_t>(token) * choice->nb[1]);
        add_row(format("%s[%d]", node->src[0]->name, *chosen), node,
                row_of(node->src[1], slot % node->src[1]->ne[1], token, 0), row_of(node, slot, token, 0));
    });
}

void Checksums::add_row(const std::string& weight, const ggml_tensor* node, const float* in,
                        const float* out) {
    const auto K = static_cast<size_t>(node->src[0]->ne[0]);
    const auto N = static_cast<size_t>(node->src[0]->ne[1]);
    const std::string line = format("%s %s %s %zux%zu %s\n", hash128(in, K * sizeof(float)).hex().c_str(),
                                    hash128(out, N * sizeof(float)).hex().c_str(), precision_name(precision_),
                                    K, N, weight.c_str());
    if (!seen_.insert(hash128(line.data(), line.size())).second || file_ == nullptr) return;
    if (std::fputs(line.c_str(), file_) == EOF) {
        std::fclose(file_);
        file_ = nullptr;
    }
}

}  // namespace rknpu2
