# SPDX-License-Identifier: MIT
# Tests of a build for another architecture: GoogleTest, and how a test runs one of our programs.
#
#   RKNPU2_RUN   what stands before a program's path in a test's shell command: empty, or the emulator and a space
#
# The PC's GoogleTest library is of the PC's architecture, so a cross build compiles Debian's sources of it.
set(RKNPU2_RUN "")
if(NOT CMAKE_CROSSCOMPILING)
  find_package(GTest REQUIRED)
  return()
endif()

set(RKNPU2_GOOGLETEST_DIR "/usr/src/googletest" CACHE PATH "Sources of GoogleTest, for cross builds (Debian's package googletest)")
if(NOT EXISTS "${RKNPU2_GOOGLETEST_DIR}/CMakeLists.txt")
  message(FATAL_ERROR "no sources of GoogleTest in ${RKNPU2_GOOGLETEST_DIR}: apt install googletest, or -DRKNPU2_TESTS=OFF")
endif()
set(INSTALL_GTEST OFF)
add_subdirectory("${RKNPU2_GOOGLETEST_DIR}" "${CMAKE_BINARY_DIR}/googletest" EXCLUDE_FROM_ALL)
if(NOT TARGET GTest::gtest)
  add_library(GTest::gtest ALIAS gtest)
  add_library(GTest::gtest_main ALIAS gtest_main)
endif()
if(NOT TARGET GTest::gmock)
  add_library(GTest::gmock ALIAS gmock)
endif()

if(CMAKE_CROSSCOMPILING_EMULATOR)
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " RKNPU2_RUN)
  string(APPEND RKNPU2_RUN " ")
else()
  message(WARNING "no emulator (Debian: apt install qemu-user): the tests are built and not run")
endif()
