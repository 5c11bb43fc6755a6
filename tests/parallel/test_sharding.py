"""Tests for datachef_jax/parallel/sharding.py."""

import jax
import pytest

from datachef_jax.parallel import sharding


def test_minus_one_takes_the_devices_that_are_left():
    mesh = sharding.make_mesh(data=-1, model=2)
    assert dict(mesh.shape) == {"data": 4, "model": 2}


@pytest.mark.parametrize("data,model", [(3, 2), (-1, 3), (16, 1)])
def test_a_mesh_that_does_not_fit_the_devices_is_refused(data, model):
    with pytest.raises(ValueError, match="does not cover 8 devices"):
        sharding.make_mesh(data=data, model=model)


def test_a_mesh_of_one_device_is_a_mesh():
    mesh = sharding.make_mesh(data=1, model=1, devices=jax.devices()[:1])
    assert mesh.devices.tolist() == [[jax.devices()[0]]]


def test_every_rule_is_unique_and_names_an_axis_of_the_mesh(mesh):
    names = [logical for logical, _ in sharding.AXIS_RULES]
    assert len(set(names)) == len(names)
    assert {axis for _, axis in sharding.AXIS_RULES} <= {*mesh.axis_names, None}
