"""The lab: which hop is better between two services, gRPC or REST, by how much, why, and where does the answer flip?"""

import crossover.endpoints  # noqa: F401 - its choices for gRPC have to be made before gRPC is imported
