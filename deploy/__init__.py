"""How Crossover runs elsewhere than on a laptop: manifests and their check, dashboards, rules, Ray Serve."""
