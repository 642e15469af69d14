// SPDX-License-Identifier: MIT
#include "doctor_prepared.hpp"

#include <cstring>
#include <utility>

namespace rknpu2 {

Status prepare(NpuRuntime& runtime, const SpeedShape& shape, int core, Prepared& to) {
    ContextSpec spec;
    spec.arithmetic = shape.arithmetic;
    spec.K = shape.K;
    spec.N = shape.N;
    spec.rows = {shape.M};
    spec.core = core;
    Result<std::unique_ptr<NpuContext>> context = runtime.create_context(spec);
    RKNPU2_RETURN_IF_ERROR(context.status());
    to.context = context.take();
    const std::pair<Operand, std::unique_ptr<NpuMemory>*> parts[] = {
        {Operand::kActivations, &to.a}, {Operand::kWeights, &to.b}, {Operand::kResult, &to.c}};
    for (const auto& [operand, memory] : parts) {
        Result<std::unique_ptr<NpuMemory>> made = to.context->allocate(to.context->operand_bytes(operand, 0));
        RKNPU2_RETURN_IF_ERROR(made.status());
        *memory = made.take();
        if (operand == Operand::kResult) continue;
        std::memset((*memory)->data(), 1, (*memory)->size());
        RKNPU2_RETURN_IF_ERROR(to.context->sync_to_device(**memory));
    }
    RKNPU2_RETURN_IF_ERROR(to.context->select_rows(0));
    for (const auto& [operand, memory] : parts)
        RKNPU2_RETURN_IF_ERROR(to.context->bind(operand, **memory));
    return {};
}

}  // namespace rknpu2
