# SPDX-License-Identifier: MIT
# Libraries that call themselves ggml, for layouts_test.cpp, and a second plug-in from the headers of ggml 0.25.1.

# stub_host(NAME definitions...)
function(stub_host name)
  add_library(${name} MODULE stub_host.c)
  target_compile_definitions(${name} PRIVATE ${ARGN})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${name} PRIVATE rknpu2_flags ${CMAKE_DL_LIBS})
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/stubs" PREFIX "")
  add_dependencies(test_ggml_layouts ${name})
endfunction()
stub_host(ggml_0_9_11 STUB_VERSION="0.9.11")
stub_host(ggml_0_9_11_lacks_function STUB_VERSION="0.9.11" STUB_OMITS)
stub_host(ggml_0_25_2 STUB_VERSION="0.25.2")
stub_host(ggml_lacks_function STUB_VERSION="0.25.3" STUB_OMITS)
stub_host(ggml_no_version)

# Beside the first source tree in the cache of scripts/host-llama.sh, or where the user says.
get_filename_component(sibling "${RKNPU2_LLAMA_DIR}/../../ggml-0.25.1/src" ABSOLUTE)
set(RKNPU2_LLAMA_0_25_1_DIR "${sibling}" CACHE PATH
    "Source tree of a llama.cpp with ggml 0.25.1; the test of a plug-in built from it is skipped without one")
set(plugin_0_25_1 "")
# The same sources once more: not worth their time in an instrumented build.
if(EXISTS "${RKNPU2_LLAMA_0_25_1_DIR}/ggml/src/ggml-backend-impl.h" AND NOT RKNPU2_SANITIZE)
  get_target_property(sources rknpu2_ggml SOURCES)
  get_target_property(folder rknpu2_ggml SOURCE_DIR)
  get_target_property(link_options ggml-rknpu2 LINK_OPTIONS)
  list(TRANSFORM sources PREPEND "${folder}/")
  add_library(ggml-rknpu2-0.25.1 MODULE ${sources})
  target_include_directories(ggml-rknpu2-0.25.1 SYSTEM PRIVATE
    "${RKNPU2_LLAMA_0_25_1_DIR}/ggml/include" "${RKNPU2_LLAMA_0_25_1_DIR}/ggml/src")
  target_compile_definitions(ggml-rknpu2-0.25.1 PRIVATE RKNPU2_VERSION="${PROJECT_VERSION}")
  target_link_libraries(ggml-rknpu2-0.25.1 PRIVATE rknpu2_matmul)
  target_link_options(ggml-rknpu2-0.25.1 PRIVATE ${link_options})
  set_target_properties(ggml-rknpu2-0.25.1 PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/ggml-0.25.1")
  add_dependencies(test_ggml_layouts ggml-rknpu2-0.25.1)
  set(plugin_0_25_1 "$<TARGET_FILE:ggml-rknpu2-0.25.1>")
endif()
target_compile_definitions(test_ggml_layouts PRIVATE
  STUBS="${CMAKE_CURRENT_BINARY_DIR}/stubs" PLUGIN_0_25_1="${plugin_0_25_1}")
