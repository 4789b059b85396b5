#!/usr/bin/env python3
"""Exact outputs of the generated tiny models, for tests/golden/: the llama forward pass written out in
NumPy with f64 arithmetic, independent of the engine; alone, and with a LoRA adapter in PEFT's format.

    cargo run --example tiny-model -- /tmp/tiny.gguf && scripts/make-goldens.py /tmp/tiny.gguf tests/golden
    cargo run --example tiny-model -- /tmp/tiny.gguf llama3 && scripts/make-goldens.py /tmp/tiny.gguf tests/golden/llama3
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np

from read_gguf import read_gguf


def rms_norm(x, gamma, epsilon):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * gamma


def forward(meta, w, ids, skipped):
    """Residual stream after the embedding and each layer, final norm, logits of each token."""
    get = lambda key: meta["llama." + key]
    heads, kv_heads = get("attention.head_count"), get("attention.head_count_kv")
    hidden, epsilon = get("embedding_length"), get("attention.layer_norm_rms_epsilon")
    size, count = meta.get("llama.attention.key_length", hidden // heads), len(ids)
    frequency = get("rope.freq_base") ** (-np.arange(size // 2) / (size // 2))
    frequency = frequency / w.get("rope_freqs.weight", 1.0)
    angle = np.arange(count)[:, None] * frequency
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def rope(x):
        a, b = x[..., 0::2], x[..., 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)

    x = w["token_embd.weight"][ids]
    states = [x]
    for layer in range(get("block_count")):
        p = f"blk.{layer}."
        if (layer, "attn") not in skipped:
            n = rms_norm(x, w[p + "attn_norm.weight"], epsilon)
            q = rope((n @ w[p + "attn_q.weight"].T).reshape(count, heads, size))
            k = rope((n @ w[p + "attn_k.weight"].T).reshape(count, kv_heads, size))
            v = (n @ w[p + "attn_v.weight"].T).reshape(count, kv_heads, size)
            k, v = (np.repeat(t, heads // kv_heads, axis=1) for t in (k, v))
            scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(size)
            scores = np.where(np.tril(np.ones((count, count), bool)), scores, -np.inf)
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            attended = np.einsum("hqk,khd->qhd", scores, v).reshape(count, -1)
            x = x + attended @ w[p + "attn_output.weight"].T
        if (layer, "mlp") not in skipped:
            n = rms_norm(x, w[p + "ffn_norm.weight"], epsilon)
            gate, up = n @ w[p + "ffn_gate.weight"].T, n @ w[p + "ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ w[p + "ffn_down.weight"].T
        states.append(x)
    normed = rms_norm(x, w["output_norm.weight"], epsilon)
    return np.stack(states), normed, normed @ w.get("output.weight", w["token_embd.weight"]).T


RANK, ALPHA = 3, 12
PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_rows(x, heads):
    """Rows of q_proj or k_proj in the order of GGUF files, from that of Hugging Face's checkpoints."""
    return x.reshape(heads, 2, -1, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)


def make_adapter(meta, w, folder):
    """Writes a random LoRA adapter in PEFT's format, and returns the weights that it makes of the model's."""
    random, adapted, tensors = np.random.default_rng(5), dict(w), {}
    heads = {"attn_q": meta["llama.attention.head_count"], "attn_k": meta["llama.attention.head_count_kv"]}
    for layer in range(meta["llama.block_count"]):
        for part, own in PARTS.items():
            name = f"blk.{layer}.{own}.weight"
            rows, columns = w[name].shape
            a = random.normal(0, columns**-0.5, (RANK, columns)).astype("<f4")
            b = random.normal(0, 0.1, (rows, RANK)).astype("<f4")
            for letter, value in (("A", a), ("B", b)):
                tensors[f"base_model.model.model.layers.{layer}.{part}.lora_{letter}.weight"] = value
            update = ALPHA / RANK * b.astype(np.float64) @ a
            adapted[name] = w[name] + (gguf_rows(update, heads[own]) if own in heads else update)
    header, data = {}, b""
    for name, value in sorted(tensors.items()):
        end = len(data) + value.nbytes
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [len(data), end]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    options = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "tiny",
        "r": RANK,
        "lora_alpha": ALPHA,
        "target_modules": [part.split(".")[1] for part in PARTS],
    }
    (folder / "adapter_config.json").write_text(json.dumps(options, indent=1) + "\n")
    return adapted


def main():
    model, folder = sys.argv[1], Path(sys.argv[2])
    meta, w = read_gguf(model)
    cases = [
        ("bcd fgj", "", set()),
        ("kmpqvwxyz " * 5, "", set()),
        ("bcd fgj", "1", {(1, "attn"), (1, "mlp")}),
        ("kmpqvwxyz " * 5, "0.attn,3.mlp", {(0, "attn"), (3, "mlp")}),
    ]
    # Of the second model, what the first has no part of is enough.
    if "output.weight" in w:
        write(meta, w, cases[2:], folder)
        return
    write(meta, w, cases, folder)
    # With an adapter in the same folder.
    write(meta, make_adapter(meta, w, folder / "lora"), cases[1:3], folder / "lora")


def write(meta, w, cases, folder):
    folder.mkdir(parents=True, exist_ok=True)
    # The text of the tiny model's chat template, as token ids: specials, then bytes and merges by name.
    vocab = {token: index for index, token in enumerate(meta["tokenizer.ggml.tokens"])}
    plain = lambda text: [vocab["Ġ" if c == " " else "Ċ" if c == "\n" else c] for c in text]
    entries = []
    for index, (text, mask, skipped) in enumerate(cases):
        ids = plain(text)
        states, normed, logits = forward(meta, w, ids, skipped)
        np.save(folder / f"prompt{index}_hidden_states.npy", states.astype("<f4"))
        np.save(folder / f"prompt{index}_final_norm.npy", normed.astype("<f4"))
        np.save(folder / f"prompt{index}_last_logits.npy", logits[-1].astype("<f4"))
        greedy, second, gaps, sequence = [], [], [], list(ids)
        for _ in range(8):
            last = forward(meta, w, sequence, skipped)[2][-1]
            best, other = (int(i) for i in np.argsort(-last, kind="stable")[:2])
            greedy.append(best)
            second.append(other)
            gaps.append(float(last[best] - last[other]))
            sequence.append(best)
        entries.append(
            {"mask": mask, "text": text, "ids": ids, "greedy": greedy, "runner_up": second, "top1_minus_top2": gaps}
        )
    (folder / "reference.json").write_text(json.dumps(entries, ensure_ascii=False, indent=1) + "\n")


main()
