# SPDX-License-Identifier: MIT
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
endfunction()

# What hot loops are compiled with, besides the build type's flags: no errno and no traps, so that they vectorise.
set(RKNPU2_KERNEL_FLAGS -O3 -fno-math-errno -fno-trapping-math)
