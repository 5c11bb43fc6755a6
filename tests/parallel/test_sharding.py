"""Tests for datachef_jax/parallel/sharding.py."""

import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from datachef_jax.parallel import sharding


def test_minus_one_takes_the_devices_that_are_left():
    mesh = sharding.make_mesh(data=-1, model=2)
    assert dict(mesh.shape) == {"data": 4, "model": 2}


@pytest.mark.parametrize(
    "data, model, said",
    [
        (3, 2, "3 x 2 does not cover 8"),
        (-1, 3, "3 does not divide 8"),
        (16, 1, "16 x 1 does not cover 8"),
    ],
)
def test_a_mesh_that_does_not_fit_the_devices_is_refused(data, model, said):
    with pytest.raises(ValueError, match=said):
        sharding.make_mesh(data=data, model=model)


def test_a_mesh_of_one_device_is_a_mesh():
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    assert mesh.devices.tolist() == [[jax.devices()[0]]]


def test_every_rule_is_unique_and_names_an_axis_of_the_mesh(mesh):
    names = [logical for logical, _ in sharding.AXIS_RULES]
    assert len(set(names)) == len(names)
    axes = {axis for _, rule in sharding.AXIS_RULES for axis in np.ravel(rule)}
    assert axes <= {*mesh.axis_names, None}


@pytest.mark.parametrize(
    "axes, spec",
    [
        (("tokens", None), P("data")),
        (("split_tokens", None), P(("data", "model"))),
        (("batch", "heads"), P("data", "model")),
    ],
)
def test_an_activation_lies_where_the_table_says(axes, spec, mesh):
    place = jax.jit(lambda x: sharding.constrain(x, *axes))
    with jax.set_mesh(mesh):
        assert place(np.zeros((16, 8))).sharding.spec == spec
    assert len(place(np.zeros((16, 8))).sharding.device_set) == 1


def test_an_axis_that_its_mesh_axis_cannot_divide_stays_whole(mesh):
    place = jax.jit(lambda x: sharding.constrain(x, "batch", "heads"))
    with jax.set_mesh(mesh):
        assert place(np.zeros((6, 4))).sharding.spec == P(None, "model")


@pytest.mark.parametrize(
    "before, after",
    [
        (P("data", "model"), P(None, "model")),
        (P(None, ("data", "model")), P(None, ("model",))),
        (P(("data",)), P(None)),
    ],
)
def test_gathered_weights_are_split_over_the_model_axis_alone(before, after):
    assert sharding.gathered(before) == after


def test_inside_a_shard_map_only_the_open_axes_are_split_further(mesh):
    seen = []

    def own(x):
        seen.append((sharding.open_axes(), sharding.ways("split_tokens")))
        seen.append(sharding.spec((4, 4, 3), ("batch", "heads", "mlp")))
        return sharding.constrain(x, "batch", "heads")

    with jax.set_mesh(mesh):
        assert sharding.open_axes() == {"data", "model"}
        split = jax.shard_map(
            own, in_specs=P("data"), out_specs=P("data"), axis_names={"data"}
        )
        x = np.arange(32.0).reshape(8, 4)
        np.testing.assert_array_equal(jax.jit(split)(x), x)
    ways = mesh.shape["model"]
    assert seen[0] == ({"model"}, ways)
    assert seen[1] == P(None, "model", None)
