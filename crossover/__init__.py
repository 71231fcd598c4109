"""Between these two services, gRPC or REST? The import name of every room: `crossover.clients`, `crossover.protocol`, ...

The rooms are folders of the checkout's top level, and links here, so that Python, type checkers, the import linter and an
editor's "go to definition" see ordinary packages; a wheel carries the folders themselves below `crossover/`.
"""

VERSION = "0.1.0"
