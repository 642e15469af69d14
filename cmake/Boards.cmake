# SPDX-License-Identifier: MIT
# Boards that the simulator plays, for tests to be run on besides the default one: docs/simulator.md, RKNNSIM_BOARD. The worst one
# belongs to scripts/test.sh --all; the single readings of what sources disagree about are left to --full.
set(RKNPU2_BOARDS worst bind-leaves import-sync-nothing results-synced dirty-overwrites)
set(RKNPU2_BOARD_worst "RKNNSIM_BOARD=worst")
set(RKNPU2_BOARD_bind-leaves "RKNNSIM_BIND=leaves")
set(RKNPU2_BOARD_import-sync-nothing "RKNNSIM_IMPORT_SYNC=nothing")
set(RKNPU2_BOARD_results-synced "RKNNSIM_RESULTS=synced")
set(RKNPU2_BOARD_dirty-overwrites "RKNNSIM_DIRTY=overwrites")

# rknpu2_boards(out): the boards that a test is run on again. Sanitizers see the same code on each.
function(rknpu2_boards out)
  set(boards ${RKNPU2_BOARDS})
  if(RKNPU2_SANITIZE OR CMAKE_CROSSCOMPILING)
    set(boards "")
  endif()
  set(${out} ${boards} PARENT_SCOPE)
endfunction()

# The labels of a test on a board; its kind is the one that it has on the default board.
function(rknpu2_board_labels board kind out)
  set(labels ${kind} all)
  if(NOT board STREQUAL "worst")
    set(labels full)
  endif()
  set(${out} ${labels} PARENT_SCOPE)
endfunction()
