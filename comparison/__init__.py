"""The lab: which hop is better between two services, gRPC or REST, by how much, why, and where does the answer flip?"""
