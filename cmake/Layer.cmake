# SPDX-License-Identifier: MIT
# What most sources include, compiled once for all of them. CI asks for it; with a compiler cache one is faster without.
option(RKNPU2_PRECOMPILED "Precompile what sources and tests include" OFF)
if(RKNPU2_PRECOMPILED)
  file(WRITE "${CMAKE_BINARY_DIR}/precompiled/sources.cpp" "")
  add_library(rknpu2_precompiled_sources STATIC EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/precompiled/sources.cpp")
  target_link_libraries(rknpu2_precompiled_sources PRIVATE rknpu2_flags)
  target_precompile_headers(rknpu2_precompiled_sources PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${CMAKE_CURRENT_LIST_DIR}/precompiled.hpp>")
endif()

# For a library with the build type's flags. Sources with flags of their own: rknpu2_own_flags().
function(rknpu2_precompiled target)
  if(RKNPU2_PRECOMPILED)
    target_precompile_headers(${target} REUSE_FROM rknpu2_precompiled_sources)
  endif()
endfunction()

# rknpu2_own_flags(flags source ...)
function(rknpu2_own_flags flags)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "${flags}" SKIP_PRECOMPILE_HEADERS ON)
endfunction()

# rknpu2_layer(NAME SOURCES ... [DEPENDS lower layers]): one static library for each folder of src/. A layer sees only the
# layers below it; scripts/check_layers.py enforces the same rule on #include lines.
function(rknpu2_layer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(rknpu2_${name} STATIC ${ARG_SOURCES})
  target_include_directories(rknpu2_${name} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(rknpu2_${name} PUBLIC rknpu2_flags Threads::Threads)
  foreach(lower IN LISTS ARG_DEPENDS)
    target_link_libraries(rknpu2_${name} PUBLIC rknpu2_${lower})
  endforeach()
  rknpu2_precompiled(rknpu2_${name})
endfunction()

# What hot loops are compiled with, besides the build type's flags: no errno and no traps, so that they vectorise.
set(RKNPU2_KERNEL_FLAGS -O3 -fno-math-errno -fno-trapping-math)
