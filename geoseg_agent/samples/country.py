"""Plans of lakeside, village and farmland. Shares of the image place the large things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter1d

from geoseg_agent.samples.buildings import hall, house
from geoseg_agent.samples.canvas import CONCEPTS, rgb
from geoseg_agent.samples.fields import parcels
from geoseg_agent.samples.land import lake, meadow, river
from geoseg_agent.samples.roads import pave, road, stroke
from geoseg_agent.samples.texture import grain, noise, tangents
from geoseg_agent.samples.traffic import car_park, drive
from geoseg_agent.samples.trees import hedge, hedgerow, leaves, scatter, wood

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from geoseg_agent.samples.canvas import Board
    from geoseg_agent.samples.roads import Road
    from geoseg_tools.arrays import Mask


def lakeside(board: Board) -> None:
    """A small town between a lake and its fields; houses stand on both sides of the shore road."""
    rng, at = board.rng, board.at
    meadow(board)
    centre = at(0.74 + 0.03 * rng.standard_normal(), 0.30 + 0.02 * rng.standard_normal())
    water = lake(board, centre, (0.23 * board.size[1], 0.29 * board.size[0]))
    shore = _around(board, water, centre, 36.0, (122, 38))
    main = road(board, [at(-0.05, 0.86), at(0.20, 0.80), *shore, at(1.05, 0.57 + 0.05 * rng.random())], "main")
    low = 0.89 + 0.02 * rng.random()
    cross = road(board, [at(0.46, low + 0.01), at(0.7, low), at(1.05, low - 0.03)], "street")
    streets = [
        road(board, [shore[index], at(u, 0.84), at(u + 0.02, 1.05)], "street")
        for index, u in ((len(shore) // 4, 0.60), (len(shore) * 3 // 4, 0.84))
    ]
    track = road(board, [at(0.30, 0.78), at(0.40, 0.60), at(0.43, 0.3), at(0.40, -0.05)], "track")
    roads = [main, cross, *streets, track]
    pave(board, roads)
    _beach_car_park(board, water, shore[0])
    u, v = board.shares()
    town = _near(board, [main, cross, *streets], 30.0) & (u > 0.40)
    bank = board.distance(water) < 26 + 8 * noise(rng, board.size, board.pixels(40))
    country = (u < 0.50 + 0.03 * noise(rng, board.size, board.pixels(60))) & ~town & ~bank
    plots = parcels(board, np.asarray(country & (v < 0.79)), 0.12 * float(rng.standard_normal()), large=0.64)
    parcels(board, np.asarray(country & (v > 0.79)), 0.10, large=0.5, depth=2)
    settle(board, [main, cross, *streets], 17.5, where=np.asarray(u > 0.44) & _apart(board, water))
    foliage = leaves(board)
    if plots:
        hedgerow(board, foliage, max(plots, key=np.count_nonzero))
    wild = noise(rng, board.size, board.pixels(28))
    wood(board, foliage, np.asarray((bank & (board.distance(water) > 4) & (wild > 0.55)) | ((u > 0.9) & (v < 0.2))))
    hedge(board, foliage, track.curve + board.pixels(3.5), 0.4)
    scatter(board, foliage, _per_area(board, 420), (1.6, 4.2), np.asarray(u > 0.42))
    drive(board, [main, cross, *streets], 48)


def village(board: Board) -> None:
    """Streets of houses on a river, with a school, a car park and fields around."""
    rng, at = board.rng, board.at
    meadow(board)
    bend = 0.03 * rng.standard_normal(3)
    stream = [at(-0.05, 0.30 + bend[0]), at(0.28, 0.20), at(0.6, 0.27 + bend[1]), at(1.05, 0.16 + bend[2])]
    water = river(board, road(board, stream, "track").curve, 17.0)
    main = road(board, [at(0.40, -0.05), at(0.43, 0.3), at(0.47, 0.62), at(0.44, 1.05)], "main")
    streets = [
        road(board, [at(-0.05, 0.50), at(0.2, 0.46), at(0.45, 0.46), at(0.78, 0.42)], "street"),
        road(board, [at(0.13, 0.70), at(0.46, 0.69), at(0.80, 0.67)], "street"),
        road(board, [at(0.12, 0.47), at(0.13, 0.70), at(0.15, 0.91)], "street"),
        road(board, [at(0.15, 0.91), at(0.45, 0.92), at(0.83, 0.90)], "street"),
        road(board, [at(0.78, 0.42), at(0.80, 0.67), at(0.83, 0.90), at(0.84, 1.05)], "street"),
    ]
    pave(board, [main, *streets])
    school = at(0.635, 0.55)
    hall(
        board,
        school,
        float(rng.normal(0, 0.05)),
        (0.55 * board.metres * 0.11 * board.size[1] + 22, 19.0),
        name="school",
    )
    car_park(board, at(0.635, 0.80), 0.03, 34.0, 1)
    u, v = board.shares()
    far = ~_near(board, streets, 33.0) & ~_near(board, [main], 9.0)
    outside = far & ((v < 0.32) | (u > 0.84)) & (board.distance(water) > 9)
    parcels(board, np.asarray(outside), float(rng.normal(0.1, 0.1)), large=0.62)
    settle(board, [*streets, main], 17.0, where=np.asarray(v > 0.33) & _apart(board, water))
    foliage = leaves(board)
    wild = noise(rng, board.size, board.pixels(22))
    wood(board, foliage, np.asarray((board.distance(water) < 10) & (board.distance(water) > 1.5) & (wild > 0.5)))
    scatter(board, foliage, _per_area(board, 620), (1.6, 4.0))
    drive(board, [main, *streets], 42)


def farmland(board: Board) -> None:
    """A farm with barns among fields, hedges, a wood and a pond."""
    rng, at = board.rng, board.at
    meadow(board)
    pond = lake(board, at(0.845, 0.83), (board.pixels(27), board.pixels(23)), rough=0.35, name="pond")
    main = road(board, [at(-0.05, 0.60), at(0.3, 0.63), at(0.7, 0.58), at(1.05, 0.62)], "main")
    yard = at(0.66, 0.33)
    drive_way = road(board, [at(0.70, 0.58), at(0.69, 0.45), yard], "track")
    track = road(board, [at(0.36, 0.63), at(0.38, 0.84), at(0.35, 1.05)], "track")
    pave(board, [main, drive_way, track])
    angle = float(rng.normal(0, 0.08))
    rows, cols = np.ogrid[: board.size[0], : board.size[1]]
    away = np.hypot(cols - yard[0], rows - yard[1]) * board.metres
    near_yard = away < 46 + 6 * noise(rng, board.size, board.pixels(30))
    _farmstead(board, yard, angle)
    u, v = board.shares()
    corner = np.asarray((u + 0.06 * noise(rng, board.size, board.pixels(40)) > 0.86) & (v < 0.30))
    open_land = ~corner & ~near_yard & (board.distance(pond) > 14)
    parcels(board, np.asarray(open_land & (v < 0.61)), angle, large=0.58)
    parcels(board, np.asarray(open_land & (v >= 0.61)), angle + 0.06, large=0.45)
    foliage = leaves(board)
    wood(board, foliage, corner)
    hedge(board, foliage, track.curve - board.pixels(4.0), 0.6)
    hedge(board, foliage, main.curve + board.pixels(7.5), 0.35)
    ring = np.asarray((board.distance(pond) < 9) & (board.distance(pond) > 2.5))
    wood(board, foliage, ring & (noise(rng, board.size, board.pixels(20)) > 0.1))
    scatter(board, foliage, _per_area(board, 260), (1.8, 4.2))
    drive(board, [main], 90)


def settle(board: Board, roads: Iterable[Road], spacing: float, where: Mask) -> int:
    """Houses along both sides of `roads`, about `spacing` metres apart, where there is room; returns how many."""
    rng = board.rng
    built = 0
    for item in roads:
        ahead = tangents(item.curve)
        step = max(round(spacing / 2.0), 1)
        for side in (-1.0, 1.0):
            for index in range(int(rng.integers(step)), len(item.curve), step):
                back = item.width / 2 + float(rng.uniform(8.5, 12.5))
                spot = item.curve[index] + np.array([-ahead[index, 1], ahead[index, 0]]) * side * board.pixels(back)
                x, y = int(spot[0]), int(spot[1])
                if not (0 <= x < board.size[1] and 0 <= y < board.size[0] and where[y, x]):
                    continue
                street = float(np.arctan2(*ahead[index, ::-1]))
                turn = street + (np.pi / 2 if rng.random() < 0.3 else 0.0)
                if house(board, spot, turn + float(rng.normal(0, 0.04))):
                    _garden(board, spot, street, back, -side)
                    built += 1
    return built


def _garden(board: Board, house: NDArray[np.float64], street: float, back: float, side: float) -> None:
    """A lawn around a house, and a drive to the street that runs along `street` (radians) `back` metres away."""
    rng = board.rng
    patch = board.patch(house, street, 19)
    if patch is None:
        return
    seen = board.label[patch.box.slices] == CONCEPTS.index("grass")
    deep = np.abs(patch.across + 3 * side) < 12.5
    lawn = seen & (np.abs(patch.along) < 8.2) & deep
    tone = rgb((0.36, 0.44, 0.23)) * np.float32(rng.uniform(0.8, 1.12))
    rough = board.colour[patch.box.slices]
    share = float(rng.uniform(0.25, 0.6))
    board.paint(lawn, None, (rough * (1 - share) + tone * share).astype(np.float32), box=patch.box)
    lane = float(rng.choice((-1.0, 1.0))) * 4.6
    drive = seen & (np.abs(patch.along - lane) < 1.5) & (patch.across * side > -2) & (patch.across * side < back)
    stone = rgb((0.60, 0.585, 0.56)) * (1 + 0.04 * grain(rng, patch.box.size, 0.6))[..., None]
    board.paint(drive, "paved", stone.astype(np.float32), box=patch.box)


def _around(
    board: Board,
    water: Mask,
    centre: NDArray[np.float64],
    away: float,
    degrees: tuple[float, float],
) -> list[NDArray[np.float64]]:
    """Points at `away` metres from the shore, seen from `centre` between two directions; smoothed."""
    signs = np.array([-1.0 if flipped else 1.0 for flipped in board.flip])
    angles = np.deg2rad(np.linspace(*degrees, 48))
    rays = np.stack([np.cos(angles), np.sin(angles)], axis=1) * signs
    near = board.distance(water) < away
    radii = np.empty(len(rays))
    for index, ray in enumerate(rays):
        points = np.round(centre + np.arange(0, 2 * max(board.size))[:, None] * ray).astype(int)
        inside = ((points >= 0) & (points < board.size[::-1])).all(axis=1)
        kept = points[inside]
        hits = np.nonzero(near[kept[:, 1], kept[:, 0]])[0]
        radii[index] = hits[-1] if len(hits) else 0.0
    smooth = gaussian_filter1d(radii, 5, mode="nearest")
    return [centre + radius * ray for radius, ray in zip(smooth[::4], rays[::4], strict=True)]


def _apart(board: Board, water: Mask) -> Mask:
    """(H, W) bool: all but a strip along the water, so that houses are clearly beside it or clearly not."""
    away = board.distance(water)
    return np.asarray((away < 27) | (away > 43), dtype=np.bool_)


def _near(board: Board, roads: Iterable[Road], reach: float) -> Mask:
    """(H, W) bool: within `reach` metres of the roads' centre lines."""
    lines = np.logical_or.reduce([stroke(board, item.curve, board.metres) for item in roads])
    return np.asarray(board.distance(np.asarray(lines)) < reach, dtype=np.bool_)


def _per_area(board: Board, count: float) -> int:
    """`count` things on a scene of the standard 307 m by 410 m, fewer on a smaller one."""
    return int(count * board.size[0] * board.size[1] * board.metres**2 / (307 * 410))


def _beach_car_park(board: Board, water: Mask, start: NDArray[np.float64]) -> None:
    """A car park between the shore road and the water, at the first place with room."""
    rows, cols = np.nonzero(water)
    middle = np.array([cols.mean(), rows.mean()])
    for share in (0.09, 0.12, 0.15):
        toward = start + share * (middle - start)
        if car_park(board, toward, float(np.arctan2(*(middle - start)[::-1])) + np.pi / 2, 36.0, 1):
            return


def _farmstead(board: Board, yard: NDArray[np.float64], angle: float) -> None:
    """A paved yard with two barns, a shed and the farm house around it."""
    rng = board.rng
    patch = board.patch(yard, angle, 30)
    if patch is not None:
        paved = np.asarray((np.abs(patch.along) < 15) & (np.abs(patch.across) < 12), dtype=np.bool_)
        look = rgb((0.60, 0.585, 0.55)) * (1 + 0.05 * noise(rng, patch.box.size, board.pixels(3)))[..., None]
        board.paint(paved, "paved", look.astype(np.float32), box=patch.box)
    ahead, right = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    one = board.pixels(1.0)
    hall(board, yard - right * 24.5 * one, angle, (38.0, 17.0), name="barn")
    hall(board, yard - ahead * 26 * one + right * 4 * one, angle + np.pi / 2, (27.0, 13.0), name="barn")
    house(board, yard + right * 24 * one, angle, tag="farmhouse")
    house(board, yard + ahead * 27 * one - right * 2 * one, angle + np.pi / 2)
