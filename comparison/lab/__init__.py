"""What only the lab has: arms that no user is served by, each of which changes one thing against a registered wire."""
