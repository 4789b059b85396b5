#!/usr/bin/env python3
"""Writes tests/golden/formats.json: arbitrary blocks, and what the `gguf` package of ggml's authors makes of them.

    pip install gguf==0.19.0
    scripts/make-format-goldens.py

Scales are drawn so that they are finite; all other bytes are arbitrary.
"""

import json
import pathlib
import random

import gguf
import numpy

# In the order of `Format::ALL`, with the places of the f16 numbers in a block.
FORMATS = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}

chance = random.Random(1)
goldens = []
for name, scales in FORMATS.items():
    kind = gguf.GGMLQuantizationType[name]
    block_len, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    block = bytearray()
    for _ in range(2):
        own = bytearray(chance.randbytes(block_bytes))
        for place in scales:
            own[place : place + 2] = numpy.float16(chance.uniform(-2, 2)).tobytes()
        block += own
    values = gguf.dequantize(numpy.frombuffer(bytes(block), numpy.uint8), kind)
    goldens.append(
        {"format": name.lower(), "bytes": list(block), "values": [float(value) for value in values]}
    )
text = "[" + ",\n".join(json.dumps(golden, separators=(",", ":")) for golden in goldens) + "]\n"
root = pathlib.Path(__file__).resolve().parent.parent
(root / "tests/golden/formats.json").write_text(text)
