"""A service on all cores of its host: several processes that share its ports, and one that watches over them.

`supervisor` forks the workers and starts them again; `Worker` is what one knows of its place; `Scrape` and `summing` make
one `/metrics` of all. With one worker none of it runs.
"""
