"""Small archives and products, written with GDAL alone."""

import json

import numpy as np
import pytest
from osgeo import gdal, osr

from bigearth import bands

gdal.UseExceptions()
osr.UseExceptions()


def write_raster(path, pixels, epsg, ulx, uly, resolution, driver="GTiff", options=()):
    """One uint16 band with a georeference."""
    memory = gdal.GetDriverByName("MEM").Create(
        "", pixels.shape[1], pixels.shape[0], 1, gdal.GDT_UInt16
    )
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    memory.SetProjection(reference.ExportToWkt())
    memory.SetGeoTransform((ulx, resolution, 0, uly, 0, -resolution))
    memory.GetRasterBand(1).WriteArray(pixels)
    gdal.GetDriverByName(driver).CreateCopy(str(path), memory, options=list(options))


def write_patch(root, name, labels, seed, epsg=32633, ulx=404400, uly=5342400):
    """One patch of an archive, with random pixels; returns band name -> pixels."""
    rng = np.random.default_rng(seed)
    folder = root / name
    folder.mkdir(parents=True)
    pixels = {}
    for band in bands.BANDS:
        side = bands.patch_size(band.resolution)
        pixels[band.name] = rng.integers(0, 65536, (side, side), dtype=np.uint16)
        write_raster(
            folder / f"{name}_{band.name}.tif", pixels[band.name], epsg, ulx, uly, band.resolution
        )
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    metadata = {
        "labels": labels,
        "coordinates": {"ulx": ulx, "uly": uly, "lrx": ulx + 1200, "lry": uly - 1200},
        "projection": reference.ExportToWkt(),
        "tile_source": "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE",
        "acquisition_date": "2017-06-13 10:10:31",
    }
    (folder / f"{name}_labels_metadata.json").write_text(json.dumps(metadata))
    return pixels


NAMES = [f"S2A_MSIL2A_20170613T101031_{h}_{v}" for h, v in ((9, 10), (10, 9), (87, 48))]


@pytest.fixture
def archive(tmp_path):
    """An archive of three patches; file names sort otherwise than numbers. Returns (root, name ->
    band -> pixels)."""
    root = tmp_path / "archive"
    return root, {
        name: write_patch(root, name, ["Pastures", "Mixed forest"], i)
        for i, name in enumerate(NAMES)
    }


SAFE = "S2A_MSIL2A_20170613T101031_N{baseline}_R022_T33UUP_20170613T101608.SAFE"


def write_product(
    folder,
    size=480,
    baseline="0205",
    offset=None,
    epsg=32633,
    ulx=300000,
    uly=5400000,
    seed=0,
    level="Level-2A",
):
    """A Level-2A product of size x size pixels; returns (path, band name -> stored pixels)."""
    rng = np.random.default_rng(seed)
    path = folder / SAFE.format(baseline=baseline)
    pixels = {}
    for band in bands.BANDS:
        images = path / f"GRANULE/L2A_T33UUP_A010303_20170613T101608/IMG_DATA/R{band.resolution}m"
        images.mkdir(parents=True, exist_ok=True)
        side = size * 10 // band.resolution
        coarse = (
            rng.integers(500, 5000, (side // 4 + 1, side // 4 + 1))
            .repeat(4, 0)
            .repeat(4, 1)[:side, :side]
        )
        pixels[band.name] = (coarse + rng.integers(0, 50, (side, side))).astype(np.uint16)
        name = f"T33UUP_20170613T101031_{band.name}_{band.resolution}m.jp2"
        write_raster(
            images / name,
            pixels[band.name],
            epsg,
            ulx,
            uly,
            band.resolution,
            "JP2OpenJPEG",
            ["QUALITY=100", "REVERSIBLE=YES"],
        )
    offsets = (
        "".join(f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13))
        if offset is not None
        else ""
    )
    (path / "MTD_MSIL2A.xml").write_text(
        "<n1:Level-2A_User_Product "
        'xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-2A.xsd"><n1:General_Info>'
        f"<Product_Info><PROCESSING_LEVEL>{level}</PROCESSING_LEVEL>"
        f"<PROCESSING_BASELINE>{baseline[:2]}.{baseline[2:]}</PROCESSING_BASELINE></Product_Info>"
        f"<Product_Image_Characteristics>{offsets}</Product_Image_Characteristics></n1:General_Info></n1:Level-2A_User_Product>"
    )
    return path, pixels


@pytest.fixture
def make_product():
    """The function `write_product`."""
    return write_product


@pytest.fixture
def make_patch():
    """The function `write_patch`."""
    return write_patch
