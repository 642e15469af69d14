#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Has the stable-diffusion.cpp that a package of stable-diffusion-cpp-python brings sharpen a small picture.

    python3 diffusion_host.py '{"model": FILE, "size": PIXELS}'

Prints one line of JSON: devices, pixels (0 to 255, three for each). The library's and the plug-in's lines go to stderr.
"""

import ctypes
import importlib.util
import json
import pathlib
import sys

from python_host import load_backends


class Picture(ctypes.Structure):
    """sd_image_t"""

    _fields_ = [("width", ctypes.c_uint32), ("height", ctypes.c_uint32), ("channels", ctypes.c_uint32),
                ("data", ctypes.POINTER(ctypes.c_uint8))]


def sharpen(library, model, size):
    library.new_upscaler_ctx.restype = ctypes.c_void_p
    library.upscale.argtypes, library.upscale.restype = [ctypes.c_void_p, Picture, ctypes.c_uint32], Picture
    library.free_upscaler_ctx.argtypes = [ctypes.c_void_p]
    context = library.new_upscaler_ctx(model.encode(), False, False, 2, 0)
    if not context:
        sys.exit("no upscaler")
    count = size * size * 3
    made = library.upscale(context, Picture(size, size, 3, (ctypes.c_uint8 * count)(*(at * at % 251 for at in range(count)))), 1)
    if not made.data:
        sys.exit("no picture")
    pixels = made.data[: made.width * made.height * made.channels]
    library.free_upscaler_ctx(context)
    return pixels


def main():
    wanted = json.loads(sys.argv[1])
    package = importlib.util.find_spec("stable_diffusion_cpp")  # its modules want more than the library
    library = ctypes.CDLL(pathlib.Path(package.origin).with_name("lib") / "libstable-diffusion.so")
    devices = load_backends(library)
    print(json.dumps({"devices": devices, "pixels": sharpen(library, wanted["model"], wanted["size"])}))


if __name__ == "__main__":
    main()
