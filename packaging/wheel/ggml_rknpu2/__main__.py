# SPDX-License-Identifier: MIT
import argparse

from ggml_rknpu2 import PLUGIN, SIMULATOR

parser = argparse.ArgumentParser(prog="python -m ggml_rknpu2", description="Prints the path of the plug-in, for GGML_BACKEND_PATH.")
parser.add_argument("--simulator", action="store_true", help="the path of the simulator instead, for GGML_RKNPU2_RUNTIME")
print(SIMULATOR if parser.parse_args().simulator else PLUGIN)
