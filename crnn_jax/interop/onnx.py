"""Exports a run to ONNX.

Opset 17, IR version 8 (onnx 1.12, onnxruntime 1.12 and later). Input `images` u8 [B, W, H, C],
output `logits` f32 [B, T, K]. The graph is built by hand, with one bidirectional LSTM node per
recurrent layer. Converters translate a scan into Loop operators, which take several times as long.
reader.json is in the model's metadata.

OpenCV's dnn module (4.12 and later) reads the file, too: version 5.0 with any batch size, version 4
with one image at a time, because its importer gives LSTM layers a batch size of 1. For 8-bit
weights see studies/int8_onnx.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crnn_jax.inference import exported
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import FORMATS, model_spec

FILE = FORMATS["onnx"]
OPSET, IR_VERSION = 17, 8
_GATES = (0, 3, 1, 2)  # the gates i, o, f, c of ONNX as indices into Keras' i, f, g, o


class Graph:
    """The nodes and constants of a graph; `x` is the name of the last node's output."""

    def __init__(self, start: str):
        self.x = start
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: np.ndarray | str, **attributes: Any) -> str:
        """Appends a node with inputs `x` and `inputs` (arrays or names); `x` becomes its output."""
        from onnx import helper, numpy_helper

        names = [self.x]
        for value in inputs:
            if isinstance(value, np.ndarray):
                name = f"constant{len(self.constants)}"
                self.constants.append(numpy_helper.from_array(value, name))
                value = name
            names.append(value)
        self.x = f"{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [self.x], **attributes))
        return self.x


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs onnx.

    Raises:
      RunError: the model has GRU layers, which differ from those of ONNX.
    """
    import onnx
    from onnx import TensorProto, helper

    data = reader.config.data
    model_spec.require_lstm(reader, "ONNX")
    pixels: list[str | int | None] = ["batch", data.width, data.height, data.channels]
    logits: list[str | int | None] = [
        "batch",
        description["output"]["steps"],
        reader.charset.num_classes,
    ]
    graph = _build(reader)
    graph.nodes[-1].output[0] = "logits"
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "crnn",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, pixels)],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, logits)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="crnn-jax",
        producer_version=description["version"],
    )
    helper.set_model_props(model, {exported.FILE: model_spec.to_json(description)})
    onnx.checker.check_model(model, full_check=True)
    return {FILE: model.SerializeToString()}


def _build(reader: Recognizer) -> Graph:
    """Builds the graph from `images` [B, W, H, C] to logits [B, T, K]."""
    model = reader.model
    params = {
        layer: {name: np.asarray(a, np.float32) for name, a in arrays.items()}
        for layer, arrays in reader.params.items()
    }
    graph = Graph("images")
    graph.add("Cast", to=1)  # float32
    graph.add("Sub", np.array(model.mean, np.float32))
    graph.add("Div", np.array(model.std, np.float32))
    if model.per_image:
        _normalize_each(graph)
    graph.add("Transpose", perm=(0, 3, 1, 2))  # [B, C, W, H]
    for i, pool in enumerate(model.config.pools, 1):
        kernel, bias = params[f"Conv{i}"]["kernel"], params[f"Conv{i}"]["bias"]
        # kernel_shape follows from the weights, but OpenCV 4.12 requires it.
        graph.add(
            "Conv", kernel.transpose(3, 2, 0, 1), bias, kernel_shape=(3, 3), pads=(1, 1, 1, 1)
        )
        if model.config.norm == "layer":
            _normalize_features(graph, params[f"norm{i}"])
        graph.add("Relu")
        if pool != (1, 1):
            graph.add("MaxPool", kernel_shape=pool, strides=pool)
    graph.add("Transpose", perm=(2, 0, 3, 1))  # [T, B, H, C]
    graph.add("Reshape", _flatten(params["dense1"]["kernel"].shape[0]))
    _dense(graph, params["dense1"])
    graph.add("Relu")
    for i, units in enumerate(model.config.lstm_units):
        _lstm(graph, params[f"bidirectional_{i}" if i else "bidirectional"], units)
    _dense(graph, params["dense2"])
    if classes := model.other_cases:
        _add_other_cases(graph, classes, model.num_classes)
    graph.add("Transpose", perm=(1, 0, 2))  # [B, T, K]
    return graph


def _normalize_each(graph: Graph) -> None:
    """Normalizes each image of [B, W, H, C] by its own mean and standard deviation."""
    x = graph.x
    mean = graph.add("ReduceMean", axes=(1, 2), keepdims=1)
    graph.x = x
    x = graph.add("Sub", mean)
    graph.add("Mul", x)
    # In two steps, because OpenCV 4.14 computes another value for the three axes at once.
    graph.add("ReduceMean", axes=(1, 2), keepdims=1)
    graph.add("ReduceMean", axes=(3,), keepdims=1)
    graph.add("Add", np.array(1e-6, np.float32))
    std = graph.add("Sqrt")
    graph.x = x
    graph.add("Div", std)


def _normalize_features(graph: Graph, layer: Mapping[str, np.ndarray]) -> None:
    """Normalizes the features of each position of [B, C, W, H], as flax.linen.LayerNorm does."""
    graph.add("Transpose", perm=(0, 2, 3, 1))
    graph.add("LayerNormalization", layer["scale"], layer["bias"], axis=-1, epsilon=1e-6)
    graph.add("Transpose", perm=(0, 3, 1, 2))


def _add_other_cases(graph: Graph, classes: Sequence[int], num_classes: int) -> None:
    """Adds the probabilities of the outputs after the first K: see `network.add_other_cases`."""
    outputs = graph.x

    def pick(of: str, numbers: Sequence[int]) -> str:
        graph.x = of
        return graph.add("Gather", np.array(numbers, np.int64), axis=-1)

    these = pick(outputs, classes)
    others = pick(outputs, range(num_classes, num_classes + len(classes)))
    graph.x = these
    high = graph.add("Max", others)
    graph.x = these
    graph.add("Min", others)
    graph.add("Sub", high)
    graph.add("Exp")
    graph.add("Add", np.array(1, np.float32))
    graph.add("Log")
    sums = graph.add("Add", high)
    graph.x = pick(outputs, range(num_classes))
    joined = graph.add("Concat", sums, axis=-1)
    places = {k: num_classes + i for i, k in enumerate(classes)}
    pick(joined, [places.get(k, k) for k in range(num_classes)])


def _flatten(size: int) -> np.ndarray:
    """Returns the target shape that merges all axes after the first two into one of size `size`."""
    return np.array((0, 0, size), np.int64)


def _dense(graph: Graph, layer: Mapping[str, np.ndarray]) -> None:
    graph.add("MatMul", layer["kernel"])
    graph.add("Add", layer["bias"])


def _lstm(graph: Graph, layer: Mapping[str, np.ndarray], units: int) -> None:
    """Appends a bidirectional LSTM, [T, B, D] to [T, B, 2U]."""

    def both(name: str) -> np.ndarray:
        """Returns `name` of both directions, gates in ONNX' order: [2, 4U] or [2, 4U, D]."""
        return np.stack(
            [
                np.concatenate([np.split(layer[f"{way}_{name}"].T, 4)[gate] for gate in _GATES])
                for way in ("forward", "backward")
            ]
        )

    bias = both("bias")
    graph.add(
        "LSTM",
        both("kernel"),
        both("recurrent_kernel"),
        np.concatenate([bias, np.zeros_like(bias)], axis=1),  # ONNX adds a second, recurrent bias
        direction="bidirectional",
        hidden_size=units,
    )  # [T, 2, B, U]
    graph.add("Transpose", perm=(0, 2, 1, 3))
    graph.add("Reshape", _flatten(2 * units))
