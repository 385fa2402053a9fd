"""Whether a file says where it lies by ground control points only, which is no grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from geoseg_agent.decode import quiet

if TYPE_CHECKING:
    from geoseg_agent.imagery import Image


def has_control_points(image: Image) -> bool:
    """True for an image without a georeference whose TIFF file holds control points; False where it is gone."""
    if (
        image.georeference is not None
        or image.path is None
        or Path(image.path).suffix.lower() not in {".tif", ".tiff"}
    ):
        return False
    import rasterio  # noqa: PLC0415 - few images come here
    from rasterio.errors import RasterioError  # noqa: PLC0415 - as above

    try:
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
            with quiet():
                dataset = rasterio.open(image.path, driver="GTiff", sharing=False)
            with dataset:
                return bool(dataset.gcps[0])
    except RasterioError:
        return False
