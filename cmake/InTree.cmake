# SPDX-License-Identifier: MIT
# As a folder of a host's tree, ggml/src/ggml-rknpu2 with -DGGML_RKNPU2=ON (docs/install.md, scripts/in-tree.sh): the plug-in
# and the simulator. The plug-in needs nothing of the tree, here neither, so that what is built this way is what is built alone.
if(NOT GGML_BACKEND_DL)
  message(FATAL_ERROR "ggml-rknpu2 is a plug-in that ggml loads: add -DGGML_BACKEND_DL=ON -DBUILD_SHARED_LIBS=ON")
endif()
set(RKNPU2_TESTS OFF)

# After the plug-in is there: it is built with ggml, and installed where ggml looks for backends.
macro(rknpu2_join_ggml)
  add_dependencies(ggml ggml-rknpu2)
  if(GGML_BACKEND_DIR)
    install(TARGETS ggml-rknpu2 LIBRARY DESTINATION "${GGML_BACKEND_DIR}")
  else()
    install(TARGETS ggml-rknpu2 LIBRARY DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
endmacro()
