# SPDX-License-Identifier: MIT
# Libraries that call themselves ggml, for layouts_test.cpp: one without code that lacks a function, and the stock host with
# some functions of ours before its own.
function(stub_host name source)
  add_library(${name} MODULE ${source})
  target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(${name} PRIVATE rknpu2_flags ${CMAKE_DL_LIBS})
  set_target_properties(${name} PROPERTIES LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/stubs" PREFIX "")
  add_dependencies(test_ggml_layouts ${name})
endfunction()
stub_host(ggml_lacks_function stub_host.c)
if(RKNPU2_LLAMA_BIN_DIR)
  stub_host(differing_host differing_host.cpp)
  target_include_directories(differing_host SYSTEM PRIVATE "${RKNPU2_LLAMA_DIR}/ggml/include" "${RKNPU2_LLAMA_DIR}/ggml/src")
  target_link_libraries(differing_host PRIVATE -Wl,--no-as-needed "${RKNPU2_LLAMA_BIN_DIR}/libggml.so" "${RKNPU2_LLAMA_BIN_DIR}/libggml-base.so")
endif()
target_compile_definitions(test_ggml_layouts PRIVATE STUBS="${CMAKE_CURRENT_BINARY_DIR}/stubs")
