import pytest
from omegaconf import OmegaConf

from harness.base.errors import ConfigError
from harness.runs.config import MethodSpec, build, run_id, shared
from methods.base import MethodError
from methods.composed.chain import Chain
from methods.scalar.uniform import PerDimension


def chain(**more: object) -> OmegaConf:
    return OmegaConf.create(
        {
            "about": {"family": "dimension"},
            "dim": 4,
            "_target_": "methods.Chain",
            "transforms": [{"_target_": "methods.SVD", "dim": "${...dim}"}],
            "codec": {"_target_": "methods.PerDimension"},
            **more,
        }
    )


def test_a_yamls_own_parameter_feeds_its_parts() -> None:
    spec = MethodSpec(chain())
    codec = spec.make()
    assert isinstance(codec, Chain) and codec.transforms[0].dim == 4  # type: ignore[attr-defined]
    assert "dim" not in spec.settings and spec.about == {"family": "dimension"}
    assert spec.make() is not codec


def test_a_parameter_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown parameter 'dimm'.*codec, dim, renormalize"):
        MethodSpec(chain(dimm=3))


def test_a_wrong_type_is_one_line_with_the_value() -> None:
    with pytest.raises(MethodError, match="PerDimension: bits must be int, got 'abc'"):
        MethodSpec(OmegaConf.create({"_target_": "methods.PerDimension", "bits": "abc"})).make()


def test_what_is_not_a_codec_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a Codec"):
        MethodSpec(OmegaConf.create({"_target_": "methods.SVD", "dim": 3})).make()
    with pytest.raises(ConfigError, match="cannot load"):
        MethodSpec(OmegaConf.create({"_target_": "methods.nowhere.Nothing"}))


def test_the_seed_is_found_inside_parts() -> None:
    assert MethodSpec(chain()).seed is None
    node = chain(transforms=[{"_target_": "methods.RandomProjection", "dim": "${...dim}", "seed": 3}])
    assert MethodSpec(node).seed == 3


def test_run_ids_depend_on_content_not_on_order() -> None:
    assert run_id({"a": 1, "b": [1, 2]}) == run_id({"b": [1, 2], "a": 1})
    ids = {run_id({"a": value}) for value in (1, 1.5, "1", [1], None, [0.5], [0, 5], -1)}
    assert len(ids) == 8


def test_a_missing_value_is_named() -> None:
    node = OmegaConf.create({"_target_": "methods.PerDimension", "bits": "???"})
    with pytest.raises(ConfigError, match=r"dataset\.bits must be given"):
        shared("dataset", node)
    with pytest.raises(ConfigError, match="choose one"):
        build(None, "dataset")


def test_equal_nodes_share_one_object() -> None:
    node = {"_target_": "methods.PerDimension", "bits": 3}
    first = shared("model", OmegaConf.create(node))
    assert isinstance(first, PerDimension)
    assert shared("model", OmegaConf.create(dict(node))) is first
