"""A small network of fully connected layers, trained with Adam: ReLU between the layers, softmax at the end.

Adam: D. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

BATCH, DECAY, FAST, SLOW, TINY = 128, 1e-4, 0.9, 0.999, 1e-8


@dataclass(slots=True)
class Network:
    """Weights [in, out] and biases [out] of each layer, FP32, and what Adam remembers of their gradients."""

    parameters: list[np.ndarray]
    means: list[np.ndarray] = field(init=False)
    squares: list[np.ndarray] = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        self.means = [np.zeros_like(each) for each in self.parameters]
        self.squares = [np.zeros_like(each) for each in self.parameters]

    @classmethod
    def of(cls, sizes: tuple[int, ...], rng: np.random.Generator) -> Network:
        """Random weights after He et al. (2015), biases 0."""
        made: list[np.ndarray] = []
        for before, after in pairwise(sizes):
            made.append((rng.standard_normal((before, after)) * np.sqrt(2 / before)).astype(np.float32))
            made.append(np.zeros(after, np.float32))
        return cls(made)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The likeliest class [n] of each row [n, in]."""
        return self._layers(x)[-1].argmax(axis=1)

    def learn(self, x: np.ndarray, labels: np.ndarray, rate: float, rng: np.random.Generator) -> None:
        """Once through all rows in random order."""
        order = rng.permutation(len(x))
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            self._step(self._gradients(x[chosen], labels[chosen]), rate)

    def _layers(self, x: np.ndarray) -> list[np.ndarray]:
        """The input, each hidden layer after ReLU, and the logits."""
        made = [x]
        for weights, bias in zip(self.parameters[::2], self.parameters[1::2], strict=True):
            x = made[-1] @ weights + bias
            made.append(np.maximum(x, 0))
        return [*made[:-1], x]

    def _gradients(self, x: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
        """Of the mean cross entropy, with weight decay, in the order of the parameters."""
        layers = self._layers(x)
        likely = np.exp(layers[-1] - layers[-1].max(axis=1, keepdims=True))
        error = likely / likely.sum(axis=1, keepdims=True)
        error[np.arange(len(x)), labels] -= 1
        error /= len(x)
        made: list[np.ndarray] = []
        for i in reversed(range(len(self.parameters) // 2)):
            weights = self.parameters[2 * i]
            made = [layers[i].T @ error + DECAY * weights, error.sum(axis=0), *made]
            error = (error @ weights.T) * (layers[i] > 0)
        return made

    def _step(self, gradients: list[np.ndarray], rate: float) -> None:
        self.steps += 1
        scale = np.float32(rate * np.sqrt(1 - SLOW**self.steps) / (1 - FAST**self.steps))
        for value, mean, square, slope in zip(self.parameters, self.means, self.squares, gradients, strict=True):
            mean += (1 - FAST) * (slope - mean)
            square += (1 - SLOW) * (slope * slope - square)
            value -= scale * mean / (np.sqrt(square) + TINY)
