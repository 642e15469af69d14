// SPDX-License-Identifier: MIT
// What the vendor's two matmul demos do (rknn-toolkit2, rknn_matmul_api_demo and _dynshape_demo), in our own
// words and with the same names of the headers: every type, both sides in every layout, one shape or several,
// loops of runs; and every result is compared. `demos nibbles` packs int4 as those demos do, for
// RKNNSIM_INT4_INPUT=nibbles.
#include <rknn_matmul_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

int failures = 0;
bool nibbles = false;

void complain(const std::string& what) {
    std::printf("WRONG: %s\n", what.c_str());
    ++failures;
}

// Only normal numbers and zero.
uint16_t to_half(float x) {
    uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
    if (x == 0) return sign;
    return static_cast<uint16_t>(sign | ((bits >> 23 & 255U) - 112U) << 10 | (bits >> 13 & 1023U));
}
float from_half(uint16_t half) {
    if ((half & 0x7fffU) == 0) return 0;
    const uint32_t bits = (half & 0x8000U) << 16 | ((half >> 10 & 31U) + 112U) << 23 | (half & 1023U) << 13;
    float x = 0;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

struct Shape {
    int M, K, N;
};

// Row-major values that every type can hold, different for each shape and operand.
std::vector<float> values(int rows, int columns, bool half, int seed) {
    std::vector<float> out(static_cast<size_t>(rows) * columns);
    for (size_t i = 0; i < out.size(); ++i) {
        const int n = static_cast<int>((i * 2654435761U + static_cast<size_t>(seed) * 40503U) >> 7 & 0xffffU);
        out[i] = half ? (n % 5 - 2) * 0.5F : static_cast<float>(n % 7 - 3);
    }
    return out;
}

char* data_of(const rknn_tensor_mem* mem) {
    return static_cast<char*>(mem->virt_addr) + mem->offset;
}

// One element to where the attribute's type puts it; int4 has the even element in the low half of a byte.
void put(char* to, rknn_tensor_type type, size_t at, float value) {
    if (type == RKNN_TENSOR_FLOAT16) {
        const uint16_t half = to_half(value);
        std::memcpy(to + 2 * at, &half, 2);
    } else if (type == RKNN_TENSOR_INT8) {
        to[at] = static_cast<char>(static_cast<int8_t>(value));
    } else {
        const int nibble = static_cast<int>(value) & 15;
        const int kept = to[at / 2] & (at % 2 == 0 ? 0xf0 : 0x0f);
        to[at / 2] = static_cast<char>(kept | (at % 2 == 0 ? nibble : nibble << 4));
    }
}

double get(const char* from, rknn_tensor_type type, size_t at) {
    const auto read = [&](auto element) {
        std::memcpy(&element, from + at * sizeof element, sizeof element);
        return element;
    };
    switch (type) {
        case RKNN_TENSOR_FLOAT32:
            return read(float{});
        case RKNN_TENSOR_FLOAT16:
            return from_half(read(uint16_t{}));
        case RKNN_TENSOR_INT32:
            return read(int32_t{});
        case RKNN_TENSOR_INT16:
            return read(int16_t{});
        default:
            return read(int8_t{});
    }
}

// Where (row, column) of A or C is, by the dims of its attribute: [rows, columns], or [columns / part, rows,
// part].
size_t place(const rknn_matmul_tensor_attr& attr, size_t row, size_t column) {
    if (attr.n_dims == 2) return row * attr.dims[1] + column;
    return (column / attr.dims[2] * attr.dims[1] + row) * attr.dims[2] + column % attr.dims[2];
}

void fill_a(const rknn_matmul_tensor_attr& attr, const std::vector<float>& a, Shape shape, char* to) {
    for (int m = 0; m < shape.M; ++m) {
        for (int k = 0; k < shape.K; ++k)
            put(to, attr.type, place(attr, m, k), a[static_cast<size_t>(m) * shape.K + k]);
    }
}

void fill_b(const rknn_matmul_tensor_attr& attr, rknn_matmul_info* info, const std::vector<float>& b,
            Shape shape, char* to) {
    const bool int4 = attr.type == RKNN_TENSOR_INT4;
    if (info->B_layout == RKNN_MM_LAYOUT_TP_NORM) {
        for (int k = 0; k < shape.K; ++k) {
            for (int n = 0; n < shape.N; ++n)
                put(to, attr.type, static_cast<size_t>(n) * shape.K + k,
                    b[static_cast<size_t>(k) * shape.N + n]);
        }
        return;
    }
    std::vector<char> rows(b.size() * 2);
    const rknn_tensor_type as = int4 && !nibbles ? RKNN_TENSOR_INT8 : attr.type;
    for (size_t i = 0; i < b.size(); ++i)
        put(rows.data(), as, i, b[i]);
    if (info->B_layout == RKNN_MM_LAYOUT_NORM) {
        std::memcpy(to, rows.data(), attr.size);
    } else if (rknn_B_normal_layout_to_native_layout(rows.data(), to, shape.K, shape.N, info) != RKNN_SUCC) {
        complain("the conversion of B fails");
    }
}

double multiplied(const std::vector<float>& a, const std::vector<float>& b, Shape shape, int m, int n,
                  rknn_matmul_type type) {
    double sum = 0;
    for (int k = 0; k < shape.K; ++k)
        sum += static_cast<double>(a[static_cast<size_t>(m) * shape.K + k]) *
               b[static_cast<size_t>(k) * shape.N + n];
    if (type != RKNN_INT8_MM_INT8_TO_INT8) return sum;
    const double scaled =
        sum * static_cast<double>(0.2F) * static_cast<double>(0.1F) / static_cast<double>(0.8F);
    return std::min(127.0, std::max(-128.0, std::nearbyint(scaled)));
}

void set_scale(rknn_matmul_ctx ctx, const char* name, float scale) {
    rknn_quant_params params;
    std::memcpy(params.name, name, RKNN_MAX_NAME_LEN);
    int32_t zp = 0;
    params.scale = &scale;
    params.scale_len = 1;
    params.zp = &zp;
    params.zp_len = 1;
    if (rknn_matmul_set_quant_params(ctx, &params) != RKNN_SUCC) complain("a scale is refused");
}

// One context and all its shapes, as the demo with dynamic shapes uses it; with one shape as the other one
// does.
struct Demo {
    rknn_matmul_info info;
    std::vector<rknn_matmul_shape> shapes;
    bool dynamic = false;
    int core_mask = 0;

    std::string name() const {
        return std::string(get_matmul_type_string(info.type)) + ", B " + std::to_string(info.B_layout) +
               ", A and C " + std::to_string(info.AC_layout) + ", " + std::to_string(shapes.size()) +
               " shapes from " + std::to_string(shapes[0].M) + "," + std::to_string(shapes[0].K) + "," +
               std::to_string(shapes[0].N);
    }

    void run() {
        rknn_matmul_ctx ctx = 0;
        std::vector<rknn_matmul_io_attr> io(shapes.size());
        const int created = dynamic
                                ? rknn_matmul_create_dynamic_shape(
                                      &ctx, &info, static_cast<int>(shapes.size()), shapes.data(), io.data())
                                : rknn_matmul_create(&ctx, &info, io.data());
        if (created != RKNN_SUCC) return complain(name() + ": not created");
        if (rknn_matmul_set_core_mask(ctx, static_cast<rknn_core_mask>(core_mask)) != RKNN_SUCC)
            complain(name() + ": core mask");
        if (info.type == RKNN_INT8_MM_INT8_TO_INT8) {
            set_scale(ctx, io[0].A.name, 0.2F);
            set_scale(ctx, io[0].B.name, 0.1F);
            set_scale(ctx, io[0].C.name, 0.8F);
        }
        uint32_t sizes[3] = {0, 0, 0};
        for (const rknn_matmul_io_attr& attr : io) {
            sizes[0] = std::max(sizes[0], attr.A.size);
            sizes[1] = std::max(sizes[1], attr.B.size);
            sizes[2] = std::max(sizes[2], attr.C.size);
        }
        rknn_tensor_mem* mem[3];
        for (int i = 0; i < 3; ++i)
            mem[i] = rknn_create_mem(ctx, sizes[i]);
        for (size_t s = 0; s < shapes.size(); ++s)
            run_shape(ctx, s, io[s], mem);
        for (rknn_tensor_mem* one : mem) {
            if (rknn_destroy_mem(ctx, one) != RKNN_SUCC) complain(name() + ": destroying memory");
        }
        if (rknn_matmul_destroy(ctx) != RKNN_SUCC) complain(name() + ": destroying the context");
    }

    void run_shape(rknn_matmul_ctx ctx, size_t s, rknn_matmul_io_attr& io, rknn_tensor_mem* const* mem) {
        const Shape shape{shapes[s].M, shapes[s].K, shapes[s].N};
        const bool half = io.A.type == RKNN_TENSOR_FLOAT16;
        const bool transposed = info.B_layout == RKNN_MM_LAYOUT_TP_NORM;
        const std::vector<float> a = values(shape.M, shape.K, half, static_cast<int>(s) + 1);
        const std::vector<float> b =
            values(shape.K, shape.N, half, transposed ? 50 + static_cast<int>(s) : 50);
        int bad = dynamic ? rknn_matmul_set_dynamic_shape(ctx, &shapes[s]) : 0;
        if (s == 0 || transposed) {  // else B stays as it is
            fill_b(io.B, &info, b, shape, data_of(mem[1]));
            bad |= rknn_matmul_set_io_mem(ctx, mem[1], &io.B);
        }
        fill_a(io.A, a, shape, data_of(mem[0]));
        bad |= rknn_matmul_set_io_mem(ctx, mem[0], &io.A);
        bad |= rknn_matmul_set_io_mem(ctx, mem[2], &io.C);
        for (int loop = 0; loop < 3; ++loop)
            bad |= rknn_matmul_run(ctx);
        if (bad != 0) return complain(name() + ": a call fails");
        for (int m = 0; m < shape.M; ++m) {
            for (int n = 0; n < shape.N; ++n) {
                const double got = get(data_of(mem[2]), io.C.type, place(io.C, m, n));
                const double want = multiplied(a, b, shape, m, n, info.type);
                if (got == want) continue;
                return complain(name() + ": C[" + std::to_string(m) + "," + std::to_string(n) + "] is " +
                                std::to_string(got) + ", must be " + std::to_string(want));
            }
        }
    }
};

Demo demo_of(rknn_matmul_type type, int b_layout, int ac_layout, std::vector<rknn_matmul_shape> shapes,
             bool dynamic) {
    Demo demo;
    std::memset(&demo.info, 0, sizeof demo.info);
    demo.info.type = type;
    demo.info.B_layout = static_cast<int16_t>(b_layout);
    demo.info.AC_layout = static_cast<int16_t>(ac_layout);
    for (const rknn_matmul_shape& shape : shapes) {  // those of the largest shape
        demo.info.M = std::max(demo.info.M, shape.M);
        demo.info.K = std::max(demo.info.K, shape.K);
        demo.info.N = std::max(demo.info.N, shape.N);
    }
    demo.shapes = std::move(shapes);
    demo.dynamic = dynamic;
    return demo;
}

bool taken(rknn_matmul_type type, int b_layout) {
    const bool int4 = type == RKNN_INT4_MM_INT4_TO_INT16;
    if (b_layout == RKNN_MM_LAYOUT_TP_NORM) return !int4 && type != RKNN_INT8_MM_INT8_TO_INT8;
    return b_layout == RKNN_MM_LAYOUT_NATIVE || !int4;
}

void expect_refused(Demo demo) {
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_io_attr io;
    std::fclose(stderr);  // the refusals are meant
    if (rknn_matmul_create(&ctx, &demo.info, &io) != RKNN_ERR_PARAM_INVALID)
        complain(demo.name() + ": not refused");
}

// The demos take this form of type 9: its calls succeed, and C is zeros.
void check_groups() {
    Demo demo = demo_of(RKNN_INT8_MM_INT8_TO_FLOAT32, 1, 1, {{4, 64, 64}}, false);
    demo.info.B_quant_type = RKNN_QUANT_TYPE_PER_GROUP_SYM;
    demo.info.group_size = 32;
    rknn_matmul_ctx ctx = 0;
    rknn_matmul_io_attr io;
    if (rknn_matmul_create(&ctx, &demo.info, &io) != RKNN_SUCC)
        return complain(demo.name() + ": not created");
    std::vector<float> scales(64 * 64 / 32, 0.0001F);
    rknn_quant_params params;
    std::memset(&params, 0, sizeof params);
    std::memcpy(params.name, io.B.name, RKNN_MAX_NAME_LEN);
    params.scale = scales.data();
    params.scale_len = static_cast<int32_t>(scales.size());
    if (rknn_matmul_set_quant_params(ctx, &params) != RKNN_SUCC) complain("scales of groups are refused");
    rknn_matmul_tensor_attr* attrs[3] = {&io.A, &io.B, &io.C};
    rknn_tensor_mem* mem[3];
    int bad = 0;
    for (int i = 0; i < 3; ++i) {
        mem[i] = rknn_create_mem(ctx, attrs[i]->size);
        std::memset(data_of(mem[i]), 1, attrs[i]->size);
        bad |= rknn_matmul_set_io_mem(ctx, mem[i], attrs[i]);
    }
    bad |= rknn_matmul_run(ctx);
    if (bad != 0) complain(demo.name() + ": a call fails");
    for (size_t i = 0; i < 4 * 64; ++i) {
        if (get(data_of(mem[2]), io.C.type, i) != 0) return complain(demo.name() + ": C is not zeros");
    }
    for (rknn_tensor_mem* one : mem)
        rknn_destroy_mem(ctx, one);
    rknn_matmul_destroy(ctx);
}

void check_names() {
    char name[RKNN_MAX_NAME_LEN];
    static_assert(sizeof(rknn_matmul_tensor_attr::name) == sizeof name && RKNN_MAX_NAME_LEN == 256, "a name");
    static_assert(sizeof(rknn_matmul_tensor_attr::dims) == RKNN_MAX_DIMS * sizeof(uint32_t), "dims");
    static_assert(RKNN_MAX_DIMS == 16 && RKNN_MAX_NUM_CHANNEL == 15 && RKNN_MAX_DYNAMIC_SHAPE_NUM == 512,
                  "numbers");
    std::snprintf(name, sizeof name, "%s %s %s", get_type_string(RKNN_TENSOR_INT4),
                  get_format_string(RKNN_TENSOR_NHWC), get_matmul_type_string(RKNN_INT4_MM_INT4_TO_INT16));
    if (std::strcmp(name, "INT4 NHWC RKNN_INT4_MM_INT4_TO_INT16") != 0) complain(name);
    const char* formats[] = {"NCHW", "NHWC", "NC1HWC2", "UNDEFINED", "UNKNOW"};
    for (int i = 0; i < 5; ++i) {
        if (std::strcmp(get_format_string(static_cast<rknn_tensor_format>(i)), formats[i]) != 0)
            complain(formats[i]);
    }
    for (int i = 0; i < 17; ++i) {
        const bool known = (i >= 1 && i <= 12) || i == 15;
        const bool named =
            std::strncmp(get_matmul_type_string(static_cast<rknn_matmul_type>(i)), "RKNN_", 5) == 0;
        if (known != named) complain("the name of matmul type " + std::to_string(i));
    }
    rknn_context one = 0;
    rknn_context two = 0;
    if (RKNN_NPU_CORE_UNDEFINED != 0x10000 || RKNN_TENSOR_FORMAT_MAX != 4) complain("numbers");
    if (rknn_dup_context(&one, &two) != RKNN_ERR_FAIL) complain("rknn_dup_context");
}

}  // namespace

int main(int argc, char** argv) {
    nibbles = argc > 1 && std::strcmp(argv[1], "nibbles") == 0;
    const rknn_matmul_type types[] = {RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT32, RKNN_INT8_MM_INT8_TO_INT32,
                                      RKNN_INT8_MM_INT8_TO_INT8, RKNN_FLOAT16_MM_FLOAT16_TO_FLOAT16,
                                      RKNN_INT4_MM_INT4_TO_INT16};
    int runs = 0;
    for (const rknn_matmul_type type : types) {
        for (int b_layout = 0; b_layout < 3; ++b_layout) {
            if (!taken(type, b_layout)) continue;
            for (int ac_layout = 0; ac_layout < 2; ++ac_layout) {
                for (const rknn_matmul_shape& shape :
                     {rknn_matmul_shape{1, 64, 128}, rknn_matmul_shape{4, 64, 64},
                      rknn_matmul_shape{33, 352, 192}}) {
                    Demo demo = demo_of(type, b_layout, ac_layout, {shape}, false);
                    demo.core_mask = runs % 4 == 3 ? 4 : runs % 4;
                    demo.info.iommu_domain_id = runs % 3;
                    demo.run();
                    ++runs;
                }
                demo_of(type, b_layout, ac_layout, {{1, 64, 128}, {4, 64, 128}, {8, 64, 128}}, true).run();
                // With B transposed K and N may differ, too.
                if (b_layout == 2)
                    demo_of(type, b_layout, ac_layout, {{2, 64, 128}, {5, 320, 64}, {1, 32, 192}}, true)
                        .run();
            }
        }
    }
    check_groups();
    check_names();
    for (const rknn_matmul_type type : types) {
        for (int b_layout = 0; b_layout < 3; ++b_layout) {
            if (!taken(type, b_layout)) expect_refused(demo_of(type, b_layout, 0, {{4, 64, 64}}, false));
        }
    }
    for (const rknn_matmul_type type :
         {RKNN_FLOAT16_MM_INT8_TO_FLOAT32, RKNN_FLOAT16_MM_INT8_TO_FLOAT16, RKNN_FLOAT16_MM_INT4_TO_FLOAT32,
          RKNN_FLOAT16_MM_INT4_TO_FLOAT16, RKNN_INT8_MM_INT8_TO_FLOAT32, RKNN_INT8_MM_INT4_TO_INT32})
        expect_refused(demo_of(type, 1, 0, {{4, 64, 64}}, false));
    std::printf("%d products of one shape, %d failures\n", runs, failures);
    return failures == 0 && runs == 72 ? 0 : 1;
}
