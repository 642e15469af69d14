// SPDX-License-Identifier: MIT
#include <cmath>

#include "ggml/random/blocks.hpp"

namespace rknpu2::test {
namespace {

// All rows of the flow's in the state, and the whole of it, as operands.
struct Stored {
    size_t state = 0;
    int64_t width = 0;
    int64_t cells = 0;
    std::string type;
    bool exact = false;    // as many cells as rows
    bool by_rows = false;  // only what goes row by row: flows go on
};

size_t draw_places(Draw& draw, int64_t cells) {
    return draw.leaf("rows", {double(draw.rows), double(cells), double(draw.random.range(0, 2))},
                     draw.chance(80) ? "i64" : "i32");
}

// The first rows of it.
size_t first_rows(Draw& draw, const Stored& stored) {
    if (stored.exact && draw.chance(70)) return stored.state;
    return draw.add(
        "view", {stored.state},
        {double(stored.width), double(draw.rows), 1, 1, 0, double(row_bytes(stored.type, stored.width))});
}

size_t read_state(Draw& draw, const Stored& stored, size_t x) {
    if (stored.type != "f32") {
        const size_t places = draw.leaf("indices", {double(draw.rows), double(stored.cells)});
        return draw.add("add", {x, draw.add("get_rows", {stored.state, places})});
    }
    const int64_t kind = draw.random.range(stored.by_rows ? 2 : 1, 4);
    if (kind == 1) {
        const size_t places = draw.leaf("indices", {double(draw.rows), double(stored.cells)});
        return draw.add("mul", {x, draw.add("get_rows", {stored.state, places})});
    }
    return draw.add(kind == 2 ? "sub" : "add", {x, first_rows(draw, stored)});
}

// What was written is sometimes read on at once, through the operation that wrote it.
size_t write_state(Draw& draw, const Stored& stored, size_t x) {
    const int64_t kind = draw.random.range(1, stored.by_rows ? 2 : stored.type == "f32" ? 5 : 3);
    size_t written = 0;
    if (kind <= 2) {
        written = draw.add("set_rows", {stored.state, x, draw_places(draw, stored.cells)});
        if (stored.type == "f32" && stored.exact && draw.chance(30)) return draw.add("add", {x, written});
        return x;
    }
    if (kind == 3) {
        written = draw.add("cpy", {x, first_rows(draw, stored)});
    } else if (kind == 4) {
        written = draw.add("scale_inplace", {first_rows(draw, stored)}, {0.5});
    } else {
        written = draw.add("add_inplace", {first_rows(draw, stored), x});
    }
    if (stored.type == "f32" && draw.chance(40)) return draw.add("add", {x, written});
    return x;
}

}  // namespace

void draw_state(Draw& draw) {
    const Value from = draw.any();
    Stored stored;
    stored.width = from.width;
    stored.exact = draw.chance(60);
    stored.cells = draw.rows + (stored.exact ? 0 : draw.random.skewed(1, 60));
    stored.by_rows = draw.chance(50);
    stored.type = stored.by_rows || draw.chance(60) ? "f32" : draw.written_type(from.width);
    stored.state = draw.leaf("state", {double(stored.width), double(stored.cells), 1, 1, 1, 1}, stored.type);
    size_t x = from.step;
    const int64_t events = draw.random.range(2, 6);
    for (int64_t i = 0; i < events; ++i) {
        switch (draw.random.range(1, 3)) {
            case 1:
                x = read_state(draw, stored, x);
                break;
            case 2:
                x = write_state(draw, stored, x);
                break;
            default:
                if (!draw.may_multiply(from.width, from.width)) break;
                x = draw.add("mul_mat", {draw.weight(from.width, from.width, draw.name()),
                                         draw.normalised(x, from.width)});
        }
    }
    draw.keep(draw.normalised(x, from.width), from.width);
}

// What only matrices of float32 can have done to them: by a function of the host's, or an optimiser, whose
// gradients are as many as the matrix. Returns what goes on.
size_t write_floats(Draw& draw, size_t matrix, int64_t K, int64_t N, size_t x) {
    const double size = 1.0 / std::sqrt(double(K));
    const bool exact = N == draw.rows;
    const int64_t kind = draw.random.range(1, exact ? 6 : 1);
    if (kind == 1) return draw.add("custom_turn", {matrix, x});
    if (kind == 2) {
        draw.add("custom_inplace", {matrix, x});
        return x;
    }
    const size_t gradients = draw.normalised(draw.any_of(K), K);
    const auto moments = [&](double content) {
        return draw.leaf("state", {double(K), double(N), 1, 1, content, 0.5});
    };
    if (kind <= 4) {
        draw.add("opt_step_sgd", {matrix, gradients, draw.leaf("step_sizes", {2, 0.3 * size})});
    } else {
        const size_t first = moments(1);
        draw.add("opt_step_adamw",
                 {matrix, gradients, first, moments(3), draw.leaf("step_sizes", {7, 0.3 * size})});
    }
    return x;
}

// A stored matrix that the graph multiplies by and writes, in any order.
void draw_written_weight(Draw& draw) {
    const Value from = draw.any();
    const int64_t K = from.width;
    const bool exact = draw.chance(70);
    const int64_t N = draw.rows + (exact ? 0 : draw.random.skewed(1, 40));
    if (N > 320 || !draw.may_multiply(K, N, 3)) return;
    const std::string type = draw.chance(40) ? "f32" : draw.written_type(K);
    const bool is_state = draw.chance(60);
    const size_t matrix =
        is_state ? draw.leaf("state", {double(K), double(N), 1, 1, 1, 1.0 / std::sqrt(double(K))}, type)
                 : draw.leaf("weight", {double(K), double(N)}, type, draw.name());
    size_t x = from.step;
    const int64_t events = draw.random.range(2, 5);
    for (int64_t i = 0; i < events; ++i) {
        const size_t rows =
            draw.add("scale", {draw.normalised(draw.any_of(K), K)}, {1.0 / std::sqrt(double(K))});
        switch (draw.random.range(type == "f32" ? -1 : 1, 5)) {
            case -1:
            case 0:
                x = write_floats(draw, matrix, K, N, x);
                break;
            case 1:
                draw.add("set_rows", {matrix, rows, draw_places(draw, N)});
                break;
            case 2:
                draw.add("cpy", {rows, exact ? matrix
                                             : draw.add("view", {matrix},
                                                        {double(K), double(draw.rows), 1, 1, 0,
                                                         double(row_bytes(type, K))})});
                break;
            default:
                if (draw.chance(30)) x = draw.add("unary.silu", {x});
                draw.keep(draw.add("mul_mat", {matrix, x}), N);
        }
    }
}

}  // namespace rknpu2::test
