"""Runs in processes of their own: what ends one ends only the requests in it (`MODEL_ISOLATION=process`)."""
