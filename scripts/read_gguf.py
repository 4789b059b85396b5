"""GGUF files of f32 tensors, for the scripts that make goldens."""

import struct
from pathlib import Path

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_gguf(path):
    """Metadata and f32 tensors of a GGUF file."""
    data, at = Path(path).read_bytes(), 0

    def take(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def text():
        nonlocal at
        length = take("Q")
        at += length
        return data[at - length : at].decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = take("I"), take("Q")
            return [value(inner) for _ in range(count)]
        return take(SCALARS[kind])

    assert data[:4] == b"GGUF"
    at = 8
    tensors, keys = take("Q"), take("Q")
    meta = {}
    for _ in range(keys):
        key = text()
        meta[key] = value(take("I"))
    infos = []
    for _ in range(tensors):
        name = text()
        shape = [take("Q") for _ in range(take("I"))]
        infos.append((name, shape[::-1], take("I"), take("Q")))
    alignment = meta.get("general.alignment", 32)
    start = -(-at // alignment) * alignment
    result = {}
    for name, shape, kind, offset in infos:
        assert kind == 0, f"{name} is not f32"
        count = int(np.prod(shape))
        result[name] = np.frombuffer(data, "<f4", count, start + offset).reshape(shape).astype(np.float64)
    return meta, result
