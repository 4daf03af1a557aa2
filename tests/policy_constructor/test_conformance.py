"""policy-constructor's own blocks pass the kit that strangers' must pass."""

from trainer_core.testing import conformance_classes

globals().update(conformance_classes("policy-constructor"))
