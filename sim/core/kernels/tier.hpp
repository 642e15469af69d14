// SPDX-License-Identifier: MIT
// The kernel tiers: three implementations of the same arithmetic (job.hpp), chosen once at start.
//
//   reference  the definition: a triple loop through the index functions of matrix/layout.hpp
//   generic    blocked, plain C++ that compilers vectorise; for every CPU
//   avx2       the same blocking with x86 AVX2, FMA and F16C instructions
//
// A run has two steps, because A is read under the lock of its device view and the multiplication must not
// hold it: load_a() copies A into the scratch in whatever form the tier likes, multiply() does the rest and
// does not look at job.a. Both return false when the host has no memory for the scratch.
#pragma once

#include "core/kernels/job.hpp"
#include "core/kernels/scratch.hpp"

namespace rknnsim {

struct KernelTier {
    const char* name;
    bool (*load_a)(const Job& job, Scratch& scratch);
    bool (*multiply)(const Job& job, Scratch& scratch);
};

extern const KernelTier kReferenceTier;
extern const KernelTier kGenericTier;

// nullptr where this build or this CPU cannot run it.
const KernelTier* avx2_tier();

// By name; "auto" is the fastest that runs here. nullptr for an unknown name or one that cannot run.
const KernelTier* find_tier(const char* name);

}  // namespace rknnsim
