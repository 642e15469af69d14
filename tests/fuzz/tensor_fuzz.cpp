// SPDX-License-Identifier: MIT
// Tensors of ggml with any type, shape and strides, as one that comes over the network could have: what
// support() accepts has operands that fit each other and are stored where its sizes say.
//
// The input starts from a sound product and names changes of single fields: which tensor, which field, value.
#include "fuzz/input.hpp"
#include "fuzz/plan_properties.hpp"
#include "ggml/node/describe.hpp"
#include "gguf/tensor_types.hpp"

using namespace rknpu2;  // NOLINT: this is its program

namespace {

const Host& host() {
    static Host* const the_host = [] {
        auto* const made = new Host;
        made->ggml.operations.read(ggml_op_name);
        made->abi = &kAbis[0];
        made->ggml.ggml_is_contiguous = ggml_is_contiguous;
        made->ggml.ggml_get_type_traits = ggml_get_type_traits;
        made->ggml.ggml_type_name = ggml_type_name;
        return made;
    }();
    return *the_host;
}

ggml_op number_of(Op op) {
    return host().ggml.operations.number_of(op);
}

// Sets the strides of a tensor whose type exists, and no others.
void set_strides(ggml_tensor& t) {
    int32_t type = 0;
    std::memcpy(&type, &t.type, sizeof type);
    if (type < 0 || find_ggml_type(static_cast<uint32_t>(type)) == nullptr) return;
    const ggml_type_traits* const traits = ggml_get_type_traits(t.type);
    if (traits->blck_size <= 0) return;
    t.nb[0] = traits->type_size;
    t.nb[1] = traits->type_size * static_cast<size_t>(t.ne[0] / traits->blck_size);
    t.nb[2] = t.nb[1] * static_cast<size_t>(t.ne[1]);
    t.nb[3] = t.nb[2] * static_cast<size_t>(t.ne[2]);
}

// The tensors of one product; `experts` makes it a MUL_MAT_ID.
struct Product {
    ggml_tensor weight{}, activations{}, choice{}, result{};
    ggml_backend_buffer buffer{};

    Product(bool experts, ggml_type type) {
        const int64_t K = 256, N = 48, tokens = 6, used = 2, stack = 4;
        static std::byte stored;  // nobody reads it
        weight.data = &stored;
        weight.type = type;
        buffer.buft = const_cast<ggml_backend_buffer_type*>(&host().buffer_type);
        weight.buffer = &buffer;
        choice.type = GGML_TYPE_I32;
        result.op = number_of(experts ? Op::kMatMulExperts : Op::kMatMul);
        const auto shape = [](ggml_tensor& t, int64_t a, int64_t b, int64_t c) {
            t.ne[0] = a, t.ne[1] = b, t.ne[2] = c, t.ne[3] = 1;
            set_strides(t);
        };
        shape(weight, K, N, experts ? stack : 1);
        shape(activations, K, experts ? used : tokens, experts ? tokens : 1);
        shape(choice, used, tokens, 1);
        shape(result, N, experts ? used : tokens, experts ? tokens : 1);
        result.src[0] = &weight;
        result.src[1] = &activations;
        if (experts) result.src[2] = &choice;
    }

    ggml_tensor& at(unsigned which) {
        ggml_tensor* const all[] = {&weight, &activations, &choice, &result};
        return *all[which % 4];
    }
};

void change(Product& product, fuzz::Input& input) {
    const auto what = input.number<uint8_t>();
    ggml_tensor& tensor = product.at(what);
    const unsigned field = what / 4 % 16;
    auto value = static_cast<int64_t>(input.size());
    if (what >= 128) value = static_cast<int64_t>(~static_cast<uint64_t>(value));
    if (field < 4) tensor.ne[field] = value;
    if (field >= 4 && field < 8) tensor.nb[field - 4] = static_cast<size_t>(value);
    const auto number = static_cast<int32_t>(value);
    if (field == 8) std::memcpy(&tensor.type, &number, sizeof number);
    if (field == 9) product.result.src[what / 64 % 3] = nullptr;
    if (field == 10) tensor.view_src = &product.choice;
    if (field == 11 && value % 2 == 0) tensor.op = number_of(Op::kAdd);
    // Consistent with the shape again: what an attacker would do.
    if (field >= 12) set_strides(tensor);
}

long double bytes_of(const ggml_tensor& t) {
    const ggml_type_traits* const traits = ggml_get_type_traits(t.type);
    long double bytes =
        static_cast<long double>(traits->type_size) / static_cast<long double>(traits->blck_size);
    for (const int64_t ne : t.ne) {
        FUZZ_CHECK(ne > 0);
        bytes *= static_cast<long double>(ne);
    }
    return bytes;
}

// Behind the last byte of the tensor's elements.
long double end_of(const ggml_tensor& t) {
    const ggml_type_traits* const traits = ggml_get_type_traits(t.type);
    auto end =
        static_cast<long double>(t.ne[0] / traits->blck_size) * static_cast<long double>(traits->type_size);
    for (int d = 1; d < GGML_MAX_DIMS; ++d)
        end += static_cast<long double>(t.ne[d] - 1) * static_cast<long double>(t.nb[d]);
    return end;
}

void check(const Product& product, const MatmulProblem& p) {
    const ggml_tensor& weight = product.weight;
    const bool experts = host().ggml.op(&product.result) == Op::kMatMulExperts;
    FUZZ_CHECK(weight.ne[0] == product.activations.ne[0] && weight.ne[1] == product.result.ne[0]);
    FUZZ_CHECK(p.K == static_cast<size_t>(weight.ne[0]) && p.N == static_cast<size_t>(weight.ne[1]));
    FUZZ_CHECK(bytes_of(product.result) == static_cast<long double>(p.M) * static_cast<long double>(p.N) * 4);
    for (const ggml_tensor* const t : {&weight, &product.activations, &product.result})
        FUZZ_CHECK(end_of(*t) <= static_cast<long double>(kMostOperandBytes) && bytes_of(*t) > 0);
    const WeightSource source =
        weight_source(host(), &product.result, experts ? static_cast<int>(p.experts - 1) : -1);
    FUZZ_CHECK(source.dequantise != nullptr && source.K == p.K && source.N == p.N);
    const auto matrices = static_cast<long double>(experts ? p.experts : 1);
    FUZZ_CHECK(static_cast<long double>(source.bytes()) * matrices == bytes_of(weight));
    Config config;
    fuzz::check_supported(p, config);
    if (!experts) return;
    const ExpertsCall call = experts_call(&product.result);
    FUZZ_CHECK(call.rows() == p.M && call.experts == p.experts);
    FUZZ_CHECK(static_cast<long double>(call.raw_bytes) * matrices == bytes_of(weight));
    FUZZ_CHECK(end_of(product.choice) <= static_cast<long double>(kMostOperandBytes));
    fuzz::check_choice(call, config);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    fuzz::Input input(data, size);
    const auto first = input.number<uint8_t>();
    constexpr ggml_type kTypes[] = {GGML_TYPE_F32, static_cast<ggml_type>(2), static_cast<ggml_type>(14),
                                    GGML_TYPE_F16};  // q4_0, q6_K
    Product product((first & 1) != 0, kTypes[first / 2 % 4]);
    while (input.left() > 0)
        change(product, input);
    product.result.op = number_of((first & 1) != 0 ? Op::kMatMulExperts : Op::kMatMul);
    const MatmulProblem p = describe(host(), &product.result);
    const Reason reason = support(p);
    if (reason == Reason::kSupported) check(product, p);
    if (size <= 1) FUZZ_CHECK(reason == Reason::kSupported);
    FUZZ_CHECK(can_multiply_on_npu(host(), &product.result) ==
               (reason == Reason::kSupported && host().ggml.op(&product.result) == Op::kMatMul));
    return 0;
}
