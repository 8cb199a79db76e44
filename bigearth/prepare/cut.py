"""Cuts patches out of tiles by their coordinates: the same pixels as `gdal_translate -projwin` on
the same bands."""

import itertools
import os
from typing import Iterator, NamedTuple

import numpy as np

from bigearth import bands
from bigearth.errors import InputError
from bigearth.prepare import tile as tiles
from bigearth.prepare.sharing import Block, Clock

GRID = 60  # metres: patch corners lie on the coarsest band's pixels
SIDE = bands.patch_size(10)
# patch columns that are read at once: about one column of JP2 blocks of 1024 pixels, and three of
# DSen2's cores
STRIP = 9
PIECE = 64  # patches that are handed on at once: 32 MB


class Cut(NamedTuple):
    """Where a patch lies in its tile.

    Attributes:
        position: its place in the file.
        column, row: its upper left corner in pixels of 10 m from the tile's.
    """

    position: int
    column: int
    row: int


class TileSource:
    """Tiles as something to extract patches from (see extract.Source).

    Args:
        products: scene -> paths of products, from `tile.find_products`.
        entries: the patches (patchlist.Entry), in the order of the file.
        upsampler: makes `data_super` of a tile (superres.DSen2), or None for the patch-wise
            bilinear one.
        own_offset: as of `tile.Tile`.
    """

    def __init__(self, products: dict, entries: list, upsampler=None, own_offset=None):
        self._entries = entries
        self._upsampler = upsampler
        self._own_offset = own_offset
        self._members = {}  # path of a product -> positions of its patches
        for position, entry in enumerate(entries):
            self._members.setdefault(_product(products, entry), []).append(position)

    @property
    def products(self) -> list:
        """Full paths of the products that patches are cut from, sorted."""
        return sorted(os.path.realpath(path) for path in self._members)

    def check(self, rank: int, ranks: int) -> None:
        """Opens this rank's part of the tiles and checks that their patches lie inside; together
        the ranks check all.

        Raises:
            InputError: a tile is not usable, or a patch lies outside it, off its grid, or in
                another UTM zone.
        """
        for path in sorted(self._members)[rank::ranks]:
            self._cuts(tiles.Tile(path, self._own_offset, verify=True), self._members[path])

    def _cuts(self, tile: tiles.Tile, positions) -> list:
        """Where in an open tile the patches at some positions lie."""
        cuts = []
        for position in positions:
            entry = self._entries[position]
            if entry.epsg != tile.epsg:
                raise InputError(
                    f"{tile.path}: in EPSG:{tile.epsg}, but its patch {entry.name} is in "
                    f"EPSG:{entry.epsg}; expected one UTM zone; "
                    "correct the patch's line in the list"
                )
            x, y = entry.ulx - tile.ulx, tile.uly - entry.uly
            if x % GRID or y % GRID:
                raise InputError(
                    f"{tile.path}: patch {entry.name} at ({entry.ulx}, {entry.uly}) is off the "
                    f"tile's grid; expected whole {GRID} m from its "
                    f"corner ({tile.ulx:.0f}, {tile.uly:.0f}); correct the patch's line in the list"
                )
            cut = Cut(position, int(x) // 10, int(y) // 10)
            if not (0 <= cut.column <= tile.columns - SIDE and 0 <= cut.row <= tile.rows - SIDE):
                raise InputError(
                    f"{tile.path}: patch {entry.name} at ({entry.ulx}, {entry.uly}) lies outside; "
                    f"the tile reaches from ({tile.ulx:.0f}, "
                    f"{tile.uly:.0f}) to ({tile.ulx + 10 * tile.columns:.0f}, "
                    f"{tile.uly - 10 * tile.rows:.0f}); correct the patch's line in the list"
                )
            cuts.append(cut)
        return cuts

    def blocks(self) -> list:
        """One block per row of patches in a strip; tiles by name, their strips from west to east,
        rows from north to south."""
        found = []
        for group, path in enumerate(sorted(self._members)):
            west = min(self._entries[position].ulx for position in self._members[path])
            rows = {}
            for position in self._members[path]:  # ascending
                entry = self._entries[position]
                rows.setdefault(
                    ((entry.ulx - west) // (STRIP * bands.PATCH_METRES), -entry.uly), []
                ).append(position)
            found += [
                Block(group, (path, strip), np.array(positions))
                for (strip, _), positions in sorted(rows.items())
            ]
        return found

    def pieces(self, blocks: list, clock: Clock) -> Iterator[tuple]:
        """Yields (positions, arrays), at most `PIECE` patches at a time, all from one strip of a
        tile."""
        for path, of_tile in itertools.groupby(blocks, key=lambda block: block.key[0]):
            with clock("read"):
                tile = tiles.Tile(path, self._own_offset)
            for _, of_strip in itertools.groupby(of_tile, key=lambda block: block.key):
                positions = sorted(position for block in of_strip for position in block.positions)
                yield from self._strip(tile, self._cuts(tile, positions), clock)

    def _strip(self, tile: tiles.Tile, cuts: list, clock: Clock) -> Iterator[tuple]:
        """Reads the least window that holds some patches (and what their super-resolution needs),
        and cuts them out."""
        if self._upsampler is not None:
            left, top, right, bottom = self._upsampler.window(cuts, tile.columns, tile.rows)
        else:
            left, top = min(cut.column for cut in cuts), min(cut.row for cut in cuts)
            right, bottom = (
                max(cut.column for cut in cuts) + SIDE,
                max(cut.row for cut in cuts) + SIDE,
            )
        with clock("read"):
            windows = {}
            for r in bands.RESOLUTIONS:
                windows[r] = tile.read(
                    r, *(edge * 10 // r for edge in (left, top, right - left, bottom - top))
                )
                clock.bytes_read += windows[r].nbytes
        fine = None
        if self._upsampler is not None:
            with clock("upsample"):
                fine = self._upsampler.restore(
                    windows, (left, top), (tile.columns, tile.rows), cuts=cuts
                )
        for start in range(0, len(cuts), PIECE):
            piece = cuts[start : start + PIECE]
            positions = np.array([cut.position for cut in piece])
            with clock("cut"):
                arrays = {
                    "classes": np.stack([self._entries[position].classes for position in positions])
                }
                for r, window in windows.items():
                    arrays[f"data_{r}m"] = _patches(window, piece, left, top=top, scale=r // 10)
                if fine is not None:
                    restored = np.clip(
                        np.rint(_patches(fine, piece, left, top=top, scale=1)), 0, 65535
                    ).astype(np.uint16)
                    arrays["data_super"] = np.concatenate([arrays["data_10m"], restored], axis=-1)
            yield positions, arrays


def _patches(window: np.ndarray, cuts: list, left: int, top: int, scale: int) -> np.ndarray:
    """(n, side, side, bands): patches cut from a window whose corner is (left, top) in pixels of 10
    m, of pixels of `scale` x 10 m."""
    side = SIDE // scale
    result = np.empty((len(cuts), side, side, window.shape[-1]), window.dtype)
    for i, cut in enumerate(cuts):
        row, column = (cut.row - top) // scale, (cut.column - left) // scale
        result[i] = window[row : row + side, column : column + side]
    return result


def _product(products: dict, entry) -> str:
    """The path of the one product that a patch is to be cut from.

    Raises:
        InputError: there is none, or there are two.
    """
    found = products.get(tiles.scene_of(entry.tile, f"patch {entry.name}"), ())
    if len(found) != 1:
        folder = next(iter(products.values()))[0].parent
        if found:
            raise InputError(
                f"{folder}: two tiles, {found[0].name} and {found[1].name}, claim patch "
                f"{entry.name}; expected one Level-2A product; remove one of them"
            )
        raise InputError(
            f"{folder}: no product for patch {entry.name} of {entry.tile}; expected one Level-2A "
            "product of that mission, time, orbit and tile; add it"
        )
    return str(found[0])
