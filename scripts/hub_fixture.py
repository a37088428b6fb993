#!/usr/bin/env python3
"""Write tests/data/tiny_export: a random Qwen2 network of two layers, laid out like a repository on the hub.

The exporter and the quantiser are those that made the files on the hub; the tokenizer is the starter's. Every weight
is a number that blocks of 4 and 8 bits and half floats hold exactly, so that nothing is lost on the way to the
prepared graph, and that graph can be compared with what transformers computes from the same weights (reference.npz).

In an environment of its own, since the exporter pins old libraries:

    python -m venv export-env
    export-env/bin/pip install torch "optimum-onnx" "transformers<5" accelerate onnx onnxruntime onnx_ir
    export-env/bin/python scripts/hub_fixture.py
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.transformers.float16 import convert_float_to_float16
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "data" / "tiny_export"
STARTER = ROOT / "shammah" / "starter" / "model"

BLOCK = 32
ENDS, PADDING = [2, 0], 0
IDS = [1, 37, 512, 77, 4095, 1024, 3, 9, 2048, 300, 301, 302, 77, 37, 1500, 2999, 12, 5, 800, 801,
       64, 65, 66, 3500, 3501, 42, 7, 1999, 250, 251, 252, 100, 101, 3333, 17, 29, 31, 600, 601, 2]  # fmt: skip
ROWS = [0, 1, 9, 20, 38, 39]
"""Positions whose logits are kept."""


def network() -> Qwen2ForCausalLM:
    """A random network of numbers that half floats hold."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=4096, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=4096, rms_norm_eps=1e-6, rope_theta=1e6,
            initializer_range=0.1, tie_word_embeddings=True, use_sliding_window=False,
            bos_token_id=PADDING, eos_token_id=ENDS[0],
        )
    )  # fmt: skip
    model.generation_config = GenerationConfig(
        bos_token_id=PADDING, eos_token_id=ENDS, pad_token_id=PADDING,
        do_sample=True, temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.1,
    )  # fmt: skip
    with torch.no_grad():
        for name, values in model.named_parameters():  # Exporters drop biases of zeros and norms of ones.
            if name.endswith("bias"):
                values.normal_(std=0.1)
            elif "norm" in name:
                values.normal_(mean=1.0, std=0.1)
            elif "embed" in name:
                values.copy_(eight_bits(values))
            values.copy_(values.half().float())
    return model


def eight_bits(values: torch.Tensor) -> torch.Tensor:
    """The nearest numbers that are blocks of 8 bits, with scales so short that products are half floats."""
    blocks = values.reshape(-1, BLOCK)
    largest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = largest / -128
    step = torch.exp2(torch.floor(torch.log2(scale.abs())) - 3)
    scale = torch.round(scale / step) * step
    levels = torch.clamp(torch.round(blocks / scale), -128, 127)
    levels[blocks == largest] = -128
    return (levels * scale).reshape(values.shape)


def export(model: Qwen2ForCausalLM, scratch: Path) -> onnx.ModelProto:
    """The network as optimum's exporter writes it."""
    source, exported = scratch / "checkpoint", scratch / "exported"
    model.save_pretrained(source)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, source)
    program = [Path(sys.executable).parent / "optimum-cli", "export", "onnx", "--model", source]
    subprocess.run([*program, "--task", "text-generation-with-past", exported], check=True)
    for name in ("config.json", "generation_config.json"):
        shutil.copy((exported if (exported / name).exists() else source) / name, OUT)
    return onnx.load(exported / "model.onnx")


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """4-bit blocks without accuracy_level, half floats for the rest: the form of the hub's q4f16 files."""
    quantizer = MatMulNBitsQuantizer(model, block_size=BLOCK, is_symmetric=True, accuracy_level=None)
    quantizer.process()
    return convert_float_to_float16(quantizer.model.model, keep_io_types=True, disable_shape_infer=True)


def adopt(model: Qwen2ForCausalLM, graph: onnx.GraphProto) -> None:
    """Give the network the numbers that the quantised graph stands for."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            module = model.get_submodule(node.name.rpartition("/")[0].strip("/").replace("/", "."))
            high, wide = module.weight.shape
            levels = np.stack([weights[node.input[1]] & 15, weights[node.input[1]] >> 4], -1).reshape(high, -1, BLOCK)
            scales = weights[node.input[2]].astype(np.float32).reshape(high, -1, 1)
            values = ((levels.astype(np.float32) - 8) * scales).reshape(high, wide)
            module.weight.data.copy_(torch.from_numpy(values))


def main() -> None:
    """Write the folder."""
    (OUT / "onnx").mkdir(parents=True, exist_ok=True)
    model = network()
    with tempfile.TemporaryDirectory() as scratch:
        graph = quantised(export(model, Path(scratch)))
    onnx.save(graph, OUT / "onnx" / "model_q4f16.onnx")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, OUT)
    adopt(model, graph.graph)
    with torch.no_grad():
        logits = model.float().eval()(torch.tensor([IDS])).logits[0, ROWS].numpy()
    np.savez_compressed(OUT / "reference.npz", ids=np.array(IDS), rows=np.array(ROWS), logits=logits)
    print(json.dumps({path.name: path.stat().st_size for path in OUT.rglob("*") if path.is_file()}, indent=2))


if __name__ == "__main__":
    main()
