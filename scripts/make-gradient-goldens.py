#!/usr/bin/env python3
"""Losses, gradients and ten steps of AdamW of the generated tiny model with routers, soft gates and LoRA; gradients of
what ships, LoRA under a fixed mask of the answer that is also taught by the full model; and ten steps of AdamW alone. For
tests/golden/gradients/: the forward pass written out in PyTorch with f64 arithmetic, independent of the engine.

    cargo run --example tiny-model -- /tmp/tiny.gguf
    scripts/make-gradient-goldens.py /tmp/tiny.gguf tests/golden/gradients

The forward pass of a layer, x the stream that enters it:

    p_t = sigmoid(w . x_t / rms(x_t) + b)           of both routers; rms(x) = sqrt(mean(x^2) + router_epsilon)
    s   = mean of p_t over the prompt's tokens      positions 0 .. answer - 1
    g   = sigmoid(logit(s) / temperature)
    x_mid = x + g_attn attn(rms_norm(x)),  x_out = x_mid + g_mlp mlp(rms_norm(x_mid))

Every matrix has a low-rank update: y = W x + (alpha / rank) B A x. Rows of B are in the order of the GGUF tensor's.
The loss of a text is the mean cross-entropy of its answer's tokens, positions answer .. end, each predicted from the
one before, plus `rate_weight` (rate - target_rate)^2, rate = sum_u(c_u g_u) / sum_u(c_u), where c_u counts the
parameters of the matrices of sublayer u.

Under a fixed mask of the answer the gates are none of the routers': g = 1 at the prompt's positions, and 0 or 1 at the
answer's. Then the loss is (1 - distil) times the cross-entropy, plus distil times that with what the full model, without
updates, gives for targets.

gradients.json
    temperature, rate_weight, target_rate, alpha, rank, router_epsilon
    costs    [layers][2]   c of attention and MLP
    texts    ids, answer; loss, cross_entropy, rate; scores and gates [layers][2] of attention and MLP
    adamw    betas, epsilon, decay; rates of router weights, router biases, LoRA;
             steps: text and loss (before the step) of each
    masked   text, mask, distil; cross_entropy
adamw.json   betas, epsilon, decay, rate; w before the steps, and after each the gradients that it took and w
gradients.safetensors, all f32
    parameters.NAME        what the passes were made with; exact, they were rounded first
    gradients.TEXT.NAME    of the loss of text 0 or 1
    gradients.masked.NAME  the same under the mask, of the updates alone
    moved.NAME             the parameters after the steps
with NAME one of
    layers.L.router.weight [2, H], layers.L.router.bias [2]    attention, MLP
    layers.L.PROJ.lora_A.weight [rank, columns], layers.L.PROJ.lora_B.weight [rows, rank]
    PROJ: self_attn.{q,k,v,o}_proj, mlp.{gate,up,down}_proj
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from read_gguf import read_gguf

TEMPERATURE, RATE_WEIGHT, TARGET_RATE, ALPHA, RANK, ROUTER_EPSILON = 0.7, 40.0, 0.8, 16.0, 8, 1e-5
RATES = {"router.weight": 1e-3, "router.bias": 5e-2, "lora": 1e-3}
STEPS = 10
MASK, DISTIL = {(0, "attn"), (1, "mlp")}, 0.5
DECAY, DECAYED_RATE = 0.1, 0.01
PROJECTIONS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def make_parameters(w, layers, hidden):
    """Small random numbers, the same on every run; large enough that no part of a gradient is idle."""
    random = np.random.default_rng(5)
    parameters = {}

    def draw(name, shape, scale, mean=0.0):
        values = (mean + scale * random.standard_normal(shape)).astype("<f4")
        parameters[name] = torch.tensor(values.astype(np.float64), requires_grad=True)

    for layer in range(layers):
        draw(f"layers.{layer}.router.weight", (2, hidden), 0.1)
        draw(f"layers.{layer}.router.bias", (2,), 0.5, 0.8)
        for name, tensor in PROJECTIONS.items():
            rows, columns = w[f"blk.{layer}.{tensor}.weight"].shape
            draw(f"layers.{layer}.{name}.lora_A.weight", (RANK, columns), columns**-0.5)
            draw(f"layers.{layer}.{name}.lora_B.weight", (rows, RANK), 0.05)
    return parameters


def rms_norm(x, epsilon):
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + epsilon)


def forward(meta, w, parameters, ids, answer, mask=None):
    """Logits, scores and gates of a text: those of the routers, or, under a mask of its answer, none."""
    get = lambda key: meta["llama." + key]
    heads, kv_heads = get("attention.head_count"), get("attention.head_count_kv")
    hidden, epsilon = get("embedding_length"), get("attention.layer_norm_rms_epsilon")
    size, count = hidden // heads, len(ids)
    frequency = get("rope.freq_base") ** (-torch.arange(size // 2, dtype=torch.float64) / (size // 2))
    angle = torch.arange(count, dtype=torch.float64)[:, None] * frequency
    cos, sin = torch.cos(angle)[:, None], torch.sin(angle)[:, None]

    def rope(x):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)

    x = w["token_embd.weight"][ids]
    scores, gates = [], []
    for layer in range(get("block_count")):
        weight = lambda tensor: w[f"blk.{layer}.{tensor}.weight"]

        def product(name, x):
            a, b = (parameters[f"layers.{layer}.{name}.lora_{side}.weight"] for side in "AB")
            return x @ weight(PROJECTIONS[name]).T + ALPHA / RANK * (x @ a.T @ b.T)

        if mask is None:
            router = rms_norm(x[:answer], ROUTER_EPSILON) @ parameters[f"layers.{layer}.router.weight"].T
            s = torch.sigmoid(router + parameters[f"layers.{layer}.router.bias"]).mean(0)
            g = torch.sigmoid(torch.log(s / (1 - s)) / TEMPERATURE)
            scores.append(s)
            gates.append(g)
        else:
            g = torch.ones(2, count, 1, dtype=torch.float64)
            g[:, answer:, 0] = torch.tensor([[float((layer, sublayer) not in mask)] for sublayer in ("attn", "mlp")])
        n = rms_norm(x, epsilon) * weight("attn_norm")
        q = rope(product("self_attn.q_proj", n).reshape(count, heads, size))
        k = rope(product("self_attn.k_proj", n).reshape(count, kv_heads, size))
        v = product("self_attn.v_proj", n).reshape(count, kv_heads, size)
        k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
        weights = torch.einsum("qhd,khd->hqk", q, k) / size**0.5
        weights = weights.masked_fill(~torch.tril(torch.ones(count, count, dtype=torch.bool)), -torch.inf)
        attended = torch.einsum("hqk,khd->qhd", torch.softmax(weights, -1), v).reshape(count, -1)
        x = x + g[0] * product("self_attn.o_proj", attended)
        n = rms_norm(x, epsilon) * weight("ffn_norm")
        activation = torch.nn.functional.silu(product("mlp.gate_proj", n)) * product("mlp.up_proj", n)
        x = x + g[1] * product("mlp.down_proj", activation)
    logits = rms_norm(x, epsilon) * w["output_norm.weight"] @ w.get("output.weight", w["token_embd.weight"]).T
    return logits[answer - 1 : -1], scores, gates


def routed_loss(meta, w, parameters, ids, answer):
    """Loss, cross-entropy, rate, scores and gates of a text."""
    logits, scores, gates = forward(meta, w, parameters, ids, answer)
    cross_entropy = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[answer:]))
    scores, gates = torch.stack(scores), torch.stack(gates)
    costs = torch.tensor(costs_of(w, meta["llama.block_count"]), dtype=torch.float64)
    rate = (costs * gates).sum() / costs.sum()
    return cross_entropy + RATE_WEIGHT * (rate - TARGET_RATE) ** 2, cross_entropy, rate, scores, gates


def masked_loss(meta, w, parameters, ids, answer):
    """Loss and cross-entropy of a text under the mask."""
    with torch.no_grad():
        untouched = {name: torch.zeros_like(value) for name, value in parameters.items()}
        taught = torch.softmax(forward(meta, w, untouched, ids, answer, set())[0], -1)
    logits = forward(meta, w, parameters, ids, answer, MASK)[0]
    cross_entropy = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[answer:]))
    loss = (1 - DISTIL) * cross_entropy + DISTIL * torch.nn.functional.cross_entropy(logits, taught)
    return loss, cross_entropy


def adamw_alone():
    """Ten steps on given gradients, of sizes apart, with decay."""
    random = np.random.default_rng(7)
    draw = lambda scale: (scale * random.standard_normal(16)).astype("<f4").tolist()
    w = torch.tensor(draw(1.0), dtype=torch.float64, requires_grad=True)
    before, steps = w.tolist(), []
    optimizer = torch.optim.AdamW([w], lr=DECAYED_RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=DECAY)
    for step in range(STEPS):
        gradients = draw(10.0 ** (step % 4 - 3))
        w.grad = torch.tensor(gradients, dtype=torch.float64)
        optimizer.step()
        steps.append({"gradients": gradients, "w": w.tolist()})
    return {"betas": [0.9, 0.999], "epsilon": 1e-8, "decay": DECAY, "rate": DECAYED_RATE, "w": before, "steps": steps}


def costs_of(w, layers):
    count = lambda layer, part: sum(
        w[f"blk.{layer}.{tensor}.weight"].numel() for name, tensor in PROJECTIONS.items() if name.startswith(part)
    )
    return [[count(layer, "self_attn"), count(layer, "mlp")] for layer in range(layers)]


def main():
    model, folder = sys.argv[1], Path(sys.argv[2])
    meta, arrays = read_gguf(model)
    folder.mkdir(parents=True, exist_ok=True)
    w = {name: torch.tensor(array) for name, array in arrays.items()}
    layers, hidden = meta["llama.block_count"], meta["llama.embedding_length"]
    vocab = {token: index for index, token in enumerate(meta["tokenizer.ggml.tokens"])}
    plain = lambda text: [vocab["Ġ" if c == " " else c] for c in text]
    # One text shorter than any tile of tokens, and one whose prompt and answer lie across the edge of one.
    texts = [("bcd fgj", "kmp q"), ("kmpqv wxyz bcd " * 2, "fgj kmpqvwx")]
    texts = [(plain(prompt) + plain(answer), len(prompt)) for prompt, answer in texts]
    parameters = make_parameters(w, layers, hidden)
    tensors = {f"parameters.{name}": value.detach().numpy() for name, value in parameters.items()}
    tensors = {name: value.astype("<f4") for name, value in tensors.items()}
    entries = []
    for index, (ids, answer) in enumerate(texts):
        loss, cross_entropy, rate, scores, gates = routed_loss(meta, w, parameters, ids, answer)
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        for name, gradient in zip(parameters, gradients):
            tensors[f"gradients.{index}.{name}"] = gradient.numpy().astype("<f4")
        entries.append(
            {
                "ids": ids,
                "answer": answer,
                "loss": loss.item(),
                "cross_entropy": cross_entropy.item(),
                "rate": rate.item(),
                "scores": scores.tolist(),
                "gates": gates.tolist(),
            }
        )
    updates = {name: value for name, value in parameters.items() if "lora" in name}
    loss, cross_entropy = masked_loss(meta, w, parameters, *texts[1])
    for name, gradient in zip(updates, torch.autograd.grad(loss, list(updates.values()))):
        tensors[f"gradients.masked.{name}"] = gradient.numpy().astype("<f4")
    mask = ",".join(f"{layer}.{sublayer}" for layer, sublayer in sorted(MASK))
    masked = {"text": 1, "mask": mask, "distil": DISTIL, "cross_entropy": cross_entropy.item()}
    groups = [
        {"params": [value for name, value in parameters.items() if kind in name], "lr": rate}
        for kind, rate in RATES.items()
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    steps = []
    for step in range(STEPS):
        index = step % len(texts)
        optimizer.zero_grad()
        loss = routed_loss(meta, w, parameters, *texts[index])[0]
        loss.backward()
        optimizer.step()
        steps.append({"text": index, "loss": loss.item()})
    for name, value in parameters.items():
        tensors[f"moved.{name}"] = value.detach().numpy().astype("<f4")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "gradients.safetensors")
    summary = {
        "temperature": TEMPERATURE,
        "rate_weight": RATE_WEIGHT,
        "target_rate": TARGET_RATE,
        "alpha": ALPHA,
        "rank": RANK,
        "router_epsilon": ROUTER_EPSILON,
        "costs": costs_of(w, layers),
        "texts": entries,
        "adamw": {"betas": [0.9, 0.999], "epsilon": 1e-8, "decay": 0.0, "rates": RATES, "steps": steps},
        "masked": masked,
    }
    (folder / "gradients.json").write_text(json.dumps(summary, indent=1) + "\n")
    (folder / "adamw.json").write_text(json.dumps(adamw_alone(), indent=1) + "\n")


main()
