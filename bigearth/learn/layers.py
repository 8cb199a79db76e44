"""The network on paper: its layers, their floating-point operations and the bytes of their
gradients. Needs no TensorFlow."""

import math
from typing import NamedTuple

from bigearth import bands, nomenclature

NETWORKS = {  # name -> bottleneck blocks of each stage, width of the first
    "resnet50": ((3, 4, 6, 3), 64),
    "resnet14": ((1, 1, 1, 1), 16),  # quick to train: for studies of recipes, never for a benchmark
    "resnet5": ((1,), 16),  # quick to start: for rehearsals of jobs
}
FLOAT32_BYTES = 4


class Convolution(NamedTuple):
    """One convolution without bias, normalised after it.

    Attributes:
        name: as the network names it.
        kernel: side of its square window, in pixels.
        stride: step of the window, in pixels.
        inputs, outputs: channels.
        side: side of its output, in pixels.
    """

    name: str
    kernel: int
    stride: int
    inputs: int
    outputs: int
    side: int

    @property
    def flops(self) -> int:
        """Floating-point operations of one sample, forward; 2 per multiply-add. The pixels that a
        window finds outside the image count like the others."""
        return 2 * self.kernel**2 * self.inputs * self.outputs * self.side**2


def convolutions(
    network: str = "resnet50", channels: int = len(bands.NAMES), size: int = bands.patch_size(10)
) -> list:
    """The network's convolutions, in the order in which it keeps their kernels.

    Args:
        network: one of `NETWORKS`.
        channels: bands of the input.
        size: side of the input in pixels.
    """
    stages, stem = NETWORKS[network]
    side = -(-size // 2)
    layers = [Convolution("stem", 7, 2, inputs=channels, outputs=stem, side=side)]
    side, inputs = -(-side // 2), stem
    for stage, blocks in enumerate(stages):
        width = stem * 2**stage
        for block in range(blocks):
            name = f"stage{stage + 1}_block{block + 1}"
            # the block has picked the pixels of its stride before its first convolution
            side = -(-side // 2) if stage and not block else side
            layers += [
                Convolution(f"{name}_1", 1, 1, inputs=inputs, outputs=width, side=side),
                Convolution(f"{name}_2", 3, 1, inputs=width, outputs=width, side=side),
                Convolution(f"{name}_3", 1, 1, inputs=width, outputs=4 * width, side=side),
            ]
            if not block:
                layers.append(
                    Convolution(
                        f"{name}_shortcut", 1, 1, inputs=inputs, outputs=4 * width, side=side
                    )
                )
            inputs = 4 * width
    return layers


def step_flops(
    batch_size: int,
    network: str = "resnet50",
    channels: int = len(bands.NAMES),
    size: int = bands.patch_size(10),
    classes: int = len(nomenclature.LABELS),
) -> float:
    """Floating-point operations of the convolutions and the dense layer in one training step.

    Each layer computes its output, the gradient of its weights and the gradient of its input: the
    same count three times. The first layer does not need the gradient of its input.
    """
    layers = convolutions(network, channels, size)
    forward = sum(layer.flops for layer in layers) + 2 * layers[-1].outputs * classes
    return float(batch_size * (3 * forward - layers[0].flops))


def gradient_bytes(network: str = "resnet50", channels: int = len(bands.NAMES)) -> list:
    """Bytes of every gradient in float32, in the order of `ResNet.trainable`."""
    sizes = []
    waiting = []  # Keras puts both convolutions before the normalisations where two branches meet
    layers = convolutions(network, channels)
    for layer, following in zip(layers, [*layers[1:], None]):
        sizes.append(layer.kernel**2 * layer.inputs * layer.outputs)
        waiting += [layer.outputs, layer.outputs]
        if following is None or not following.name.endswith("_shortcut"):
            sizes += waiting
            waiting = []
    classes = len(nomenclature.LABELS)
    sizes += [layers[-1].outputs * classes, classes]
    return [FLOAT32_BYTES * size for size in sizes]


def split_by_bytes(sizes: list, kinds: list, groups: int) -> list:
    """Splits gradients into at most `groups` runs of about equal bytes, last ones first; more only
    where neighbours are of different kinds.

    Args:
        sizes: bytes of each.
        kinds: dtype of each; all of a run have the same.
        groups: at least 1.

    Returns:
        lists of positions; each position is in exactly one list, and no list is empty.
    """
    target = max(sum(sizes) / groups, 1)
    result = []
    filled = 0.0
    for position in reversed(range(len(sizes))):
        started = result and kinds[result[-1][-1]] == kinds[position]
        if started and (filled + sizes[position] / 2 <= target or len(result) == groups):
            result[-1].append(position)
            filled += sizes[position]
        else:
            result.append([position])
            filled = sizes[position]
    return result


def gradient_groups(groups: int, network: str = "resnet50") -> list:
    """Bytes of each group in which a step reduces its gradients, in the order of their start."""
    sizes = gradient_bytes(network)
    parts = split_by_bytes(sizes, ["float32"] * len(sizes), groups)
    return [sum(sizes[position] for position in part) for part in parts]


def most_expensive(count: int, network: str = "resnet50") -> list:
    """The shapes of convolution that most operations of the network are in, as rows {layer, times,
    share}: how often the shape occurs and its part of all convolutions' operations."""
    layers = convolutions(network)
    total = math.fsum(layer.flops for layer in layers)
    shapes = {}
    for layer in layers:
        shapes.setdefault(layer[1:], []).append(layer)
    rows = [
        {
            "layer": alike[0],
            "times": len(alike),
            "share": len(alike) * alike[0].flops / total,
        }
        for alike in shapes.values()
    ]
    return sorted(rows, key=lambda row: -row["share"])[:count]
