# SPDX-License-Identifier: MIT
# Toolchain of the preset `rk3588`: AArch64 Linux, for the RK3588's two kinds of cores.
#
# Cortex-A76 and Cortex-A55 both are ARMv8.2-A with dot products, half precision and LSE atomics, so one binary uses them
# on all eight cores; instructions are scheduled for the A76, where the plug-in's threads run. A CPU that lacks one of the
# features (Cortex-A53, A72) is told so by ggml_backend_score() in src/ggml/host/entry.cpp and not by a crash.
#
# On a PC this is a cross build with Debian's g++-aarch64-linux-gnu, whose programs (the tests) run under qemu-aarch64 with
# the A76's instructions; on a board the same preset builds natively.
set(RKNPU2_RK3588_FLAGS "-march=armv8.2-a+dotprod+fp16 -mtune=cortex-a76")
set(CMAKE_C_FLAGS_INIT "${RKNPU2_RK3588_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "${RKNPU2_RK3588_FLAGS}")

if(NOT CMAKE_HOST_SYSTEM_PROCESSOR STREQUAL "aarch64")
  set(CMAKE_SYSTEM_NAME Linux)
  set(CMAKE_SYSTEM_PROCESSOR aarch64)
  set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
  set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)

  # Debian keeps the target's C library here. Headers and CMake files that are the same on every architecture (CLI11,
  # nlohmann-json) come from the PC; libraries never do.
  set(RKNPU2_SYSROOT /usr/aarch64-linux-gnu)
  list(APPEND CMAKE_FIND_ROOT_PATH "${RKNPU2_SYSROOT}")
  set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)

  find_program(RKNPU2_QEMU qemu-aarch64)
  if(RKNPU2_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR "${RKNPU2_QEMU};-cpu;cortex-a76;-L;${RKNPU2_SYSROOT}")
  endif()
endif()
