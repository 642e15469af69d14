# SPDX-License-Identifier: MIT
# rknpu2_man_page(NAME name COMPONENT component SUMMARY text COMMAND words... [SUBCOMMANDS names...] [DEPENDS targets...]): the manual
# page NAME(1), made while building of what COMMAND says when it is asked for --help, and installed with the component. The target
# rknpu2-man makes them all. A cross build without an emulator, and one with sanitizers, has none.
function(rknpu2_man_page)
  cmake_parse_arguments(ARG "" "NAME;COMPONENT;SUMMARY" "COMMAND;SUBCOMMANDS;DEPENDS" ${ARGN})
  if(NOT TARGET rknpu2-man)
    add_custom_target(rknpu2-man ALL)
  endif()
  if(RKNPU2_SANITIZE OR (CMAKE_CROSSCOMPILING AND NOT CMAKE_CROSSCOMPILING_EMULATOR))
    return()
  endif()
  set(page "${CMAKE_BINARY_DIR}/man/${ARG_NAME}.1.gz")
  set(maker "${PROJECT_SOURCE_DIR}/packaging/man_page.sh")
  file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/man")
  add_custom_command(OUTPUT "${page}"
    COMMAND sh "${maker}" "${page}" ${ARG_NAME} "${ARG_SUMMARY}" "ggml-rknpu2 ${PROJECT_VERSION}" ${ARG_SUBCOMMANDS} -- ${ARG_COMMAND}
    DEPENDS "${maker}" "${PROJECT_SOURCE_DIR}/packaging/man_page.awk" ${ARG_DEPENDS}
    COMMENT "Making the manual page ${ARG_NAME}(1)" VERBATIM)
  add_custom_target(man-${ARG_NAME} DEPENDS "${page}")
  add_dependencies(rknpu2-man man-${ARG_NAME})
  install(FILES "${page}" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1" COMPONENT ${ARG_COMPONENT})
endfunction()
