"""Write the trained network as the kind of ONNX graph that the large models are prepared into.

Per layer: packed qkv `MatMulNBits` and bias, `GroupQueryAttention` with rotary positions and a shared cache, fused
skip-norms, gated feed-forward; embedding and head read one quantised matrix (`GatherBlockQuantized` and `MatMulNBits`).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .network import BLOCK, Linear, Network, Shape, angles, quantise

MS = "com.microsoft"


class Graph:
    """Nodes and weights in the order they are added; every method names the value it makes."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def linear(self, name: str, x: str, matrix: Linear) -> str:
        """x times the matrix, quantised to blocks along the input."""
        levels, scales = quantise(matrix.weight.detach().float(), self.bits)
        packed = pack(levels.numpy().astype(np.uint8), self.bits)
        out = self.node(
            "MatMulNBits",
            [x, self.weight(f"{name}.weight", packed), self.weight(f"{name}.scales", scales.numpy().reshape(-1))],
            [f"{name}.output"], MS,
            K=matrix.weight.shape[1], N=matrix.weight.shape[0], bits=self.bits, block_size=BLOCK, accuracy_level=4,
        )  # fmt: skip
        if matrix.bias is None:
            return out
        return self.node("Add", [out, self.weight(f"{name}.bias", matrix.bias.detach().numpy())], [f"{name}.biased"])


def pack(levels: np.ndarray, bits: int) -> np.ndarray:
    """Lay unsigned levels [rows, blocks, BLOCK] out as MatMulNBits stores them: [rows, blocks, BLOCK * bits / 8]."""
    return levels if bits == 8 else (levels[..., 0::2] | levels[..., 1::2] << 4).astype(np.uint8)


def build(network: Network, bits: int, embedding_bits: int) -> onnx.ModelProto:
    """The decoder as a model with inputs and outputs named as on the hub."""
    shape = network.shape
    graph = Graph(bits)
    levels, scales = quantise(network.embedding.weight.detach().float(), embedding_bits)
    packed = pack(levels.numpy().astype(np.uint8), embedding_bits)
    table = graph.weight("embedding.weight", packed.reshape(shape.vocab_size, -1))
    graph.weight("embedding.scales", scales.numpy())
    gather = {"bits": embedding_bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    graph.node("GatherBlockQuantized", [table, "input_ids", "embedding.scales"], ["embedded"], MS, **gather)
    _lengths(graph)
    cos, sin = angles(shape, shape.max_position_embeddings)
    graph.weight("cos_cache", cos.numpy())
    graph.weight("sin_cache", sin.numpy())
    normed = _layers(graph, network)
    _head(graph, normed, packed, embedding_bits, shape)
    return _model(graph, shape)


def _lengths(graph: Graph) -> None:
    graph.weight("one", np.array([1], dtype=np.int64))
    graph.node("ReduceSum", ["attention_mask", "one"], ["mask_sum"], keepdims=0)
    graph.node("Sub", ["mask_sum", "one"], ["mask_last"])
    graph.node("Cast", ["mask_last"], ["seqlens_k"], to=TensorProto.INT32)
    graph.node("Shape", ["attention_mask"], ["mask_shape"], start=1, end=2)
    graph.weight("scalar", np.array([], dtype=np.int64))
    graph.node("Reshape", ["mask_shape", "scalar"], ["mask_length"])
    graph.node("Cast", ["mask_length"], ["total_length"], to=TensorProto.INT32)


def _layers(graph: Graph, network: Network) -> str:
    shape = network.shape
    eps = shape.rms_norm_eps
    stream = "embedded"
    first = graph.weight("layers.0.attention_norm", network.layers[0].attention_norm.weight.detach().numpy())
    graph.node("SimplifiedLayerNormalization", [stream, first], ["layers.0.normed"], epsilon=eps, axis=-1)
    normed = "layers.0.normed"
    for number, layer in enumerate(network.layers):
        name = f"layers.{number}"
        qkv = graph.linear(f"{name}.qkv", normed, layer.qkv)
        cache = [f"past_key_values.{number}.key", f"past_key_values.{number}.value"]
        present = [f"present.{number}.key", f"present.{number}.value"]
        graph.node(
            "GroupQueryAttention", [qkv, "", "", *cache, "seqlens_k", "total_length", "cos_cache", "sin_cache"],
            [f"{name}.mixed", *present], MS, num_heads=shape.num_attention_heads, kv_num_heads=shape.num_key_value_heads,
            scale=shape.head_dim**-0.5, do_rotary=1, rotary_interleaved=0,
        )  # fmt: skip
        out = graph.linear(f"{name}.out", f"{name}.mixed", layer.out)
        normed, stream = _skip_norm(graph, f"{name}.feed_norm", stream, out, layer.feed_norm.weight, eps)
        gate, up = graph.linear(f"{name}.gate", normed, layer.gate), graph.linear(f"{name}.up", normed, layer.up)
        graph.node("Sigmoid", [gate], [f"{name}.sigmoid"])
        graph.node("Mul", [gate, f"{name}.sigmoid"], [f"{name}.silu"])
        inner = graph.node("Mul", [f"{name}.silu", up], [f"{name}.inner"])
        down = graph.linear(f"{name}.down", inner, layer.down)
        after = network.layers[number + 1].attention_norm if number + 1 < len(network.layers) else network.norm
        normed, stream = _skip_norm(graph, f"{name}.next_norm", stream, down, after.weight, eps)
    return normed


def _skip_norm(graph: Graph, name: str, stream: str, added: str, weight: object, eps: float) -> tuple[str, str]:
    values = graph.weight(name, weight.detach().numpy())  # type: ignore[attr-defined]
    outputs = [f"{name}.normed", "", "", f"{name}.stream"]
    graph.node("SkipSimplifiedLayerNormalization", [stream, added, values], outputs, MS, epsilon=eps)
    return outputs[0], outputs[3]


def _head(graph: Graph, normed: str, packed: np.ndarray, bits: int, shape: Shape) -> None:
    graph.weight("head.shape", np.array(packed.shape, dtype=np.int64))
    graph.weight("flat", np.array([-1], dtype=np.int64))
    graph.node("Reshape", ["embedding.weight", "head.shape"], ["head.weight"])
    graph.node("Reshape", ["embedding.scales", "flat"], ["head.scales"])
    graph.node(
        "MatMulNBits", [normed, "head.weight", "head.scales"], ["logits"], MS,
        K=shape.hidden_size, N=shape.vocab_size, bits=bits, block_size=BLOCK, accuracy_level=4,
    )  # fmt: skip


def _model(graph: Graph, shape: Shape) -> onnx.ModelProto:
    def value(name: str, kind: int, dims: list[object]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, dims)

    ids = TensorProto.INT64
    inputs = [value("input_ids", ids, ["batch", "length"]), value("attention_mask", ids, ["batch", "total"])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", "length", shape.vocab_size])]
    for number in range(shape.num_hidden_layers):
        for part in ("key", "value"):
            dims = ["batch", shape.num_key_value_heads, "past", shape.head_dim]
            inputs.append(value(f"past_key_values.{number}.{part}", TensorProto.FLOAT, dims))
            outputs.append(value(f"present.{number}.{part}", TensorProto.FLOAT, [*dims[:2], "total", shape.head_dim]))
    onnx_graph = helper.make_graph(graph.nodes, "starter", inputs, outputs, graph.weights)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    return helper.make_model(onnx_graph, opset_imports=opsets, ir_version=10, producer_name="shammah")


def genai_config(shape: Shape, eos: list[int], pad: int) -> dict[str, object]:
    """The genai_config.json that onnxruntime-genai reads beside the graph."""
    return {
        "model": {
            "type": "qwen2", "vocab_size": shape.vocab_size, "context_length": shape.max_position_embeddings,
            "bos_token_id": pad, "eos_token_id": eos, "pad_token_id": pad,
            "decoder": {
                "filename": "model.onnx", "session_options": {"provider_options": []},
                "head_size": shape.head_dim, "hidden_size": shape.hidden_size,
                "num_attention_heads": shape.num_attention_heads, "num_hidden_layers": shape.num_hidden_layers,
                "num_key_value_heads": shape.num_key_value_heads,
                "inputs": {
                    "input_ids": "input_ids", "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits", "present_key_names": "present.%d.key", "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {"max_length": shape.max_position_embeddings, "past_present_share_buffer": True, "do_sample": False},
    }  # fmt: skip


def write(network: Network, folder: Path, bits: int, embedding_bits: int, eos: list[int], pad: int) -> None:
    """Write model.onnx, config.json, genai_config.json and generation_config.json into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(build(network, bits, embedding_bits), folder / "model.onnx")
    files = {
        "config.json": network.shape.as_config() | {"eos_token_id": eos[0], "pad_token_id": pad},
        "genai_config.json": genai_config(network.shape, eos, pad),
        "generation_config.json": {
            "eos_token_id": eos,
            "pad_token_id": pad,
            "do_sample": False,
            "repetition_penalty": 1.0,
        },
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
