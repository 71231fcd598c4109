"""The plan past this machine: arithmetic on what a run measured."""
