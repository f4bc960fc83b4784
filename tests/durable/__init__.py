"""Tests of waits that outlive the process: `nox -s durable` runs them."""
