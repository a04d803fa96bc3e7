"""Campaigns that look for what is lost, stuck or half done: ``make stress``, outside the suite."""
