// SPDX-License-Identifier: MIT
// What runs in this library on a CPU that may lack instructions that the rest of it was compiled for.
//
// ggml loads a plug-in and asks ggml_backend_score() before it uses it; a process also runs our destructors
// when it ends. Both must be safe on every ARMv8-A CPU, so entry.cpp is compiled for the baseline
// (src/ggml/CMakeLists.txt) and uses no library; the rest of the plug-in has no static initialisers.
// tests/ggml/score_probe.c runs this on CPUs without the features.
#pragma once

namespace rknpu2 {

// The bits of AT_HWCAP that this build's instructions need; a constant, known from the compiler's target.
extern const unsigned long kNeededHwcaps;

// Called once when the process ends; null until there is something to write.
extern void (*at_process_end)();

}  // namespace rknpu2
