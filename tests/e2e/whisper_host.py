#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Has the whisper.cpp that a wheel of pywhispercpp brings listen to four seconds of a chirp, by its extension module alone.

    python3 whisper_host.py '{"model": FILE, "tokens": COUNT}'

Prints one line of JSON: devices, tokens, text, probabilities (one for each token). whisper.cpp's and the plug-in's lines go to stderr.
"""

import ctypes
import json
import sys

import _pywhispercpp as whisper
import numpy

from python_host import load_backends


def transcribe(model, count):
    if hasattr(whisper, "whisper_init_from_file_with_params"):
        context = whisper.whisper_init_from_file_with_params(model, whisper.whisper_context_default_params())
    else:
        context = whisper.whisper_init_from_file(model)  # until 1.4
    params = whisper.whisper_full_default_params(whisper.whisper_sampling_strategy.WHISPER_SAMPLING_GREEDY)
    params.n_threads, params.max_tokens, params.temperature_inc = 2, count, 0
    params.single_segment = True
    time = numpy.arange(4 * 16000, dtype=numpy.float32) / 16000
    if whisper.whisper_full(context, params, numpy.sin(2000 * time * time), time.size) != 0:
        sys.exit("whisper_full() failed")
    places = [(segment, token) for segment in range(whisper.whisper_full_n_segments(context))
              for token in range(whisper.whisper_full_n_tokens(context, segment))]
    made = {"tokens": [whisper.whisper_full_get_token_id(context, *place) for place in places],
            "probabilities": [whisper.whisper_full_get_token_p(context, *place) for place in places],
            "text": "".join(whisper.whisper_full_get_token_text(context, *place) for place in places)}
    whisper.whisper_free(context)
    return made


def main():
    wanted = json.loads(sys.argv[1])
    devices = load_backends(ctypes.CDLL(whisper.__file__))
    print(json.dumps({"devices": devices, **transcribe(wanted["model"], wanted["tokens"])}))


if __name__ == "__main__":
    main()
