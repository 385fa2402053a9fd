"""The density of the offsets of each side, after the manner of the paper's Figure 3, as a picture.

Gaussian kernels of Scott's width (`scipy.stats.gaussian_kde`). Nothing of an image is in it.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from geoseg_agent.calibrate.offsets import SIDES
from geoseg_agent.errors import InputError
from geoseg_agent.grounding.keep_file import keep_file

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_COLOURS: Final = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00")  # Okabe and Ito: told apart by all kinds of eyes
_POINTS = 400


def density(values: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) density of (n,) values at m places; of equal values a narrow peak, for they have no kernel width."""
    from scipy.stats import gaussian_kde  # noqa: PLC0415 - a second to import, and only a picture needs it

    if len(values) < 2 or np.ptp(values) < 1e-9:
        width = max(float(at[-1] - at[0]) / 200, 1e-6)
        peak: NDArray[np.float64] = np.exp(-(((at - values.mean()) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi))
        return peak
    found: NDArray[np.float64] = gaussian_kde(values)(at)
    return found


def draw(
    values: NDArray[np.float64], path: Path, *, margins: tuple[float, float] | None = None, title: str = ""
) -> Path:
    """Write the figure, PNG or SVG by the suffix, and say where.

    Args:
        values: (n, 4) outward offsets as `geoseg_agent.calibrate.offsets.offsets` gives them, n > 0.
        path: `.png` or `.svg`.
        margins: alpha and beta to be marked.
        title: over the figure.

    Raises:
        InputError: another suffix, or the file cannot be written.
    """
    if path.suffix not in {".png", ".svg"}:
        raise InputError(f"{path} is neither .png nor .svg", hint="choose one of these suffixes")
    from matplotlib import rc_context  # noqa: PLC0415 - slow to import, as above
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    style: Any = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "geoseg",
        "svg.fonttype": "none",
    }
    low, high = _range(values, margins)
    at = np.linspace(low, high, _POINTS)
    with rc_context(style):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2, sharey=True)
        for number, (axis, sides) in enumerate(zip(axes, ((0, 1), (2, 3)), strict=True)):
            for side in sides:
                column = values[:, side]
                heights = density(column, at)
                middle = float(np.median(column))
                axis.fill_between(at, heights, color=_COLOURS[side], alpha=0.25, linewidth=0)
                axis.plot(at, heights, color=_COLOURS[side], label=f"{SIDES[side]}, median {middle:+.3f}")
                axis.axvline(middle, color=_COLOURS[side], linestyle=":", linewidth=1)
            axis.axvline(0, color="0.5", linewidth=0.8)
            if margins is not None:
                name = ("alpha", "beta")[number]
                axis.axvline(margins[number], color="black", linestyle="--", label=f"{name} = {margins[number]:.3f}")
            axis.set_xlabel("truth outside of the box said, share of its side")
            axis.legend(fontsize=8, frameon=False)
            axis.set_xlim(low, high)
        axes[0].set_ylabel("density")
        axes[0].set_ylim(bottom=0)
        figure.suptitle(title or f"{len(values)} boxes", fontsize=10)
        made = io.BytesIO()
        kind = path.suffix[1:]
        figure.savefig(made, format=kind, dpi=120, metadata={"Date": None} if kind == "svg" else {"Software": None})
    try:
        keep_file(path, made.getvalue())
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}", hint="choose another folder"
        ) from error
    return path


def _range(values: NDArray[np.float64], margins: tuple[float, float] | None) -> tuple[float, float]:
    """What is shown: all but the outermost hundredth, zero and the margins, with some room."""
    ends = [*np.quantile(values, (0.01, 0.99)), 0.0, *(margins or ())]
    low, high = float(min(ends)), float(max(ends))
    room = max(0.1 * (high - low), 0.02)
    return low - room, high + room
