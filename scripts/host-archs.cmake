# SPDX-License-Identifier: MIT
# Adds test-llama-archs-rows to llama.cpp's build: its own test of every architecture, changed in a few places. CMake reads this file at
# llama.cpp's project(), for scripts/host-llama.sh names it in CMAKE_PROJECT_llama.cpp_INCLUDE. The sources stay as they are.
#
# The stock program test-llama-archs makes a small random model of each architecture and compares a device's logits with the CPU's. Changed:
#   * The backends are loaded, the plug-in among them: in a build with GGML_BACKEND_DL the stock program has no device at all.
#   * RKNPU2_ARCHS_TOKENS=250 in the environment makes the prompt so long, in one micro-batch. The stock program has 128 tokens in two
#     micro-batches of 64, too few for the plug-in to stream a prompt through a graph; without the variable, so has this one. The context grows
#     with the prompt, because the program goes on behind it; windows of attention stay at 32.
#   * The program goes on with as many of the prompt's tokens as a micro-batch has rows. The prompt may have fewer: it begins anew then.
#   * RKNPU2_ARCHS_WIDTH=3072 is the number of embeddings, 256 without it, where an architecture does not have one of its own.
#   * A digest of each device's logits is printed on stderr, so that two runs can be compared bit by bit.
#   * It waits for the thread that writes its log; a stock program may end without its last lines.

function(rknpu2_change old new)
  string(FIND "${text}" "${old}" first)
  string(FIND "${text}" "${old}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    set(missing "${old}" PARENT_SCOPE) # or not unique
  endif()
  string(REPLACE "${old}" "${new}" text "${text}")
  set(text "${text}" PARENT_SCOPE)
endfunction()

function(rknpu2_add_archs_test)
  set(source "${CMAKE_SOURCE_DIR}/tests/test-llama-archs.cpp")
  set(changed "${CMAKE_BINARY_DIR}/rknpu2/test-llama-archs-rows.cpp")
  if(NOT EXISTS "${source}" OR NOT TARGET llama-common)
    message(STATUS "no test-llama-archs-rows: this llama.cpp has no tests/test-llama-archs.cpp")
    add_custom_target(test-llama-archs-rows)
    return()
  endif()
  file(READ "${source}" text)
  set(missing "")
  rknpu2_change("static bool arch_matches(" [=[
static uint32_t rknpu2_number(const char * name, uint32_t otherwise) {
    const char * text = getenv(name);
    return text ? uint32_t(atoi(text)) : otherwise;
}

static uint32_t rknpu2_tokens() {
    return rknpu2_number("RKNPU2_ARCHS_TOKENS", 0);
}

static uint32_t rknpu2_rows() {
    uint32_t rows = 64;
    while (rows < rknpu2_tokens()) {
        rows *= 2;
    }
    return rows;
}

static void rknpu2_print_digest(const char * arch, const std::string & config, const std::string & device, const std::vector<float> & logits) {
    uint64_t digest = 14695981039346656037ull; // FNV-1a
    for (size_t i = 0; i < logits.size() * sizeof(float); i++) {
        digest = (digest ^ reinterpret_cast<const unsigned char *>(logits.data())[i]) * 1099511628211ull;
    }
    fprintf(stderr, "digest|%s|%s|%s|%016" PRIx64 "\n", arch, config.c_str(), device.c_str(), digest);
}

static bool arch_matches(]=])
  rknpu2_change("    common_init();" "    common_init();\n    ggml_backend_load_all();")
  rknpu2_change("get_tokens(128, 128, seed)" "get_tokens(rknpu2_tokens() ? rknpu2_tokens() : 128, 128, seed)")
  rknpu2_change("n_ubatch = 64;" "n_ubatch = rknpu2_rows();")
  rknpu2_change("const uint32_t n_ctx = 256;" "const uint32_t n_ctx = rknpu2_tokens() ? 4*rknpu2_rows() : 256;")
  rknpu2_change("uint32_t n_embd  = 256;" "uint32_t n_embd = rknpu2_number(\"RKNPU2_ARCHS_WIDTH\", 256);")
  rknpu2_change("n_ctx/8);" "uint32_t(32));")
  rknpu2_change("batch.add(tokens[i], pos++, 0, true);" "batch.add(tokens[i % tokens.size()], pos++, 0, true);")
  rknpu2_change("const double nmse_val = nmse(logits_cpu, logits_dev);"
    "rknpu2_print_digest(llm_arch_name(arch), config_name, dc.label, logits_dev);\n const double nmse_val = nmse(logits_cpu, logits_dev);")
  rknpu2_change("return all_ok ? 0 : 1;" "common_log_flush(common_log_main());\n    return all_ok ? 0 : 1;")
  if(NOT missing STREQUAL "")
    if(RKNPU2_PINNED)
      message(FATAL_ERROR "tests/test-llama-archs.cpp does not have this once: ${missing}")
    endif()
    message(STATUS "no test-llama-archs-rows: tests/test-llama-archs.cpp does not have this once: ${missing}")
    add_custom_target(test-llama-archs-rows)
    return()
  endif()
  file(CONFIGURE OUTPUT "${changed}" CONTENT "@text@" @ONLY) # left alone when it is the same
  add_executable(test-llama-archs-rows "${changed}")
  target_include_directories(test-llama-archs-rows PRIVATE "${CMAKE_SOURCE_DIR}/tests") # its includes begin with ../src
  target_link_libraries(test-llama-archs-rows PRIVATE llama llama-common)
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL rknpu2_add_archs_test)
