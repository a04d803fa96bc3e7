"""Tests of the tester."""
