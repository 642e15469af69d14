# SPDX-License-Identifier: MIT
# find_package(ggml-rknpu2) -> ggml-rknpu2::ggml-rknpu2, the plug-in as an imported module: nothing links to it, a ggml host
# opens it. $<TARGET_FILE:ggml-rknpu2::ggml-rknpu2> is its path; so is GGML_RKNPU2_PLUGIN, for use at configure time.
include("${CMAKE_CURRENT_LIST_DIR}/ggml-rknpu2Targets.cmake")
foreach(configuration RELEASE RELWITHDEBINFO DEBUG MINSIZEREL NOCONFIG)
  get_target_property(GGML_RKNPU2_PLUGIN ggml-rknpu2::ggml-rknpu2 IMPORTED_LOCATION_${configuration})
  if(GGML_RKNPU2_PLUGIN)
    break()
  endif()
endforeach()
