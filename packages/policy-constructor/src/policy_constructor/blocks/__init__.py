"""The blocks and ops that policy-constructor brings; each is declared as an entry point."""
