"""What trainer-ddp declares passes the kit that strangers' runners must pass."""

from trainer_core.testing import conformance_classes

globals().update(conformance_classes("trainer-ddp"))
