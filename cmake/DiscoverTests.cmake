# SPDX-License-Identifier: MIT
# rknpu2_discover_tests(program LABELS labels... ENVIRONMENT settings... [PREFIX text] [SUFFIX text]): each test of a GoogleTest
# program is one of ctest's, as often as this is called. Where a program runs again with other settings, PREFIX or SUFFIX tells its
# tests apart.
#
# Labels and settings are given to the tests by a file that ctest reads, not by gtest_discover_tests(PROPERTIES): that function takes
# lists apart, so of several settings the first alone would reach the test.
function(rknpu2_discover_tests program)
  cmake_parse_arguments(ARG "" "PREFIX;SUFFIX" "LABELS;ENVIRONMENT" ${ARGN})
  set(tests "${program}_${ARG_PREFIX}_${ARG_SUFFIX}_tests")
  gtest_discover_tests(${program} TEST_PREFIX "${ARG_PREFIX}" TEST_SUFFIX "${ARG_SUFFIX}" TEST_LIST "${tests}" DISCOVERY_TIMEOUT 60)
  set(file "${CMAKE_CURRENT_BINARY_DIR}/${tests}.cmake")
  file(WRITE "${file}"
    "foreach(test IN LISTS ${tests})\n"
    "  set_tests_properties(\"\${test}\" PROPERTIES LABELS \"${ARG_LABELS}\" ENVIRONMENT \"${ARG_ENVIRONMENT}\")\n"
    "endforeach()\n")
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES "${file}")
endfunction()
