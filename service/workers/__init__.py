"""A service on all cores of its host: several processes that share its ports, and one that watches over them.

`supervisor` forks the workers and restarts them; `Worker` is one worker's place among them; `Scrape` and `summing` merge
their metrics into one `/metrics`. With one worker none of it runs.
"""
