#!/usr/bin/env python3
"""Loads a LoRA adapter that `first train` saved with PEFT, over a model of the same shape with random weights, and checks
that it is all there: that each adapted matrix W becomes W + alpha / r B A of the file's B and A, merged and not.

    pip install peft transformers
    scripts/check-peft.py adapters/smollm2-135m-instruct

"""

import argparse
import json
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import load_file

PREFIX = "base_model.model."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    names = ("HIDDEN", "INTERMEDIATE", "LAYERS", "HEADS", "KV_HEADS")
    shape = {"nargs": 5, "type": int, "default": [576, 1536, 30, 9, 3], "metavar": names}
    parser.add_argument("--shape", **shape, help="of the model; that of SmolLM2-135M if nothing else is said")
    arguments = parser.parse_args()
    folder, (hidden, intermediate, layers, heads, kv_heads) = arguments.folder, arguments.shape
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
    )
    model = transformers.LlamaForCausalLM(config).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = peft.PeftModel.from_pretrained(model, str(folder))
    ids = torch.arange(32)[None]
    with torch.no_grad():
        beside = adapted(ids).logits
        merged = adapted.merge_and_unload()
        after = merged(ids).logits

    settings = json.loads((folder / "adapter_config.json").read_text())
    scale = settings["lora_alpha"] / settings["r"]
    tensors = load_file(folder / "adapter_model.safetensors")
    expected = dict(before)
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            target = name.removeprefix(PREFIX).removesuffix(".lora_A.weight") + ".weight"
            b = tensors[name.replace("lora_A", "lora_B")]
            expected[target] = before[target] + scale * b @ a
    changed = [name for name in before if not torch.equal(before[name], expected[name])]
    assert len(changed) == len(tensors) // 2, f"{len(changed)} matrices for {len(tensors)} tensors"
    for name, value in merged.state_dict().items():
        error = (value - expected[name]).abs().max().item()
        assert error <= 1e-6 * expected[name].abs().max().item(), f"{name}: off by {error}"
    error = ((beside - after).abs().max() / after.abs().max()).item()
    assert error <= 1e-4, f"merged and not differ by {error}"
    print(
        f"PEFT {peft.__version__} (transformers {transformers.__version__}, PyTorch {torch.__version__}) loads {folder}: "
        f"{len(changed)} matrices of rank {settings['r']}"
    )


main()
