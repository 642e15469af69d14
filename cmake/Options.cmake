# SPDX-License-Identifier: MIT
# Options and the flags that every target shares.

set(RKNPU2_LLAMA_DIR "" CACHE PATH "Source tree of llama.cpp, for tests of the plug-in; scripts/host-llama.sh --source-dir prints one")
set(RKNPU2_LLAMA_BIN_DIR "" CACHE PATH "Programs of a built llama.cpp, for the end-to-end tests; empty: those tests are skipped")
set(RKNPU2_OLDER_BIN_DIR "" CACHE PATH "Programs of a llama.cpp of the older layout; scripts/host-llama.sh --older --bin-dir prints one")
set(RKNPU2_MODEL "" CACHE FILEPATH "The default GGUF model, for the end-to-end tests; empty: those tests are skipped")
# Debian wants a name and an address. The name .invalid is reserved for addresses that reach nobody: who gives packages to others
# sets his own.
set(RKNPU2_MAINTAINER "ggml-rknpu2 authors <maintainers@ggml-rknpu2.invalid>" CACHE STRING "Maintainer of the Debian packages")
option(RKNPU2_WERROR "Treat warnings as errors" OFF)
option(RKNPU2_SIM_ONLY "Build and install the simulator alone, which needs nothing but a C++ compiler" OFF)
option(RKNPU2_TESTS "Build the tests, which need GoogleTest; on in the presets for development" OFF)
set(RKNPU2_LEFT_OUT_TESTS "" CACHE STRING "Folders of tests/ that are not built, as a list")
option(RKNPU2_FUZZ "Build the fuzz targets with libFuzzer, which needs clang (preset fuzz)" OFF)
set(RKNPU2_SANITIZE "" CACHE STRING "Sanitizers, as for -fsanitize=")

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 99)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")

# For what is compiled much longer than it ever runs: programs around CLI11, and tests. What they call keeps the build type's flags.
set(RKNPU2_QUICKLY_COMPILED "")
if(RKNPU2_SANITIZE)
  set(RKNPU2_QUICKLY_COMPILED -O0)
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  set(RKNPU2_QUICKLY_COMPILED -O1)
endif()

add_library(rknpu2_flags INTERFACE)
# Contraction is off everywhere: results must not depend on whether a compiler fuses a multiply and an add.
target_compile_options(rknpu2_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wno-missing-field-initializers
                                              -ffp-contract=off)
if(RKNPU2_WERROR)
  target_compile_options(rknpu2_flags INTERFACE -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    # GCC finds these after inlining. They have false alarms, in std::string for one, that come and go with the length of a path.
    target_compile_options(rknpu2_flags INTERFACE -Wno-error=array-bounds -Wno-error=restrict -Wno-error=stringop-overflow
                                                  -Wno-error=stringop-overread -Wno-error=maybe-uninitialized)
  endif()
endif()
if(RKNPU2_SANITIZE)
  target_compile_options(rknpu2_flags INTERFACE -fsanitize=${RKNPU2_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(rknpu2_flags INTERFACE -fsanitize=${RKNPU2_SANITIZE})
  if(RKNPU2_SANITIZE MATCHES "address")
    # A program's own defaults; those of a library would not be found.
    target_sources(rknpu2_flags INTERFACE
      "$<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:${PROJECT_SOURCE_DIR}/cmake/sanitizer_options.c>")
  endif()
endif()
if(RKNPU2_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "RKNPU2_FUZZ needs clang and libFuzzer (Debian: apt install clang libclang-rt-14-dev); preset fuzz sets both")
  endif()
  # What the fuzzer follows; the programs alone link to libFuzzer itself.
  target_compile_options(rknpu2_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(rknpu2_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
find_package(Threads REQUIRED)
