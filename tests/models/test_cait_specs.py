"""The published configurations of CaiT and PatchConvNet."""

import pytest

from keras_deit import list_models
from keras_deit.models import CaiT, get_spec

CAIT_NAMES = [name for name in list_models("cait_*") if get_spec(name).family is CaiT]
PATCHCONVNET_NAMES = list_models("patchconvnet_*")
# Depth, width, heads, parameters at 224 (counted on the authors' modules).
CAIT_SIZES = {
    "xxs24": (24, 192, 4, 11_956_264),
    "xxs36": (36, 192, 4, 17_299_720),
    "xs24": (24, 288, 6, 26_560_648),
    "xs36": (36, 288, 6, 38_557_432),
    "s24": (24, 384, 8, 46_916_200),
    "s36": (36, 384, 8, 68_220_712),
    "s48": (48, 384, 8, 89_525_224),
    "m24": (24, 768, 16, 185_850_088),
    "m36": (36, 768, 16, 270_929_512),
    "m48": (48, 768, 16, 356_008_936),
}
# Depth, width, parameters (thesis, table 5.8).
PATCHCONVNET_SIZES = {
    "s20": (20, 384, 10_235_896),
    "s36": (36, 384, 16_233_976),
    "s60": (60, 384, 25_231_096),
    "s120": (120, 384, 47_723_896),
    "b36": (36, 768, 63_699_976),
    "b60": (60, 768, 99_388_936),
    "b120": (120, 768, 188_611_336),
    "l60": (60, 1024, 176_009_576),
    "l120": (120, 1024, 334_294_376),
    "s60_multi": (60, 384, 25_614_712),
}


def test_names():
    assert set(CAIT_NAMES) == {
        *(f"cait_{size}_{side}" for size in CAIT_SIZES for side in (224, 384)),
        *("cait_m36_448", "cait_m48_448"),
    }
    assert set(PATCHCONVNET_NAMES) == {
        *(f"patchconvnet_{size}_224" for size in PATCHCONVNET_SIZES),
        *(f"patchconvnet_{size}_{side}" for size in ("b60", "b120", "l60", "l120")
            for side in (288, 384)),
        *(f"patchconvnet_s60_{side}" for side in (288, 384, 512)),
    }  # fmt: skip


@pytest.mark.parametrize("name", CAIT_NAMES)
def test_sizes_of_cait(name):
    spec, (_, size, side) = get_spec(name), name.split("_")
    depth, width, heads, parameters = CAIT_SIZES[size]
    assert [spec.config[key] for key in ("depth", "embed_dim", "num_heads")] == [
        depth,
        width,
        heads,
    ]
    assert (spec.image_size, spec.crop_ratio) == (int(side), 1.0)
    more_positions = (int(side) // 16) ** 2 - 14**2
    assert spec.parameters == parameters + more_positions * width


@pytest.mark.parametrize("name", PATCHCONVNET_NAMES)
def test_sizes_of_patchconvnet(name):
    size, side = name.removeprefix("patchconvnet_").rsplit("_", 1)
    spec = get_spec(name)
    depth, width, parameters = PATCHCONVNET_SIZES[size]
    assert [spec.config[key] for key in ("depth", "embed_dim")] == [depth, width]
    assert (spec.image_size, spec.crop_ratio) == (int(side), 0.875)
    assert spec.config.get("token_per_class", False) == ("multi" in size)
    assert spec.parameters == parameters


@pytest.mark.parametrize("name", CAIT_NAMES + PATCHCONVNET_NAMES)
def test_results_have_sources_and_released_ones_come_first(name):
    results = get_spec(name).results
    released = [bool(result.files) for result in results]
    assert released == sorted(released, reverse=True)
    assert len({result.training for result in results}) == len(results)
    for result in results:
        assert 77 < result.top1 < (result.top5 or 100)
        assert result.source


def test_every_released_file_is_in_one_row():
    files = [file for name in CAIT_NAMES for file in get_spec(name).files]
    authors = [file for file in files if file.endswith(".pth")]
    assert len(authors) == len(set(authors)) == 10
    assert len(files) == 20
    for name in CAIT_NAMES:
        for file in get_spec(name).files[1:]:
            assert file == f"hf://timm/{name}.fb_dist_in1k"
    files = [file for name in PATCHCONVNET_NAMES for file in get_spec(name).files]
    assert len(files) == len(set(files)) == 13
