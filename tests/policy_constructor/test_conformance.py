"""policy-constructor's own blocks pass the kit that strangers' must pass."""

from pathlib import Path

from trainer_core.testing import conformance_classes

globals().update(
    conformance_classes("policy-constructor", Path(__file__).with_name("conformance.yaml"))
)
