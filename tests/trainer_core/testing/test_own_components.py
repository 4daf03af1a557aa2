"""trainer-core's own components pass the kit that strangers' must pass."""

from pathlib import Path

from trainer_core.testing import conformance_classes

globals().update(conformance_classes("trainer-core", Path(__file__).with_name("conformance.yaml")))
