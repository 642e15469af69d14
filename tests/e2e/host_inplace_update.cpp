// SPDX-License-Identifier: MIT
// A weight that a graph overwrites after it has been multiplied: the next product must use the new value, not
// the packed old one.
//
// A host program of its own: it links to ggml as llama.cpp's programs do, loads the backends in a folder (the
// argument) and ours, and works on the device RKNPU0. Weights change as in training: inside one graph and
// between graphs, as a whole (ggml_cpy), in part (a view), and in place (ggml_scale_inplace). Prints a line
// for each case; exit 1 when a product is wrong.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

namespace {

constexpr int64_t kK = 96;
constexpr int64_t kN = 40;
constexpr int64_t kM = 3;
// int8 loses about 0.1 % here; a stale weight is off by 100 % and more.
constexpr double kTolerance = 0.01;

std::vector<float> numbers(size_t count, int seed) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i)
        values[i] = std::sin(static_cast<float>(i) * 0.7F + static_cast<float>(seed) * 1.9F);
    return values;
}

std::vector<float> product(const std::vector<float>& weight, const std::vector<float>& a) {
    std::vector<float> out;
    for (int64_t m = 0; m < kM; ++m) {
        for (int64_t n = 0; n < kN; ++n) {
            double sum = 0;
            for (int64_t k = 0; k < kK; ++k) {
                sum += static_cast<double>(a[static_cast<size_t>(m * kK + k)]) *
                       static_cast<double>(weight[static_cast<size_t>(n * kK + k)]);
            }
            out.push_back(static_cast<float>(sum));
        }
    }
    return out;
}

struct Session {
    explicit Session(ggml_backend_t on) : backend(on) {
        leaves = ggml_init({16 * ggml_tensor_overhead(), nullptr, true});
        weight = ggml_new_tensor_2d(leaves, GGML_TYPE_F32, kK, kN);
        fresh = ggml_new_tensor_2d(leaves, GGML_TYPE_F32, kK, kN);
        a = ggml_new_tensor_2d(leaves, GGML_TYPE_F32, kK, kM);
        buffer = ggml_backend_alloc_ctx_tensors(leaves, backend);
        ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        set(weight, old_values);
        set(fresh, new_values);
        set(a, activations);
    }
    ~Session() {
        ggml_backend_buffer_free(buffer);
        ggml_free(leaves);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    static void set(ggml_tensor* tensor, const std::vector<float>& values) {
        ggml_backend_tensor_set(tensor, values.data(), 0, ggml_nbytes(tensor));
    }

    ggml_backend_t backend;
    std::vector<float> old_values = numbers(kK * kN, 1);
    std::vector<float> new_values = numbers(kK * kN, 2);
    std::vector<float> activations = numbers(kK * kM, 3);
    ggml_context* leaves = nullptr;
    ggml_backend_buffer_t buffer = nullptr;
    ggml_tensor* weight = nullptr;
    ggml_tensor* fresh = nullptr;
    ggml_tensor* a = nullptr;
};

// Builds with body(context, graph), which returns the products to read back, and computes.
template <typename Body>
std::vector<std::vector<float>> run(Session& session, Body&& body) {
    ggml_context* const context =
        ggml_init({64 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true});
    ggml_cgraph* const graph = ggml_new_graph(context);
    const std::vector<ggml_tensor*> results = body(context, graph);
    for (ggml_tensor* const result : results)
        ggml_set_output(result);
    ggml_gallocr_t allocator = ggml_gallocr_new(ggml_backend_get_default_buffer_type(session.backend));
    std::vector<std::vector<float>> values;
    if (ggml_gallocr_alloc_graph(allocator, graph) &&
        ggml_backend_graph_compute(session.backend, graph) == GGML_STATUS_SUCCESS) {
        for (ggml_tensor* const result : results) {
            values.emplace_back(kM * kN);
            ggml_backend_tensor_get(result, values.back().data(), 0, ggml_nbytes(result));
        }
    }
    ggml_gallocr_free(allocator);
    ggml_free(context);
    return values;
}

bool check(const std::string& name, const std::vector<float>& found, const std::vector<float>& expected) {
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
        norm += std::pow(static_cast<double>(expected[i]), 2);
    }
    const double error = std::sqrt(difference / norm);
    const bool right = error < kTolerance;
    std::printf("%s: relative error %.5f %s\n", name.c_str(), error, right ? "ok" : "WRONG");
    return right;
}

using Update = ggml_tensor* (*)(ggml_context*, Session&);

// Multiplies, updates and multiplies again in one graph, then once more in a graph of its own.
bool check_update(ggml_backend_t backend, const std::string& name, Update update,
                  std::vector<float> (*expected_weight)(const Session&)) {
    Session session(backend);
    const auto in_graph = run(session, [&](ggml_context* context, ggml_cgraph* graph) {
        ggml_tensor* const before = ggml_mul_mat(context, session.weight, session.a);
        ggml_build_forward_expand(graph, before);
        ggml_build_forward_expand(graph, update(context, session));
        ggml_tensor* const after = ggml_mul_mat(context, session.weight, session.a);
        ggml_build_forward_expand(graph, after);
        return std::vector<ggml_tensor*>{before, after};
    });
    const auto next_graph = run(session, [&](ggml_context* context, ggml_cgraph* graph) {
        ggml_tensor* const again = ggml_mul_mat(context, session.weight, session.a);
        ggml_build_forward_expand(graph, again);
        return std::vector<ggml_tensor*>{again};
    });
    if (in_graph.size() != 2 || next_graph.size() != 1) {
        std::printf("%s: a graph failed\n", name.c_str());
        return false;
    }
    const std::vector<float> updated = product(expected_weight(session), session.activations);
    const bool before =
        check(name + ", before", in_graph[0], product(session.old_values, session.activations));
    const bool after = check(name + ", after", in_graph[1], updated);
    return check(name + ", next graph", next_graph[0], updated) && before && after;
}

ggml_tensor* copy_all(ggml_context* context, Session& s) {
    return ggml_cpy(context, s.fresh, s.weight);
}
ggml_tensor* copy_lower_half(ggml_context* context, Session& s) {
    const size_t offset = static_cast<size_t>(kN / 2) * s.weight->nb[1];
    return ggml_cpy(context, ggml_view_2d(context, s.fresh, kK, kN / 2, s.fresh->nb[1], offset),
                    ggml_view_2d(context, s.weight, kK, kN / 2, s.weight->nb[1], offset));
}
ggml_tensor* negate(ggml_context* context, Session& s) {
    return ggml_scale_inplace(context, s.weight, -2.0F);
}

bool check_all(ggml_backend_t backend) {
    const bool all =
        check_update(backend, "whole copy", copy_all, [](const Session& s) { return s.new_values; });
    const bool half = check_update(backend, "copy into a view", copy_lower_half, [](const Session& s) {
        std::vector<float> weight = s.old_values;
        for (size_t i = weight.size() / 2; i < weight.size(); ++i)
            weight[i] = s.new_values[i];
        return weight;
    });
    const bool scaled = check_update(backend, "scaled in place", negate, [](const Session& s) {
        std::vector<float> weight = s.old_values;
        for (float& value : weight)
            value *= -2.0F;
        return weight;
    });
    return all && half && scaled;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    ggml_backend_load_all_from_path(argv[1]);  // the CPU backend there, and GGML_BACKEND_PATH
    const ggml_backend_dev_t device = ggml_backend_dev_by_name("RKNPU0");
    if (device == nullptr) {
        std::puts("no device RKNPU0");
        return 2;
    }
    ggml_backend_t backend = ggml_backend_dev_init(device, nullptr);
    if (backend == nullptr) return 2;
    const bool right = check_all(backend);
    ggml_backend_free(backend);
    return right ? 0 : 1;
}
