# SPDX-License-Identifier: MIT
# find_package(rknnsim) -> rknnsim::rknnrt, the simulator with its headers. Programs linked to it find it at run time by
# CMake's RPATH; the library's own name, librknnrt.so, is the vendor's, so that on a board the same program runs on that.
include("${CMAKE_CURRENT_LIST_DIR}/rknnsimTargets.cmake")
