# SPDX-License-Identifier: MIT
# For a host that tests alone use (CI): half of llama.cpp's build goes into programs that wait for a model. They are compiled without
# optimisation, in half the time; ggml, libllama and all that computes much are as they are.
include("${CMAKE_CURRENT_LIST_DIR}/host-archs.cmake")

function(rknpu2_compile_quickly)
  foreach(target mtmd cpp-httplib llama-common server-context llama-server-impl llama-cli-impl llama-completion-impl llama-bench-impl)
    if(TARGET ${target})
      target_compile_options(${target} PRIVATE -O0)
    endif()
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL rknpu2_compile_quickly)
