# SPDX-License-Identifier: MIT
"""The plug-in that runs llama.cpp on the NPU of the Rockchip RK3588, its tools, and a simulator of the NPU."""

import os
import pathlib
import sys

_ROOT = pathlib.Path(__file__).resolve().parent
PLUGIN = _ROOT / "lib/ggml-rknpu2/libggml-rknpu2.so"  # for GGML_BACKEND_PATH
SIMULATOR = _ROOT / "lib/ggml-rknpu2/rknnsim/librknnrt.so"  # what GGML_RKNPU2_RUNTIME=sim finds


def run_tool():
    """Becomes the program of this package that is called as the running script is."""
    name = pathlib.Path(sys.argv[0]).name
    os.execv(_ROOT / "bin" / name, [name, *sys.argv[1:]])
