#!/usr/bin/env python3
"""How fast PyTorch trains on the CPU, to compare `first train` with: one step is a forward and backward pass over one
text and a step of AdamW, in f32, with the shapes of the default model (SmolLM2-135M) and random weights: two routers
and soft gates a layer, LoRA of rank 8 on all seven matrices, base weights frozen, loss on the second half of the text.

    scripts/train-speed.py [--first target/release/first [--device llvmpipe]] [--tokens 256] [--threads 2] [--steps 5]
        [--rounds 1]

Prints one line of JSON each without and with activation checkpointing (each layer's activations are computed again in
the backward pass): the median time of a step, tokens a second, the largest memory of the process, and how much of it
is held before the first step, by weights and the interpreter. Each runs in a process of its own. With `--first` every
round begins with `first train joint` of the default model on one text, and PyTorch gets as many tokens. Software Vulkan
has as many threads; where there is a GPU, `--device` says that it is to be compared.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAYERS, HIDDEN, HEADS, KV_HEADS, SIZE, FEED_FORWARD, VOCAB = 30, 576, 9, 3, 64, 1536, 49152
RANK, ALPHA, TEMPERATURE, RATE_WEIGHT, TARGET_RATE, EPSILON = 8, 16.0, 0.7, 40.0, 0.8, 1e-5
SENTENCE = "The river runs past the old mill and under the stone bridge, where children fish for trout in summer. "
SHAPES = {
    "q": (HEADS * SIZE, HIDDEN),
    "k": (KV_HEADS * SIZE, HIDDEN),
    "v": (KV_HEADS * SIZE, HIDDEN),
    "o": (HIDDEN, HEADS * SIZE),
    "gate": (FEED_FORWARD, HIDDEN),
    "up": (FEED_FORWARD, HIDDEN),
    "down": (HIDDEN, FEED_FORWARD),
}


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(tokens, threads, steps, checkpointing):
    import torch
    from torch.nn import functional as F
    from torch.utils.checkpoint import checkpoint

    torch.set_num_threads(threads)
    torch.manual_seed(1)

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            frozen = lambda values: torch.nn.Parameter(values, requires_grad=False)
            random = lambda rows, columns: torch.randn(rows, columns) / columns**0.5
            parameters = torch.nn.ParameterDict
            self.w = parameters({name: frozen(random(*shape)) for name, shape in SHAPES.items()})
            self.a = parameters({name: random(RANK, columns) for name, (_, columns) in SHAPES.items()})
            self.b = parameters({name: torch.zeros(rows, RANK) for name, (rows, _) in SHAPES.items()})
            self.norms = parameters({name: frozen(torch.ones(HIDDEN)) for name in ("attn", "mlp")})
            self.router = torch.nn.Linear(HIDDEN, 2)

        def product(self, name, x):
            return F.linear(x, self.w[name]) + ALPHA / RANK * F.linear(F.linear(x, self.a[name]), self.b[name])

        def forward(self, x, rotations, prompt):
            score = torch.sigmoid(self.router(F.rms_norm(x[:prompt], (HIDDEN,), eps=EPSILON))).mean(0)
            g = torch.sigmoid(torch.logit(score) / TEMPERATURE)
            n = F.rms_norm(x, (HIDDEN,), self.norms["attn"], EPSILON)
            heads = lambda name, count: self.product(name, n).view(-1, count, SIZE).transpose(0, 1)
            q, k = (rotate(heads(*part), rotations) for part in (("q", HEADS), ("k", KV_HEADS)))
            y = F.scaled_dot_product_attention(q[None], k[None], heads("v", KV_HEADS)[None], is_causal=True, enable_gqa=True)
            x = x + g[0] * self.product("o", y[0].transpose(0, 1).reshape(x.shape[0], -1))
            n = F.rms_norm(x, (HIDDEN,), self.norms["mlp"], EPSILON)
            x = x + g[1] * self.product("down", F.silu(self.product("gate", n)) * self.product("up", n))
            return x, g

    def rotate(x, rotations):
        cos, sin = rotations
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
    embedding = torch.randn(VOCAB, HIDDEN) / HIDDEN**0.5
    cost = {part: sum(SHAPES[name][0] * SHAPES[name][1] for name in names) for part, names in
            {"attn": "qkvo", "mlp": ("gate", "up", "down")}.items()}
    costs = torch.tensor([cost["attn"], cost["mlp"]], dtype=torch.float32)
    costs = costs / costs.sum() / LAYERS
    trained = [parameter for parameter in layers.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    angle = torch.outer(torch.arange(tokens), 1e5 ** (-torch.arange(SIZE // 2) / (SIZE // 2)))
    rotations, prompt = (angle.cos(), angle.sin()), tokens // 2
    ids = torch.randint(VOCAB, (tokens,))

    def step():
        optimizer.zero_grad()
        x, rate = embedding[ids], 0.0
        for layer in layers:
            if checkpointing:
                x, g = checkpoint(layer, x, rotations, prompt, use_reentrant=False)
            else:
                x, g = layer(x, rotations, prompt)
            rate = rate + (costs * g).sum()
        logits = F.linear(F.rms_norm(x[prompt - 1 : -1], (HIDDEN,), eps=EPSILON), embedding)
        loss = F.cross_entropy(logits, ids[prompt:]) + RATE_WEIGHT * (rate - TARGET_RATE) ** 2
        loss.backward()
        optimizer.step()

    before = peak_mib()
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {
        "torch": torch.__version__,
        "checkpointing": checkpointing,
        "threads": threads,
        "trained_parameters": sum(parameter.numel() for parameter in trained),
        **told(tokens, seconds[1:]),  # the first one warms up
        "peak_mib": round(peak_mib()),
        "peak_mib_before_training": round(before),
    }


def measure_first(program, device, tokens, threads, steps):
    """The same of `first train joint`, on a text of about as many tokens, of which about half are the answer."""
    half = SENTENCE * max(1, round(tokens / 2 / 22))
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "text.jsonl"), Path(folder, "out")
        data.write_text(json.dumps({"prompt": half.strip(), "completion": half.strip()}) + "\n")
        options = f"--batch 1 --rank {RANK} --alpha {ALPHA} --tokens {max(256, 2 * tokens)} --steps {steps + 1} --evaluate 0"
        command = [program, "train", "joint", *options.split(), "--data", str(data), "--out", str(out)]
        command += ["--device", device] if device else []
        environment = os.environ | {"LP_NUM_THREADS": str(threads)}
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        if status:
            sys.exit(f"{program} train joint ended with {os.waitstatus_to_exitcode(status)}")
        lines = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    seconds, tokens = [line["seconds"] for line in lines[2:]], lines[1]["tokens"]  # a header, and a step that warms up
    return {"first": "train joint", **told(tokens, seconds), "peak_mib": round(usage.ru_maxrss / 1024)}


def told(tokens, seconds):
    median = statistics.median(seconds)
    return {
        "tokens": tokens,
        "step_seconds": round(median, 3),
        "step_seconds_min_max": [round(min(seconds), 3), round(max(seconds), 3)],
        "tokens_per_second": round(tokens / median, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", help="the program to compare with")
    parser.add_argument("--device", help="the GPU that it uses, as `first devices` names it")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--checkpointing", choices=["off", "on"], help="only this one, in this process")
    arguments = parser.parse_args()
    if min(arguments.steps, arguments.rounds, arguments.threads) < 1 or arguments.tokens < 2:
        parser.error("at least one step, round and thread, and two tokens")
    if arguments.checkpointing:
        on = arguments.checkpointing == "on"
        print(json.dumps(measure(arguments.tokens, arguments.threads, arguments.steps, on)))
        return
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    for _ in range(arguments.rounds):
        tokens = arguments.tokens
        if arguments.first:
            found = measure_first(arguments.first, arguments.device, tokens, arguments.threads, arguments.steps)
            tokens = found["tokens"]
            print(json.dumps(found), flush=True)
        for checkpointing in ("off", "on"):
            more = ["--tokens", str(tokens), "--checkpointing", checkpointing]
            subprocess.run([sys.executable, *sys.argv, *more], check=True, env=environment)


main()
