"""trainer-core's own components pass the kit that strangers' must pass."""

from trainer_core.testing import conformance_classes

globals().update(conformance_classes("trainer-core"))
