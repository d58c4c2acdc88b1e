import numpy as np
from matplotlib.figure import Figure


def run(waves: int = 3) -> Figure:
    x = np.linspace(0, 2 * np.pi, 500)
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.add_subplot(xlabel="x", title=f"the first {waves} harmonics")
    for n in range(1, waves + 1):
        axes.plot(x, np.sin(n * x) / n, label=f"sin {n}x / {n}")
    axes.legend()
    return figure
